//! A tiny server of canned answers for tests: one thread, one request per connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

/// Requests that a fixture has seen.
pub(super) type Seen = Arc<Mutex<Vec<String>>>;

/// Serves answers by the beginning of the request line until the test process ends; anything else is 404.
/// An answer that stands several times is used up in order, the last one stays.
pub(super) fn serve(answers: Vec<(&'static str, Vec<u8>)>) -> SocketAddr {
    serve_seen(answers).0
}

/// As [`serve`], and tells what was asked.
pub(super) fn serve_seen(mut answers: Vec<(&'static str, Vec<u8>)>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
    let address = listener.local_addr().expect("bound");
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let request = head(&mut stream);
            let found = answers.iter().position(|(start, _)| request.starts_with(start));
            let answer = found.map_or_else(
                || response("404 Not Found", "application/problem+json", r#"{"detail":"no such thing"}"#),
                |at| {
                    let (start, answer) = answers[at].clone();
                    if answers.iter().filter(|(other, _)| *other == start).count() > 1 {
                        answers.remove(at);
                    }
                    answer
                },
            );
            log.lock().expect("not poisoned").push(request);
            let _ = stream.write_all(&answer);
        }
    });
    (address, seen)
}

fn head(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0_u8; 1];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        bytes.extend_from_slice(&byte);
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).is_ok() {
        text.push_str(&String::from_utf8_lossy(&body));
    }
    text
}

/// A whole answer with a length.
pub(super) fn response(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A JSON answer.
pub(super) fn json(body: &str) -> Vec<u8> {
    response("200 OK", "application/json", body)
}

/// A stream that ends with the connection.
pub(super) fn events(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}").into_bytes()
}
