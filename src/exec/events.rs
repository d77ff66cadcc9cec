//! What happened to executions, as it happens: a bounded broadcast for `/v1/events` and whoever else listens.

use super::status::{Reason, Status};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

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
}

/// The sender's side.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    newest: VecDeque<Event>,
    seq: u64,
    /// Changes that are no event.
    silent: u64,
}

impl Default for Events {
    fn default() -> Events {
        Events { sender: broadcast::Sender::new(CAPACITY), history: Mutex::default() }
    }
}

impl Events {
    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Listens from after the event with number `last` on: how many of those since are gone, those that are kept, and what comes.
    /// A number of an earlier daemon's life, which is above ours, counts as none.
    pub fn resume(&self, last: Option<u64>) -> (u64, Vec<Event>, broadcast::Receiver<Event>) {
        let history = self.lock();
        let receiver = self.sender.subscribe();
        let Some(last) = last.filter(|last| *last <= history.seq) else { return (0, Vec::new(), receiver) };
        let kept: Vec<Event> = history.newest.iter().filter(|event| event.seq > last).cloned().collect();
        (history.seq - last - kept.len() as u64, kept, receiver)
    }

    /// Moves whenever any execution's status does, or the number of active ones.
    pub fn changes(&self) -> u64 {
        let history = self.lock();
        history.seq + history.silent
    }

    /// The number of active executions changed without an event: survivors are gone.
    pub(super) fn note_silent_change(&self) {
        self.lock().silent += 1;
    }

    /// Tells everybody.
    pub fn publish(&self, mut event: Event) {
        let mut history = self.lock();
        history.seq += 1;
        event.seq = history.seq;
        if history.newest.len() == CAPACITY {
            history.newest.pop_front();
        }
        history.newest.push_back(event.clone());
        // No listener is the normal case.
        let _ = self.sender.send(event);
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let (id, agent_type) = (String::new(), String::new());
        Event { seq: 0, timestamp: 0, id, agent_type, task_id: None, status: Status::Queued, reason: None }
    }

    #[test]
    fn who_comes_back_gets_what_is_kept_and_learns_what_is_not() {
        let events = Events::default();
        for _ in 0..CAPACITY + 10 {
            events.publish(event());
        }
        let newest = CAPACITY as u64 + 10;
        assert_eq!(events.changes(), newest);
        let (missed, kept, _) = events.resume(Some(newest - 2));
        assert_eq!((missed, kept.iter().map(|e| e.seq).collect::<Vec<_>>()), (0, vec![newest - 1, newest]));
        let (missed, kept, _) = events.resume(Some(3));
        assert_eq!((missed, kept.len()), (7, CAPACITY));
        assert_eq!(events.resume(Some(newest + 1)).1.len(), 0);
        assert_eq!(events.resume(None).1.len(), 0);
    }
}
