//! All executions that are known, by identifier: the active ones always, the others up to a cap.

use super::execution::Execution;
use super::status::Status;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Finished executions remembered; the oldest go first.
pub const MAX_FINISHED: usize = 1000;
/// Longest page of a listing.
pub const MAX_PAGE: usize = 1000;

/// Which executions to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// in one of these; empty means all
    pub status: Vec<Status>,
    /// of this type, case ignored
    pub agent_type: Option<String>,
    /// with this task id
    pub task_id: Option<String>,
    /// most to return, 0 means [`MAX_PAGE`]
    pub limit: usize,
    /// created after the execution with this identifier
    pub after: Option<String>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    inner: Mutex<BTreeMap<String, Arc<Execution>>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Execution>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, execution: Arc<Execution>) {
        self.lock().insert(execution.id(), execution);
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Execution>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn active(&self) -> usize {
        self.lock().values().filter(|execution| execution.is_active()).count()
    }

    pub(super) fn all_active(&self) -> Vec<Arc<Execution>> {
        self.lock().values().filter(|execution| execution.is_active()).cloned().collect()
    }

    pub(super) fn counts(&self) -> [(Status, usize); 8] {
        let table = self.lock();
        Status::ALL.map(|status| (status, table.values().filter(|execution| execution.status() == status).count()))
    }

    /// Forgets the finished ones above the cap that ended first and returns their identifiers.
    pub(super) fn evict(&self) -> Vec<String> {
        let mut table = self.lock();
        let finished = table.values().filter(|execution| !execution.is_active());
        let excess = finished.clone().count().saturating_sub(MAX_FINISHED);
        if excess == 0 {
            return Vec::new();
        }
        // By their end, not by their creation: a long one that has just ended is what somebody waits for.
        let mut by_end: Vec<(Option<String>, String)> = finished.map(|execution| execution.ended_as()).collect();
        by_end.sort_unstable();
        let gone: Vec<String> = by_end.into_iter().take(excess).map(|(_, id)| id).collect();
        for id in &gone {
            table.remove(id);
        }
        gone
    }

    pub(super) fn list(&self, filter: &Filter) -> (Vec<Arc<Execution>>, Option<String>) {
        let limit = if filter.limit == 0 { MAX_PAGE } else { filter.limit.min(MAX_PAGE) };
        let start = match &filter.after {
            Some(id) => Bound::Excluded(id.clone()),
            None => Bound::Unbounded,
        };
        let table = self.lock();
        let mut page: Vec<(String, Arc<Execution>)> = table
            .range((start, Bound::Unbounded))
            .filter(|(_, execution)| filter.matches(execution))
            .take(limit + 1)
            .map(|(id, execution)| (id.clone(), execution.clone()))
            .collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().map(|(id, _)| id.clone()).filter(|_| more);
        (page.into_iter().map(|(_, execution)| execution).collect(), next)
    }
}

impl Filter {
    fn matches(&self, execution: &Execution) -> bool {
        if !self.status.is_empty() && !self.status.contains(&execution.status()) {
            return false;
        }
        execution.matches(self.agent_type.as_deref(), self.task_id.as_deref())
    }
}
