//! `GET /v1/events`: every change of every execution, and refused network requests, as server-sent events. `Last-Event-ID` resumes within the newest thousand; what
//! is older, or fell out of a slow reader's queue, is told as an event `gap`.

use super::call::Call;
use super::problem::Problem;
use super::sse;
use crate::exec::events::Event;
use crate::telemetry::{Dropped, Stream};
use axum::response::Response;
use bytes::Bytes;

/// The handler.
pub(super) async fn events(call: Call) -> Result<Response, Problem> {
    call.query()?.only(&[])?;
    let (api, last) = (&call.api, call.last_event_id());
    let open = sse::Open::new(api.telemetry.clone(), Stream::Events);
    let events = api.engine.events().clone();
    let (mut bell, mut over) = (events.subscribe(), api.over.subscribe());
    let mut seen = last.unwrap_or(u64::MAX).min(events.count());
    Ok(sse::response(async_stream::stream! {
        yield Bytes::from_static(sse::RETRY.as_bytes());
        loop {
            bell.borrow_and_update();
            let (missed, new) = events.after(seen);
            if missed > 0 {
                open.telemetry.dropped(Dropped::Events).add(missed);
                yield gap(missed);
            }
            for event in new {
                seen = event.seq;
                yield frame(&event);
            }
            tokio::select! {
                rung = bell.changed() => if rung.is_err() { return },
                _ = over.changed() => return,
                () = tokio::time::sleep(sse::KEEP_ALIVE) => yield Bytes::from_static(sse::PING.as_bytes()),
            }
        }
    }))
}

fn frame(event: &Event) -> Bytes {
    // An event holds nothing that JSON cannot.
    let json = serde_json::to_string(event).unwrap_or_default();
    let name = if event.refused.is_some() { "refused" } else { "status" };
    sse::event(Some(name), Some(&event.seq.to_string()), &json)
}

fn gap(missed: u64) -> Bytes {
    sse::event(Some("gap"), None, &format!("{{\"missed\":{missed}}}"))
}
