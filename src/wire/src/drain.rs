//! Graceful end of serving: a trigger and a cloneable watcher. Connections finish what they are at; whatever is left at the
//! deadline is cut.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// everything is served
    Serving,
    /// probes are answered, running requests finish, nothing new starts
    Draining,
    /// connections are cut
    Closed,
}

struct Shared {
    phase: watch::Sender<Phase>,
    /// Each connection holds a receiver: closed means that none is left.
    connections: watch::Sender<()>,
}

/// Ends the serving; held by the composition root.
pub struct DrainTrigger(Arc<Shared>);

/// Sees the end coming; held by listeners, connections and streams.
#[derive(Clone)]
pub struct DrainWatcher(Arc<Shared>);

/// Held by a connection for as long as it lives.
pub struct Connection {
    phase: watch::Receiver<Phase>,
    _alive: Option<watch::Receiver<()>>,
}

/// A trigger and its watcher.
pub fn pair() -> (DrainTrigger, DrainWatcher) {
    let shared = Arc::new(Shared { phase: watch::Sender::new(Phase::Serving), connections: watch::Sender::new(()) });
    (DrainTrigger(shared.clone()), DrainWatcher(shared))
}

impl DrainTrigger {
    /// Starts draining; what watches is told at once.
    pub fn start(&self) {
        self.0.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Serving;
            if first {
                *phase = Phase::Draining;
            }
            first
        });
    }

    /// Starts draining if that has not happened, waits for the connections for at most `deadline`, then closes everything. True when
    /// all had ended by themselves.
    pub async fn finish(self, deadline: Duration) -> bool {
        self.start();
        let orderly = tokio::time::timeout(deadline, self.0.connections.closed()).await.is_ok();
        self.0.phase.send_replace(Phase::Closed);
        orderly
    }
}

impl DrainWatcher {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Registers a connection. One that comes during the drain, to ask how it goes, does not hold it up.
    pub fn connection(&self) -> Connection {
        let phase = self.0.phase.subscribe();
        let counts = *phase.borrow() == Phase::Serving;
        Connection { phase, _alive: counts.then(|| self.0.connections.subscribe()) }
    }

    /// Waits until at least that phase.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.phase.subscribe();
        // The sender lives as long as self.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}

impl Connection {
    /// Waits for the next change and returns the phase; never returns when the daemon is gone.
    pub async fn changed(&mut self) -> Phase {
        if self.phase.changed().await.is_err() {
            return Phase::Closed;
        }
        *self.phase.borrow_and_update()
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn ends_at_once_when_the_last_connection_goes() {
        runtime().block_on(async {
            let (trigger, watcher) = pair();
            let mut connection = watcher.connection();
            let task = tokio::spawn(async move { connection.changed().await });
            assert!(trigger.finish(Duration::from_secs(60)).await);
            assert_eq!(task.await.unwrap(), Phase::Draining);
            assert_eq!(watcher.phase(), Phase::Closed);
        });
    }

    #[test]
    fn forces_the_end_at_the_deadline() {
        runtime().block_on(async {
            let (trigger, watcher) = pair();
            let _stuck = watcher.connection();
            assert!(!trigger.finish(Duration::from_millis(5)).await);
            assert_eq!(watcher.phase(), Phase::Closed);
        });
    }
}
