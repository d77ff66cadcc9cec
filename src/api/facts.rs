//! What the daemon is set to and how much it has done: `/v1/agent-types`, `/v1/stats`, `/v1/alerts`, `/v1/enforcement`.

use super::Api;
use super::body;
use super::problem::Problem;
use super::routes::Asked;
use crate::agent_type::AgentType;
use crate::exec::{Engine, Status};
use crate::limits::world::Containment;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::Serialize;

#[derive(Serialize)]
struct AgentTypesBody<'a> {
    agent_types: Vec<&'a AgentType>,
}

/// `GET /v1/agent-types`
pub(super) fn agent_types(api: &Api, _: &Asked<'_>) -> Result<Response<Body>, Problem> {
    body::json(StatusCode::OK, &AgentTypesBody { agent_types: api.engine.agent_types().iter().collect() })
}

/// Counts of executions: the ones that are known by status, and totals since the daemon began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// not ended, or ended with survivors that are kept
    pub(super) active: usize,
    pub(super) queued: usize,
    pub(super) initializing: usize,
    pub(super) ready: usize,
    pub(super) running: usize,
    pub(super) terminating: usize,
    pub(super) completed: usize,
    pub(super) failed: usize,
    pub(super) terminated: usize,
    /// most that may be active
    pub(super) max: usize,
}

impl Counts {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut counts = Counts { active: engine.active(), max: engine.max_executions(), ..Counts::default() };
        for (status, count) in engine.counts() {
            *counts.slot(status) = count;
        }
        counts
    }

    fn slot(&mut self, status: Status) -> &mut usize {
        match status {
            Status::Queued => &mut self.queued,
            Status::Initializing => &mut self.initializing,
            Status::Ready => &mut self.ready,
            Status::Running => &mut self.running,
            Status::Terminating => &mut self.terminating,
            Status::Completed => &mut self.completed,
            Status::Failed => &mut self.failed,
            Status::Terminated => &mut self.terminated,
        }
    }
}

#[derive(Serialize)]
struct StatsBody {
    executions: Counts,
    total_created: u64,
    total_finished: u64,
    panics: u64,
    log_lines_dropped: u64,
    uptime_ms: u64,
}

/// `GET /v1/stats`
pub(super) fn stats(api: &Api, _: &Asked<'_>) -> Result<Response<Body>, Problem> {
    let (created, finished) = api.telemetry.executions.totals();
    let stats = StatsBody {
        executions: Counts::of(&api.engine),
        total_created: created,
        total_finished: finished,
        panics: api.telemetry.panics.get(),
        log_lines_dropped: api.telemetry.log.dropped(),
        uptime_ms: api.telemetry.uptime_ms(),
    };
    body::json(StatusCode::OK, &stats)
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Alert {
    name: &'static str,
    severity: &'static str,
    message: String,
}

#[derive(Serialize)]
struct AlertsBody {
    alerts: Vec<Alert>,
}

/// `GET /v1/alerts`
pub(super) fn alerts(api: &Api, _: &Asked<'_>) -> Result<Response<Body>, Problem> {
    body::json(StatusCode::OK, &AlertsBody { alerts: api.alerts(&Counts::of(&api.engine)) })
}

impl Api {
    pub(super) fn alerts(&self, counts: &Counts) -> Vec<Alert> {
        decide(&self.soft_checks(), self.telemetry.panics.get(), counts)
    }
}

fn decide(checks: &[(&'static str, bool)], panics: u64, counts: &Counts) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (name, _) in checks.iter().filter(|(_, ok)| !ok) {
        let message = format!("{name} takes no writes; what it does not take is dropped and counted");
        alerts.push(Alert { name: "execd_write_failing", severity: "warning", message });
    }
    if panics > 0 {
        let message = format!("{panics} panics were caught; each one is a bug");
        alerts.push(Alert { name: "execd_panic", severity: "critical", message });
    }
    if counts.active >= counts.max {
        let message = format!("{} executions are active, which is the most allowed", counts.active);
        alerts.push(Alert { name: "execd_full", severity: "warning", message });
    }
    alerts
}

/// How limits hold here. The same rows stand in the full form of `/health`.
#[derive(Serialize)]
pub(super) struct EnforcementBody {
    pub(super) containment: Containment,
    pub(super) enforcement: serde_json::Map<String, serde_json::Value>,
    pub(super) notes: Vec<String>,
}

impl EnforcementBody {
    pub(super) fn of(engine: &Engine) -> Self {
        let limits = engine.enforcement().into_iter().map(|(key, row)| (key.key(), row));
        let mut enforcement = serde_json::Map::new();
        for (key, row) in limits.chain([("allowed_domains", engine.domain_enforcement())]) {
            enforcement.insert(key.to_owned(), serde_json::json!(row));
        }
        Self { containment: engine.containment(), enforcement, notes: engine.notes().to_vec() }
    }
}

/// `GET /v1/enforcement`
pub(super) fn enforcement(api: &Api, _: &Asked<'_>) -> Result<Response<Body>, Problem> {
    body::json(StatusCode::OK, &EnforcementBody::of(&api.engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_for_each_thing_and_none_when_all_is_well() {
        let fine = Counts { active: 1, max: 2, ..Counts::default() };
        assert_eq!(decide(&[("log", true)], 0, &fine), []);
        let names: Vec<_> = decide(&[("log", false), ("state_dir", false)], 2, &Counts { active: 2, ..fine })
            .into_iter()
            .map(|a| a.name)
            .collect();
        assert_eq!(names, ["execd_write_failing", "execd_write_failing", "execd_panic", "execd_full"]);
    }
}
