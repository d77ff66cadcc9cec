//! Server-sent events as bytes: framing and escaping. What is sent and when is the streams' business.

use crate::telemetry::{Stream, Telemetry};
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Longest silence on a stream: proxies cut connections that are quiet for longer.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The first bytes of every stream: how long a client waits before it connects again, in milliseconds.
pub(super) const RETRY: &str = "retry: 1000\n\n";

/// A comment; clients skip it.
pub(super) const PING: &str = ": keep-alive\n\n";

/// One event. `json` must be one line, as `serde_json` writes it.
pub(super) fn event(name: Option<&str>, id: Option<&str>, json: &str) -> Bytes {
    let mut out = String::with_capacity(json.len() + 64);
    if let Some(name) = name {
        let _ = writeln!(out, "event: {name}");
    }
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    out.push_str("data: ");
    push_escaped(&mut out, json);
    out.push_str("\n\n");
    out.into()
}

/// JSON leaves U+0085, U+2028 and U+2029 as they are, and some clients end a line at them. They can only stand in strings, where an escape means the same.
fn push_escaped(out: &mut String, json: &str) {
    let mut rest = json;
    while let Some(at) = rest.find(['\u{85}', '\u{2028}', '\u{2029}', '\n', '\r']) {
        out.push_str(&rest[..at]);
        let c = rest[at..].chars().next().unwrap_or(' ');
        match c {
            '\n' | '\r' => out.push(' '),
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
        rest = &rest[at + c.len_utf8()..];
    }
    out.push_str(rest);
}

/// Counts an open stream for as long as it lives.
pub(super) struct Open {
    pub(super) telemetry: Arc<Telemetry>,
    kind: Stream,
}

impl Open {
    pub(super) fn new(telemetry: Arc<Telemetry>, kind: Stream) -> Self {
        telemetry.stream(kind).inc();
        Self { telemetry, kind }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.telemetry.stream(self.kind).dec();
    }
}

/// The answer that carries a stream of events.
pub(super) fn response(stream: impl futures_core::Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(Frames(Box::pin(stream))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Frames<S>(std::pin::Pin<Box<S>>);

impl<S: futures_core::Stream<Item = Bytes>> futures_core::Stream for Frames<S> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx).map(|item| item.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_has_name_id_and_one_data_line() {
        let bytes = event(Some("status"), Some("7"), "{\"a\":\"x\u{2028}y\u{85}\"}");
        assert_eq!(bytes, "event: status\nid: 7\ndata: {\"a\":\"x\\u2028y\\u0085\"}\n\n");
    }

    proptest! {
        #[test]
        fn any_text_survives_as_one_line(text in "\\PC{0,80}|[\\x00-\\x20\u{85}\u{2028}\u{2029}]{0,80}") {
            let bytes = event(None, None, &serde_json::to_string(&text).unwrap());
            let frame = std::str::from_utf8(&bytes).unwrap();
            let data = frame.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
            let broken = data.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
            prop_assert!(!broken);
            prop_assert_eq!(serde_json::from_str::<String>(data).unwrap(), text);
        }
    }
}
