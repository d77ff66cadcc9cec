//! What happened to executions, as it happens: a bounded broadcast for `/v1/events` and whoever else listens.

use super::status::{Reason, Status};
use super::view::DestinationView;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events kept for a listener that is behind or comes back; older ones are reported to it as a gap.
const CAPACITY: usize = 1024;

/// A change of one execution.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// counts up from 1 while the daemon lives
    pub seq: u64,
    /// unix ms
    pub timestamp: u64,
    /// which execution
    pub id: String,
    /// its agent type
    pub agent_type: String,
    /// the caller's name for it
    pub task_id: Option<String>,
    /// its new status
    pub status: Status,
    /// why it ended, when it did
    pub reason: Option<Reason>,
    /// the status is as before; this request was refused
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<DestinationView>,
}

/// The newest events, and a bell for who waits for more. Holds nothing while nothing has happened.
#[derive(Debug)]
pub struct Events {
    count: watch::Sender<u64>,
    newest: Mutex<VecDeque<Event>>,
    /// Events, and changes that are none.
    changes: AtomicU64,
}

impl Default for Events {
    fn default() -> Events {
        Events { count: watch::Sender::new(0), newest: Mutex::default(), changes: AtomicU64::new(0) }
    }
}

impl Events {
    /// Rings when there are more; its value is [`Events::count`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// The events after the one with number `last`, and how many of them are gone. A number of an earlier daemon's life, which is
    /// above ours, counts as the present one.
    pub fn after(&self, last: u64) -> (u64, Vec<Event>) {
        let newest = self.lock();
        let kept: Vec<Event> = newest.iter().filter(|event| event.seq > last).cloned().collect();
        let all = newest.back().map_or(0, |event| event.seq).saturating_sub(last);
        (all - kept.len() as u64, kept)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Moves whenever any execution's status does, or the number of active ones.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The number of active executions changed without an event: survivors are gone.
    pub(super) fn note_silent_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells everybody.
    pub fn publish(&self, mut event: Event) {
        let mut newest = self.lock();
        event.seq = self.count() + 1;
        if newest.len() == CAPACITY {
            newest.pop_front();
        }
        let seq = event.seq;
        newest.push_back(event);
        drop(newest);
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.count.send_replace(seq);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let (id, agent_type) = (String::new(), String::new());
        Event {
            seq: 0,
            timestamp: 0,
            id,
            agent_type,
            task_id: None,
            status: Status::Queued,
            reason: None,
            refused: None,
        }
    }

    #[test]
    fn who_comes_back_gets_what_is_kept_and_learns_what_is_not() {
        let events = Events::default();
        assert_eq!(events.after(0).1.len(), 0);
        for _ in 0..CAPACITY + 10 {
            events.publish(event());
        }
        let newest = CAPACITY as u64 + 10;
        assert_eq!(events.count(), newest);
        events.note_silent_change();
        assert_eq!(events.changes(), newest + 1);
        let (missed, kept) = events.after(newest - 2);
        assert_eq!((missed, kept.iter().map(|e| e.seq).collect::<Vec<_>>()), (0, vec![newest - 1, newest]));
        let (missed, kept) = events.after(3);
        assert_eq!((missed, kept.len()), (7, CAPACITY));
        assert_eq!(events.after(newest + 1).1.len(), 0);
    }
}
