//! Readiness as named guards, so that "why not ready" is answered by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands in the way of being ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

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
        self.lock().insert(name, ready);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        drop(b);
        assert!(readiness.ready());
    }
}
