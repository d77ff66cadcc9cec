//! Many requests on one connection: what a poller or an orchestrator does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One open connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    pub fn open(addr: SocketAddr) -> Connection {
        let stream = TcpStream::connect(addr).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Connection { reader: BufReader::new(stream), host: addr }
    }

    /// One exchange; the status and the body.
    pub fn ask(&mut self, method: &str, path: &str, accept: &str, body: &str) -> (u16, Vec<u8>) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes()).expect("request");
        let (mut line, mut status, mut length) = (String::new(), 0, 0usize);
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("head");
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(code) = text.strip_prefix("http/1.1 ") {
                status = code.split(' ').next().and_then(|code| code.parse().ok()).expect("status");
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().expect("length");
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).expect("body");
        (status, answer)
    }
}
