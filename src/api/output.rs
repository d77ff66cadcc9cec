//! `GET /v1/executions/{id}/output`: captured bytes as they came, from a cursor on, to the present end or followed.
//!
//! `EXECD-OUTPUT-CURSOR` says where to go on: after this body, or for a followed one at its first byte (add the bytes received).
//! `EXECD-OUTPUT-LOST` counts bytes between the cursor asked for and the first one here. A followed body whose reader falls so far behind
//! that bytes are lost breaks off: a gap is never silent, and asking again from where it broke tells its size.

use super::call::Call;
use super::problem::Problem;
use super::query::Query;
use crate::exec::Execution;
use crate::exec::output::{Chunk, MAX_CHUNK, Output, Selection};
use crate::telemetry::{Dropped, Stream, Telemetry};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

const CURSOR: HeaderName = HeaderName::from_static("execd-output-cursor");
const LOST: HeaderName = HeaderName::from_static("execd-output-lost");

/// What was asked for.
pub(super) struct Asked {
    pub(super) selection: Selection,
    pub(super) cursor: u64,
    pub(super) follow: bool,
}

impl Asked {
    /// Reads `stream`, `cursor`, `tail` and `follow`; `resume` is where an earlier answer broke off, and wins.
    pub(super) fn read(query: &Query, output: &Output, resume: Option<u64>) -> Result<Self, Problem> {
        query.only(&["stream", "cursor", "tail", "follow"])?;
        let selection = match query.word("stream", &["stdout", "stderr", "both"])? {
            Some("stdout") => Selection::Stdout,
            Some("stderr") => Selection::Stderr,
            _ => Selection::Both,
        };
        let tail = query.number("tail", 0..=u64::MAX)?.map(|tail| output.tail_cursor(selection, tail));
        let cursor = query.number("cursor", 0..=u64::MAX)?.unwrap_or(0);
        let cursor = resume.unwrap_or_else(|| tail.map_or(cursor, |tail| tail.max(cursor)));
        Ok(Self { selection, cursor, follow: query.flag("follow")? })
    }
}

/// The handler.
pub(super) async fn output(call: Call) -> Result<Response<Body>, Problem> {
    let execution = call.execution()?;
    let asked = Asked::read(&call.query()?, execution.output(), None)?;
    let first = execution.output().read(asked.selection, asked.cursor);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    number(headers, LOST, first.lost);
    if asked.follow {
        let start = first.next - length(&first);
        number(headers, CURSOR, start);
        *response.body_mut() =
            Body::from_stream(followed(call.api.telemetry.clone(), execution, asked.selection, start));
    } else {
        let end = execution.output().tail_cursor(asked.selection, 0).max(first.next);
        number(headers, CURSOR, end);
        *response.body_mut() = kept(execution, asked.selection, first, end);
    }
    Ok(response)
}

fn number(headers: &mut HeaderMap, name: HeaderName, value: u64) {
    headers.insert(name, HeaderValue::from(value));
}

fn length(chunk: &Chunk) -> u64 {
    chunk.segments.iter().map(|s| s.bytes.len() as u64).sum()
}

/// Everything up to `end`, in one piece when it is short.
fn kept(execution: Arc<Execution>, selection: Selection, first: Chunk, end: u64) -> Body {
    if first.next >= end && length(&first) <= MAX_CHUNK as u64 {
        let mut all = Vec::new();
        for segment in &first.segments {
            all.extend_from_slice(&segment.bytes);
        }
        return Body::from(all);
    }
    Body::from_stream(async_stream::stream! {
        let mut chunk = first;
        loop {
            let start = chunk.next - length(&chunk);
            let mut left = end.saturating_sub(start);
            for segment in chunk.segments {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(segment.bytes.len());
                left -= take as u64;
                yield Ok::<_, io::Error>(segment.bytes.slice(..take));
            }
            if chunk.next >= end {
                break;
            }
            chunk = execution.output().read(selection, chunk.next);
            if chunk.lost > 0 {
                yield Err(behind());
                break;
            }
        }
    })
}

/// What comes, until the end of the execution's output.
fn followed(
    telemetry: Arc<Telemetry>,
    execution: Arc<Execution>,
    selection: Selection,
    start: u64,
) -> impl futures_core::Stream<Item = io::Result<Bytes>> {
    async_stream::stream! {
        let follower = Follower::new(telemetry, execution, Stream::Output, selection, start);
        let output = follower.execution.output();
        let mut changes = output.subscribe();
        let mut status = follower.execution.watch_status();
        let mut cursor = start;
        loop {
            changes.borrow_and_update();
            let over = status.borrow_and_update().is_final();
            let chunk = output.read(selection, cursor);
            if chunk.lost > 0 {
                follower.lost(chunk.lost);
                yield Err(behind());
                return;
            }
            let nothing = chunk.segments.is_empty();
            for segment in chunk.segments {
                yield Ok(segment.bytes);
            }
            cursor = chunk.next;
            follower.progress(cursor);
            if chunk.end && over {
                return;
            }
            if nothing {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    changed = status.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

fn behind() -> io::Error {
    io::Error::other("the reader is too far behind")
}

/// Somebody who follows an execution's output: counted, and known to the output so that it waits a moment before it drops bytes.
pub(super) struct Follower {
    pub(super) execution: Arc<Execution>,
    telemetry: Arc<Telemetry>,
    kind: Stream,
    id: u64,
}

impl Follower {
    pub(super) fn new(
        telemetry: Arc<Telemetry>,
        execution: Arc<Execution>,
        kind: Stream,
        selection: Selection,
        cursor: u64,
    ) -> Self {
        telemetry.stream(kind).inc();
        let id = execution.output().follow(selection, cursor);
        Self { execution, telemetry, kind, id }
    }

    pub(super) fn progress(&self, cursor: u64) {
        self.execution.output().progress(self.id, cursor);
    }

    pub(super) fn lost(&self, bytes: u64) {
        self.telemetry.dropped(Dropped::OutputBytes).add(bytes);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.execution.output().unfollow(self.id);
        self.telemetry.stream(self.kind).dec();
    }
}
