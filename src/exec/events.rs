//! What happened to executions, as it happens: a bounded broadcast for `/v1/events` and whoever else listens.

use super::status::{Reason, Status};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

/// Events kept for a listener that is behind; older ones are reported to it as a gap.
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
    seq: AtomicU64,
}

impl Default for Events {
    fn default() -> Events {
        Events { sender: broadcast::Sender::new(CAPACITY), seq: AtomicU64::new(0) }
    }
}

impl Events {
    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Tells everybody. Costs nothing when nobody listens.
    pub fn publish(&self, mut event: Event) {
        event.seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        // No listener is the normal case.
        let _ = self.sender.send(event);
    }
}
