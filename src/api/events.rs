//! `GET /v1/events`: every change of every execution as server-sent events. `Last-Event-ID` resumes within the newest thousand; what
//! is older, or fell out of a slow reader's queue, is told as an event `gap`.

use super::Shared;
use super::problem::Problem;
use super::query::Query;
use super::sse;
use crate::exec::events::Event;
use crate::telemetry::{Dropped, Stream};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;

/// The handler.
pub(super) async fn events(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::parse(query.as_deref())?.only(&[])?;
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let (missed, past, mut live) = api.engine.events().resume(last);
    let open = sse::Open::new(api.telemetry.clone(), Stream::Events);
    let mut over = api.over.subscribe();
    Ok(sse::response(async_stream::stream! {
        yield Bytes::from_static(sse::RETRY.as_bytes());
        if missed > 0 {
            yield gap(missed);
        }
        for event in &past {
            yield frame(event);
        }
        drop(past);
        loop {
            let next = tokio::select! {
                next = live.recv() => next,
                _ = over.changed() => return,
                () = tokio::time::sleep(sse::KEEP_ALIVE) => {
                    yield Bytes::from_static(sse::PING.as_bytes());
                    continue;
                }
            };
            match next {
                Ok(event) => yield frame(&event),
                Err(RecvError::Lagged(count)) => {
                    open.telemetry.dropped(Dropped::Events).add(count);
                    yield gap(count);
                }
                Err(RecvError::Closed) => return,
            }
        }
    }))
}

fn frame(event: &Event) -> Bytes {
    // An event holds nothing that JSON cannot.
    let json = serde_json::to_string(event).unwrap_or_default();
    sse::event(Some("status"), Some(&event.seq.to_string()), &json)
}

fn gap(missed: u64) -> Bytes {
    sse::event(Some("gap"), None, &format!("{{\"missed\":{missed}}}"))
}
