//! One HTTP/1.1 request per connection, by hand.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Status, headers, and the body still to be read.
pub type Opened = (u16, Vec<(String, String)>, Body);

/// Talks to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    pub addr: SocketAddr,
    pub token: Option<String>,
    pub timeout: Duration,
}

/// A complete answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: status {}: {}", self.status, self.text()))
    }

    /// The JSON body of an answer that must be a success.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "body: {}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

fn find_header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        Client { addr, token: None, timeout: Duration::from_secs(120) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn with_token(&self, token: &str) -> Self {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { timeout, ..self.clone() }
    }

    pub fn get(&self, path: &str) -> Response {
        self.try_request("GET", path, &[], b"").unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        let text = body.to_string();
        self.try_request("POST", path, &[("Content-Type", "application/json")], text.as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub fn put(&self, path: &str, body: &[u8]) -> Response {
        self.try_request("PUT", path, &[("Content-Type", "application/octet-stream")], body)
            .unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    pub fn delete(&self, path: &str) -> Response {
        self.try_request("DELETE", path, &[], b"").unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// A whole exchange; errors are the connection's.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let (status, headers, mut reader) = self.open(method, path, headers, body)?;
        let mut body = Vec::new();
        if method != "HEAD" && status != 204 && status != 304 {
            reader.read_to_end(&mut body)?;
        }
        Ok(Response { status, headers, body })
    }

    /// Sends the request and reads the head; the body is read as it comes.
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Opened> {
        let mut stream = TcpStream::connect_timeout(&self.addr, Duration::from_secs(5).min(self.timeout))?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if find_header_in(headers, "host").is_none() {
            head.push_str(&format!("Host: {}\r\n", self.addr));
        }
        if let Some(token) = &self.token {
            head.push_str(&format!("X-EXECD-ACCESS-TOKEN: {token}\r\n"));
        }
        for (key, value) in headers {
            head.push_str(&format!("{key}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        // A server may refuse before it has read everything: then its answer is what counts, not our broken pipe.
        let _ = stream.write_all(body);
        read_head(stream)
    }
}

fn find_header_in<'a>(headers: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

fn bad(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

/// Reads status line and headers.
pub fn read_head(stream: TcpStream) -> std::io::Result<Opened> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad("no status line"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (key, value) = text.split_once(':').ok_or_else(|| bad("header without a colon"))?;
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
    let chunked = find_header(&headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let left = find_header(&headers, "content-length").and_then(|v| v.parse().ok());
    Ok((status, headers, Body { reader, chunked, left, done: false }))
}

/// A body as it arrives, whatever its framing.
pub struct Body {
    reader: BufReader<TcpStream>,
    chunked: bool,
    /// Bytes left of the chunk, or of the whole when not chunked.
    left: Option<u64>,
    done: bool,
}

impl Body {
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    fn next_chunk(&mut self) -> std::io::Result<u64> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            line.clear();
            self.reader.read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        u64::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16).map_err(|_| bad("chunk size"))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        if self.chunked && self.left.unwrap_or(0) == 0 {
            self.left = Some(self.next_chunk()?);
        }
        let want = self.left.map_or(buffer.len(), |left| buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        if want == 0 {
            self.done = true;
            return Ok(0);
        }
        let n = self.reader.read(&mut buffer[..want])?;
        if let Some(left) = &mut self.left {
            *left -= n as u64;
        }
        if n == 0 {
            self.done = true;
            if self.left.is_some() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(n)
    }
}
