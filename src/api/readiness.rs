//! Readiness as named guards, so that "why not ready" is answered by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands in the way of being ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    checks: Mutex<BTreeMap<&'static str, bool>>,
    changes: AtomicU64,
}

/// Blocks readiness under its name until dropped.
#[derive(Debug)]
pub struct NotReady {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Not ready until the guard is dropped; the name stays in the list as ready afterwards.
    pub fn block(&self, name: &'static str) -> NotReady {
        self.set(name, false);
        NotReady { name, readiness: self.clone() }
    }

    /// Sets a named check that goes back and forth, e.g. whether the log file takes lines.
    pub fn set(&self, name: &'static str, ready: bool) {
        if self.lock().insert(name, ready) != Some(ready) {
            self.0.changes.fetch_add(1, Relaxed);
        }
    }

    /// How often anything has changed.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Relaxed)
    }

    /// Whether a check is known and fails.
    pub fn fails(&self, name: &str) -> bool {
        self.lock().get(name) == Some(&false)
    }

    /// Every check by name.
    pub fn checks(&self) -> Vec<(&'static str, bool)> {
        self.lock().iter().map(|(name, ready)| (*name, *ready)).collect()
    }

    /// Whether nothing is in the way.
    pub fn ready(&self) -> bool {
        self.lock().values().all(|ready| *ready)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, bool>> {
        // The map is whole whatever panicked beside it.
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NotReady {
    fn drop(&mut self) {
        self.readiness.set(self.name, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_guard_is_gone() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.block("a"), readiness.block("b"));
        drop(a);
        assert!(!readiness.ready());
        assert_eq!(readiness.checks(), [("a", true), ("b", false)]);
        assert!(readiness.fails("b") && !readiness.fails("a") && !readiness.fails("unknown"));
        let changes = readiness.changes();
        readiness.set("a", true);
        assert_eq!(readiness.changes(), changes, "nothing changed");
        drop(b);
        assert!(readiness.ready());
    }
}
