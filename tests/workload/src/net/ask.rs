//! `net ask PROXY REQUEST [THEN]`: sends REQUEST to a proxy as it stands and says what came back; THEN goes out behind a success.
//!
//! PROXY is `ADDRESS:PORT`, or `env` for what `http_proxy` says. `\r` and `\n` in the texts are what they mean.

use crate::json::Object;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(crate) fn run(args: &crate::Args) {
    let proxy = match args.text(0) {
        "env" => std::env::var("http_proxy").unwrap_or_default().trim_start_matches("http://").to_owned(),
        other => other.to_owned(),
    };
    let then = args.0.get(2).map(|text| unescape(text));
    match exchange(&proxy, &unescape(args.text(1)), then.as_deref()) {
        Ok((status, reply)) => Object::new().value("status", status).text("reply", &reply).print(),
        Err(error) => Object::new().value("status", 0).value("errno", error.raw_os_error().unwrap_or(-1)).print(),
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n")
}

/// The status and, behind the head, everything that comes (of a tunnel: the first bytes).
fn exchange(proxy: &str, request: &str, then: Option<&str>) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        if read_some(&mut stream, &mut bytes)? == 0 {
            break;
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut reply = bytes.split_off(head.find("\r\n\r\n").map_or(bytes.len(), |end| end + 4));
    match then {
        Some(then) if status == 200 => {
            stream.write_all(then.as_bytes())?;
            read_some(&mut stream, &mut reply)?;
        }
        Some(_) => {}
        // A read that ends badly ends all the same.
        None => {
            let enough = if request.matches("\r\n\r\n").count() == 1 { content_length(&head) } else { 65_536 };
            while reply.len() < enough && read_some(&mut stream, &mut reply).unwrap_or(0) > 0 {}
        }
    }
    Ok((status, String::from_utf8_lossy(&reply).into_owned()))
}

/// How long the body is, or a bound where it does not say.
fn content_length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(65_536)
}

fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut bytes = [0; 4096];
    let length = stream.read(&mut bytes)?;
    into.extend(&bytes[..length]);
    Ok(length)
}
