//! What the command line reads: answers of whatever listens on the port, their events, and the output of executions.
#![no_main]

use execd::cli::{http, sse::Parser};
use execd::config::values::LogLevel;
use execd::fuzzing::cli;
use std::io::BufReader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let step = usize::from(step) + 1;
    // The reader's own buffer has 64 KiB.
    let cap = 32 * bytes.len() + (128 << 10);
    let at_once = execd_fuzz::within(cap, || answer(bytes, 1 << 16));
    assert_eq!(answer(bytes, step), at_once, "pieces change nothing");
    events(bytes);
    for stderr in [false, true] {
        let all = cli::filtered(LogLevel::Debug, stderr, [bytes]);
        assert_eq!(all, bytes, "the lowest level lets everything through");
        let errors = cli::filtered(LogLevel::Error, stderr, [bytes]);
        assert!(errors.len() <= bytes.len());
        assert_eq!(cli::filtered(LogLevel::Error, stderr, bytes.chunks(step)), errors);
    }
});

fn answer(bytes: &[u8], step: usize) -> Option<(http::Head, Option<Vec<u8>>)> {
    let mut reader = BufReader::with_capacity(step, bytes);
    let head = http::read_head(&mut reader).ok()?;
    let body = http::Body::new(reader, &head).ok().and_then(|mut body| http::read_all(&mut body, 1000).ok());
    assert!(body.as_ref().is_none_or(|body| body.len() <= 1000));
    Some((head, body))
}

fn events(bytes: &[u8]) {
    let (mut reader, mut parser) = (bytes, Parser::default());
    while let Ok(Some(line)) = http::read_line(&mut reader) {
        assert!(!line.contains(&b'\n'));
        if let Some(event) = parser.line(&String::from_utf8_lossy(&line)) {
            assert!(!event.name.is_empty());
        }
        assert!(parser.retry_ms().is_none_or(|ms| ms <= 10_000));
        assert!(parser.last_id().is_none_or(|id| !id.is_empty() && !id.contains(['\0', '\n'])));
    }
    parser.cut();
    assert_eq!(parser.line(""), None, "half an event is none");
}
