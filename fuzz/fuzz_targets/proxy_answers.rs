//! Answers of strange servers to the egress proxy: their heads, and their bodies in pieces of any size.
#![no_main]

use bytes::BytesMut;
use execd::cli::http;
use execd::fuzzing::network::{self, Framing, Malformed};
use hyper::Method;
use std::io::Read;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let step = usize::from(step) + 1;
    let whole = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", bytes].concat();
    for bytes in [bytes, &whole] {
        let Some(Some((length, response))) = network::answer(bytes) else { continue };
        assert_eq!(network::answer(&bytes[..length]).flatten().map(|(again, _)| again), Some(length));
        assert!(matches!(network::answer(&bytes[..length - 1]), Some(None)));
        let mut passed_on = response.headers().clone();
        network::strip(&mut passed_on);
        for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "proxy-authenticate"] {
            assert!(!passed_on.contains_key(name), "{name}");
        }
        if response.status().is_informational() {
            continue;
        }
        let head = Framing::of(&Method::HEAD, response.status(), response.headers());
        assert!(head.is_ok_and(|framing| framing.is_over()), "an answer to HEAD has no body");
        let Ok(framing) = Framing::of(&Method::GET, response.status(), response.headers()) else { continue };
        let body = &bytes[length..];
        let at_once = read(framing, body, body.len().max(1));
        assert_eq!(read(framing, body, step), at_once, "pieces change nothing");
        if let Ok((data, true)) = &at_once {
            assert!(data.len() <= body.len());
            agrees(bytes, data);
        }
    }
});

/// The body's bytes, and whether they are all.
fn read(mut framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool), Malformed> {
    let (mut buffer, mut data) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(piece) = framing.next(&mut buffer)? {
            assert!(!piece.is_empty());
            data.extend_from_slice(&piece);
        }
    }
    Ok((data, framing.is_over()))
}

/// Where the command line's own reader understands it too, it is the same body.
fn agrees(bytes: &[u8], data: &[u8]) {
    let mut rest = bytes;
    let Ok(head) = http::read_head(&mut rest) else { return };
    let Ok(mut body) = http::Body::new(rest, &head) else { return };
    let mut other = Vec::new();
    if (&mut body).take(1 << 20).read_to_end(&mut other).is_ok() {
        assert_eq!(other, data);
    }
}
