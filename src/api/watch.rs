//! `GET /metrics/watch`: the metrics object again and again, as server-sent events.
//!
//! One task looks for everybody and lives only while somebody watches. Watchers of one interval form a group; each tick is one look
//! and one text for the whole group, which all its clients share. A group keeps the newest tick only: a client that reads slowly skips
//! ticks, and its next object says how many (`"gap": {"missed": n}` — a stream of this path may carry nothing but metrics objects).

use super::call::Call;
use super::problem::{Code, Problem};
use super::{Shared, sse};
use crate::telemetry::{Dropped, Stream};
use axum::response::Response;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch as channel;
use tokio::time::Instant;

const DEFAULT_MS: u64 = 1_000;
const SHORTEST_MS: u64 = 100;
const LONGEST_MS: u64 = 60_000;

/// One tick of a group.
#[derive(Clone, Default)]
struct Tick {
    /// Counts the ticks with data; a keep-alive repeats the number.
    number: u64,
    /// The whole event, or a comment.
    frame: Bytes,
    /// When it was taken, in milliseconds since the epoch, which is the event's id; and its JSON.
    data: Option<(u64, Bytes)>,
}

type Groups = BTreeMap<u64, channel::Sender<Tick>>;

/// The groups of watchers by interval in milliseconds.
#[derive(Default)]
pub(super) struct Watch {
    groups: Mutex<Groups>,
}

impl Watch {
    /// Ends every stream.
    pub(super) fn end(&self) {
        // Clients see their sender go; the task finds no group left and ends.
        self.groups().clear();
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handler.
pub(super) async fn watch(call: Call) -> Result<Response, Problem> {
    let interval_ms = call.query()?.number("interval_ms", SHORTEST_MS..=LONGEST_MS)?.unwrap_or(DEFAULT_MS);
    let (api, last_id) = (&call.api, call.last_event_id());
    let first = take(api, 0)?;
    let missed = last_id.map_or(0, |last| missed_since(last, first.data.as_ref().map_or(0, |d| d.0), interval_ms));
    let mut ticks = join(api, interval_ms);
    let guard = sse::Open::new(api.telemetry.clone(), Stream::Metrics);
    Ok(sse::response(async_stream::stream! {
        yield Bytes::from_static(sse::RETRY.as_bytes());
        yield with_gap(&first, missed);
        drop(first);
        let mut seen = ticks.borrow_and_update().number;
        while ticks.changed().await.is_ok() {
            let tick = ticks.borrow_and_update().clone();
            let skipped = tick.number.saturating_sub(seen + 1);
            seen = tick.number;
            if skipped > 0 {
                guard.telemetry.dropped(Dropped::Metrics).add(skipped);
            }
            yield with_gap(&tick, skipped);
        }
    }))
}

/// Joins the group of an interval; the first member of the first group starts the task.
fn join(api: &Shared, interval_ms: u64) -> channel::Receiver<Tick> {
    let mut groups = api.watch.groups();
    let idle = groups.is_empty();
    let receiver = groups.entry(interval_ms).or_insert_with(|| channel::Sender::new(Tick::default())).subscribe();
    drop(groups);
    if idle {
        crate::task::run(run(Arc::downgrade(api)));
    }
    receiver
}

/// Ticks every group when it is due, until nobody watches any more.
async fn run(api: Weak<super::Api>) {
    let mut due: BTreeMap<u64, Due> = BTreeMap::new();
    loop {
        let now = Instant::now();
        {
            let Some(api) = api.upgrade() else { return };
            let mut groups = api.watch.groups();
            groups.retain(|_, group| group.receiver_count() > 0);
            if groups.is_empty() {
                return;
            }
            due.retain(|interval, _| groups.contains_key(interval));
            let mut taken = None;
            for (interval, group) in groups.iter() {
                let due = due.entry(*interval).or_insert_with(|| Due::new(*interval, now));
                match due.at(now) {
                    Now::Nothing => {}
                    Now::KeepAlive => group.send_modify(|tick| {
                        tick.frame = Bytes::from_static(sse::PING.as_bytes());
                        tick.data = None;
                    }),
                    Now::Data => {
                        let tick = taken.get_or_insert_with(|| take(&api, 0)).clone();
                        let Ok(tick) = tick else { continue };
                        group.send_modify(|old| *old = Tick { number: old.number + 1, ..tick });
                    }
                }
            }
        }
        let next = due.values().map(|d| d.next_data.min(d.next_ping)).min().unwrap_or(now);
        tokio::time::sleep_until(next).await;
    }
}

/// When a group is to be told something.
struct Due {
    interval: Duration,
    next_data: Instant,
    next_ping: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Now {
    Nothing,
    KeepAlive,
    Data,
}

impl Due {
    fn new(interval_ms: u64, now: Instant) -> Self {
        let interval = Duration::from_millis(interval_ms);
        Self { interval, next_data: now + interval, next_ping: now + sse::KEEP_ALIVE }
    }

    fn at(&mut self, now: Instant) -> Now {
        if now >= self.next_data {
            // A daemon that was held up does not catch up with a burst.
            while self.next_data <= now {
                self.next_data += self.interval;
            }
            self.next_ping = now + sse::KEEP_ALIVE;
            Now::Data
        } else if now >= self.next_ping {
            self.next_ping = now + sse::KEEP_ALIVE;
            Now::KeepAlive
        } else {
            Now::Nothing
        }
    }
}

/// Looks and writes the event that everybody shares.
fn take(api: &super::Api, number: u64) -> Result<Tick, Problem> {
    let snapshot = api.look();
    let failed = |e| Problem::new(Code::RuntimeError, format!("the figures cannot be written as JSON: {e}"));
    let json = serde_json::to_string(&snapshot).map_err(failed)?;
    let frame = sse::event(None, Some(&snapshot.timestamp.to_string()), &json);
    Ok(Tick { number, frame, data: Some((snapshot.timestamp, json.into())) })
}

/// The event, with the number of ticks that this client did not get as its last member.
fn with_gap(tick: &Tick, missed: u64) -> Bytes {
    match &tick.data {
        Some((id, json)) if missed > 0 && json.len() > 1 => {
            let json = String::from_utf8_lossy(&json[..json.len() - 1]);
            sse::event(None, Some(&id.to_string()), &format!("{json},\"gap\":{{\"missed\":{missed}}}}}"))
        }
        _ => tick.frame.clone(),
    }
}

/// Ticks between the last one that a client saw and now.
fn missed_since(last_ms: u64, now_ms: u64, interval_ms: u64) -> u64 {
    (now_ms.saturating_sub(last_ms) / interval_ms).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_told_at_its_interval_and_never_silent_for_long() {
        let start = Instant::now();
        let s = |n: u64| start + Duration::from_millis(n);
        let mut due = Due::new(60_000, start);
        for (at, expected) in [
            (0, Now::Nothing),
            (14_999, Now::Nothing),
            (15_000, Now::KeepAlive),
            (29_999, Now::Nothing),
            (30_000, Now::KeepAlive),
            (45_000, Now::KeepAlive),
            (60_000, Now::Data),
            (74_999, Now::Nothing),
            (75_000, Now::KeepAlive),
            (200_000, Now::Data),
            (239_999, Now::KeepAlive),
            (240_000, Now::Data),
        ] {
            assert_eq!(due.at(s(at)), expected, "{at}");
        }
    }

    #[test]
    fn a_client_that_comes_back_learns_what_it_missed() {
        for (last, now, interval, missed) in [
            (10_000, 11_000, 1_000, 0),
            (10_000, 11_900, 1_000, 0),
            (10_000, 15_000, 1_000, 4),
            (20_000, 10_000, 1_000, 0),
        ] {
            assert_eq!(missed_since(last, now, interval), missed);
        }
    }

    #[test]
    fn the_gap_is_the_last_member_of_an_object_that_is_otherwise_the_same() {
        let tick =
            Tick { number: 5, frame: sse::event(None, Some("7"), "{\"a\":1}"), data: Some((7, "{\"a\":1}".into())) };
        assert_eq!(with_gap(&tick, 0), "id: 7\ndata: {\"a\":1}\n\n");
        assert_eq!(with_gap(&tick, 3), "id: 7\ndata: {\"a\":1,\"gap\":{\"missed\":3}}\n\n");
    }
}
