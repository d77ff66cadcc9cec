//! All executions that are known, by identifier: the active ones always, the others up to a cap.

use super::execution::Execution;
use super::status::Status;
use std::collections::{BTreeMap, VecDeque};
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
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    all: BTreeMap<String, Arc<Execution>>,
    /// Those that may be active still: a start and an end must not cost a look at a thousand finished ones.
    active: Vec<Arc<Execution>>,
    /// The others, in the order of their end.
    finished: VecDeque<String>,
}

impl Inner {
    /// An execution is active from its beginning to its end, never again.
    fn active(&mut self) -> &[Arc<Execution>] {
        self.active.retain(|execution| execution.is_active());
        &self.active
    }

    /// Forgets the finished ones above the cap that ended first and returns their identifiers.
    ///
    /// By their end, not by their creation: a long one that has just ended is what somebody waits for.
    fn evict(&mut self) -> Vec<String> {
        let excess = self.finished.len().saturating_sub(MAX_FINISHED);
        let gone: Vec<String> = self.finished.drain(..excess).collect();
        for id in &gone {
            self.all.remove(id);
        }
        gone
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that begins.
    pub(super) fn insert(&self, execution: Arc<Execution>) {
        let mut table = self.lock();
        table.active.push(execution.clone());
        table.all.insert(execution.id(), execution);
    }

    /// One of [`Table::insert`] has ended for good. Returns what had to be forgotten for it.
    pub(super) fn ended(&self, execution: &Execution) -> Vec<String> {
        let mut table = self.lock();
        table.finished.push_back(execution.id());
        table.evict()
    }

    /// Executions of an earlier daemon: they ended before any of this one. Returns what is too old to be remembered.
    pub(super) fn restore(&self, executions: Vec<Arc<Execution>>) -> Vec<String> {
        let mut in_order = Vec::with_capacity(executions.len());
        for execution in executions {
            let key = execution.ended_as();
            let at = in_order.partition_point(|(known, _)| *known < key);
            in_order.insert(at, (key, execution));
        }
        let mut table = self.lock();
        for (_, execution) in in_order.into_iter().rev() {
            table.finished.push_front(execution.id());
            table.all.insert(execution.id(), execution);
        }
        table.evict()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Execution>> {
        self.lock().all.get(id).cloned()
    }

    pub(super) fn active(&self) -> usize {
        self.lock().active().len()
    }

    pub(super) fn all_active(&self) -> Vec<Arc<Execution>> {
        self.lock().active().to_vec()
    }

    pub(super) fn counts(&self) -> [(Status, usize); 8] {
        let all = &self.lock().all;
        Status::ALL.map(|status| (status, all.values().filter(|execution| execution.status() == status).count()))
    }

    pub(super) fn list(&self, filter: &Filter) -> (Vec<Arc<Execution>>, Option<String>) {
        let limit = if filter.limit == 0 { MAX_PAGE } else { filter.limit.min(MAX_PAGE) };
        let start = match &filter.after {
            Some(id) => Bound::Excluded(id.clone()),
            None => Bound::Unbounded,
        };
        let all = &self.lock().all;
        let mut page: Vec<(String, Arc<Execution>)> = all
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

#[cfg(test)]
mod tests {
    use super::super::output::Output;
    use super::super::view::ExecutionView;
    use super::*;

    fn execution(id: &str, ended: bool) -> Arc<Execution> {
        let status = if ended { "completed" } else { "running" };
        let finished = ended.then(|| format!("2026-01-01T00:00:{id}Z"));
        let view = serde_json::json!({
            "id": id, "status": status, "agent_type": "A", "command": [], "cwd": "/", "labels": {}, "created_at": "",
            "finished_at": finished, "limits": {}, "containment": "none", "usage": {"output_bytes": 0, "output_lost_bytes": 0},
            "pipes_held_open": false, "attempt": 1,
        });
        let view: ExecutionView = serde_json::from_value(view).expect("view");
        Arc::new(Execution::new(view, Arc::new(Output::new(None)), Arc::default(), 0))
    }

    #[test]
    fn the_first_to_end_is_the_first_to_be_forgotten() {
        let table = Table::default();
        let long = execution("000", false);
        table.insert(long.clone());
        for n in 0..MAX_FINISHED {
            let short = execution(&format!("1{n}"), true);
            table.insert(short.clone());
            assert!(table.ended(&short).is_empty());
        }
        assert_eq!(table.active(), 1);
        long.set_over();
        assert_eq!(table.ended(&long), ["10"]);
        assert!(table.get("000").is_some() && table.get("10").is_none());
    }

    #[test]
    fn what_is_restored_ended_before() {
        let table = Table::default();
        let own = execution("5", true);
        table.insert(own.clone());
        assert!(table.ended(&own).is_empty());
        let earlier = (2000..2000 + MAX_FINISHED).rev().map(|n| execution(&n.to_string(), true)).collect();
        assert_eq!(table.restore(earlier), ["2000"]);
        assert_eq!((table.active(), table.counts()[5].1), (0, MAX_FINISHED));
    }
}
