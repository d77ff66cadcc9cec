//! `GET /v1/executions/{id}/logs`: output and status as events — a JSON list of what is kept, or followed as server-sent events.
//!
//! An output event's id is the cursor after it, so `Last-Event-ID` resumes exactly there. Bytes that are no UTF-8 come as base64.

use super::call::Call;
use super::output::{Asked, Follower};
use super::problem::Problem;
use super::sse;
use crate::exec::Execution;
use crate::exec::output::{Chunk, Segment, Selection};
use crate::telemetry::{Stream, Telemetry};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;

/// Bytes of one stream that came together.
#[derive(Serialize)]
struct OutputEvent<'a> {
    stream: &'static str,
    /// Text, when it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    /// The bytes, when they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    /// Where to go on after it.
    cursor: u64,
    /// Arrival, in milliseconds since the epoch.
    timestamp: u64,
}

#[derive(Serialize)]
struct GapEvent {
    lost_bytes: u64,
    cursor: u64,
}

/// The same in a list, with its name.
#[derive(Serialize)]
struct Named<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    data: T,
}

/// The handler.
pub(super) async fn logs(call: Call) -> Result<Response<Body>, Problem> {
    let execution = call.execution()?;
    let asked = Asked::read(&call.query()?, execution.output(), call.last_event_id())?;
    if asked.follow {
        return Ok(sse::response(followed(call.api.telemetry.clone(), execution, asked)));
    }
    let mut response = Response::new(Body::from_stream(listing(execution, asked)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn listing(execution: Arc<Execution>, asked: Asked) -> impl futures_core::Stream<Item = Result<Bytes, Infallible>> {
    async_stream::stream! {
        let Asked { selection, mut cursor, .. } = asked;
        let end = execution.output().tail_cursor(selection, 0);
        let mut mark = "{\"logs\":[";
        while cursor < end {
            let chunk = execution.output().read(selection, cursor);
            let mut out = String::new();
            for entry in entries(&chunk, selection) {
                out.push_str(mark);
                out.push_str(&entry);
                mark = ",";
            }
            if chunk.next == cursor {
                break;
            }
            cursor = chunk.next;
            yield Ok(out.into());
        }
        let opening = if mark == "," { "" } else { mark };
        yield Ok(format!("{opening}],\"cursor\":{cursor}}}").into());
    }
}

fn followed(
    telemetry: Arc<Telemetry>,
    execution: Arc<Execution>,
    asked: Asked,
) -> impl futures_core::Stream<Item = Bytes> {
    async_stream::stream! {
        let Asked { selection, mut cursor, .. } = asked;
        let follower = Follower::new(telemetry, execution, Stream::Logs, selection, cursor);
        let execution = &follower.execution;
        let mut changes = execution.output().subscribe();
        let mut status = execution.watch_status();
        yield Bytes::from_static(sse::RETRY.as_bytes());
        let mut told = None;
        loop {
            changes.borrow_and_update();
            let now = *status.borrow_and_update();
            if told != Some(now) && !now.is_final() {
                told = Some(now);
                yield sse::event(Some("status"), None, &format!("{{\"status\":\"{}\"}}", now.as_str()));
            }
            let chunk = execution.output().read(selection, cursor);
            if chunk.lost > 0 {
                follower.lost(chunk.lost);
            }
            for frame in frames(&chunk, selection) {
                yield frame;
            }
            cursor = chunk.next;
            follower.progress(cursor);
            if chunk.end && now.is_final() {
                let view = serde_json::to_string(&execution.view()).unwrap_or_else(|_| "{}".to_owned());
                yield sse::event(Some("end"), None, &view);
                return;
            }
            if chunk.segments.is_empty() && chunk.lost == 0 {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    changed = status.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(sse::KEEP_ALIVE) => yield Bytes::from_static(sse::PING.as_bytes()),
                }
            }
        }
    }
}

fn frames(chunk: &Chunk, selection: Selection) -> Vec<Bytes> {
    let mut all = Vec::new();
    if let Some(gap) = gap(chunk, selection) {
        all.push(sse::event(Some("gap"), Some(&gap.cursor.to_string()), &json(&gap)));
    }
    for segment in &chunk.segments {
        for event in pieces(segment, selection) {
            all.push(sse::event(Some("output"), Some(&event.cursor.to_string()), &json(&event)));
        }
    }
    all
}

fn entries(chunk: &Chunk, selection: Selection) -> Vec<String> {
    let gap = gap(chunk, selection).map(|data| json(&Named { event: "gap", data }));
    let pieces = chunk.segments.iter().flat_map(|segment| pieces(segment, selection));
    gap.into_iter().chain(pieces.map(|data| json(&Named { event: "output", data }))).collect()
}

fn gap(chunk: &Chunk, selection: Selection) -> Option<GapEvent> {
    let first = chunk.segments.first().map_or(chunk.next, |segment| segment.at.of(selection));
    (chunk.lost > 0).then_some(GapEvent { lost_bytes: chunk.lost, cursor: first })
}

/// The events of a segment: a character that is cut at either end goes apart, so that the text between stays text.
fn pieces(segment: &Segment, selection: Selection) -> Vec<OutputEvent<'_>> {
    let mut cursor = segment.at.of(selection);
    let mut events = Vec::new();
    for (bytes, data) in split(&segment.bytes) {
        cursor += bytes.len() as u64;
        let data_base64 = data.is_none().then(|| STANDARD.encode(bytes));
        let (stream, timestamp) = (segment.stream.as_str(), segment.time_ms);
        events.push(OutputEvent { stream, data, data_base64, cursor, timestamp });
    }
    events
}

/// Cuts bytes into at most three parts: the rest of a character, text, the beginning of a character. Other bytes are one part that is no text.
fn split(bytes: &[u8]) -> Vec<(&[u8], Option<&str>)> {
    let head = bytes.iter().take(3).take_while(|b| (0x80..0xc0).contains(*b)).count();
    let (head, rest) = bytes.split_at(head);
    let (text, tail) = match std::str::from_utf8(rest) {
        Ok(text) => (text, &[][..]),
        Err(error) if error.error_len().is_none() => {
            let (text, tail) = rest.split_at(error.valid_up_to());
            (std::str::from_utf8(text).unwrap_or_default(), tail)
        }
        Err(_) => return vec![(bytes, None)],
    };
    let parts = [(head, None), (text.as_bytes(), Some(text)), (tail, None)];
    parts.into_iter().filter(|(bytes, _)| !bytes.is_empty()).collect()
}

fn json(value: &impl Serialize) -> String {
    // These types hold nothing that JSON cannot.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::output::{Offsets, Stream as Which};
    use proptest::prelude::*;

    #[test]
    fn text_stays_text_when_a_character_is_cut() {
        let euro = "a€b€".as_bytes();
        assert_eq!(split(euro), [(euro, Some("a€b€"))]);
        assert_eq!(split(&euro[..6]), [(&euro[..5], Some("a€b")), (&euro[5..6], None)]);
        assert_eq!(split(&euro[2..]), [(&euro[2..4], None), (&euro[4..], Some("b€"))]);
        assert_eq!(split(b"a\xffb"), [(&b"a\xffb"[..], None)]);
        assert_eq!(split(b""), []);
    }

    #[test]
    fn a_gap_comes_first_and_ids_say_where_to_go_on() {
        let segment = Segment {
            stream: Which::Stderr,
            at: Offsets { stdout: 5, stderr: 10 },
            time_ms: 7,
            bytes: Bytes::from_static(b"x\xe2\x82"),
        };
        let chunk = Chunk { segments: vec![segment], next: 18, lost: 15, end: false };
        let all: Vec<_> = frames(&chunk, Selection::Both);
        assert_eq!(all[0], "event: gap\nid: 15\ndata: {\"lost_bytes\":15,\"cursor\":15}\n\n");
        let text =
            "event: output\nid: 16\ndata: {\"stream\":\"stderr\",\"data\":\"x\",\"cursor\":16,\"timestamp\":7}\n\n";
        assert_eq!(all[1], text);
        assert!(std::str::from_utf8(&all[2]).unwrap().contains("\"data_base64\":\"4oI=\",\"cursor\":18"));
        assert!(entries(&chunk, Selection::Both)[0].starts_with("{\"event\":\"gap\",\"lost_bytes\":15"));
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_changed(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let parts = split(&bytes);
            prop_assert!(parts.len() <= 3);
            prop_assert_eq!(parts.iter().flat_map(|(b, _)| b.to_vec()).collect::<Vec<_>>(), bytes.clone());
            prop_assert!(parts.iter().all(|(b, t)| t.is_none_or(|t| t.as_bytes() == *b)));
        }
    }
}
