//! An execution as the world sees it: the JSON of `GET /v1/executions/{id}`, which is also the journal's record.

use super::network::Sum;
use super::status::{Conclusion, Reason, Status, signal_name};
use crate::limits::world::Containment;
use crate::limits::{Enforcement, LimitKey, Limits, Mechanism, Strength};
use crate::network::egress::{Destination, Verdict};
use crate::supervisor::protocol::{Breach, Usage};
use crate::telemetry::clock::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use std::collections::BTreeMap;

/// One execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionView {
    /// identifier, sortable by creation
    pub id: String,
    /// where it is
    pub status: Status,
    /// why it ended
    pub reason: Option<Reason>,
    /// exit code, when it exited
    pub exit_code: Option<i32>,
    /// signal name, when one ended it
    pub signal: Option<String>,
    /// why it could not be started
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// agent type, upper case
    pub agent_type: String,
    /// the caller's name for the task
    pub task_id: Option<String>,
    /// program and arguments
    pub command: Vec<String>,
    /// working directory
    pub cwd: String,
    /// free words of the caller
    pub labels: BTreeMap<String, String>,
    /// RFC 3339
    pub created_at: String,
    /// of the present attempt, RFC 3339
    pub started_at: Option<String>,
    /// RFC 3339
    pub finished_at: Option<String>,
    /// pid of the main process as the daemon sees it
    pub pid: Option<i32>,
    /// the limits that are set, and what holds each
    pub limits: BTreeMap<LimitKey, LimitView>,
    /// how its processes are found and killed
    pub containment: Containment,
    /// what it used
    pub usage: UsageView,
    /// the limit that ended it
    pub breach: Option<BreachView>,
    /// some process kept stdout or stderr open when the main one had ended
    pub pipes_held_open: bool,
    /// the main process ended, others live on and are kept
    #[serde(default)]
    pub survivors: bool,
    /// `cwd` was made for this execution and is to be removed at the end
    #[serde(default)]
    pub private_dir: bool,
    /// 1 for the first
    pub attempt: u32,
    /// earlier attempts, oldest first
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
    /// RFC 3339 of the last byte of output
    pub last_output_at: Option<String>,
}

/// An attempt that ended and was followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// 1 for the first
    pub attempt: u32,
    /// why it ended
    pub reason: Reason,
    /// exit code
    pub exit_code: Option<i32>,
    /// signal name
    pub signal: Option<String>,
    /// RFC 3339
    pub started_at: Option<String>,
    /// RFC 3339
    pub finished_at: String,
}

/// A limit with what holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitView {
    /// in the unit of the key
    pub value: Number,
    /// what enforces it
    pub mechanism: Option<Mechanism>,
    /// how certain that is
    pub strength: Strength,
}

/// What was used. Unknown is null, never 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageView {
    /// highest unreclaimable memory seen
    pub memory_peak_bytes: Option<u64>,
    /// unreclaimable memory at the last look
    pub memory_bytes: Option<u64>,
    /// the cgroup's own peak, page cache included
    pub memory_charge_peak_bytes: Option<u64>,
    /// user CPU time
    pub cpu_user_ms: Option<u64>,
    /// system CPU time
    pub cpu_system_ms: Option<u64>,
    /// since the start
    pub wall_ms: Option<u64>,
    /// counted requests
    pub network_requests: Option<u64>,
    /// requests refused because of the limit
    pub network_denied: Option<u64>,
    /// requests refused by the list of domains, or to the daemon itself
    #[serde(default)]
    pub network_denied_domain: Option<u64>,
    /// bytes sent through the egress proxy
    #[serde(default)]
    pub network_bytes_out: Option<u64>,
    /// bytes received through the egress proxy
    #[serde(default)]
    pub network_bytes_in: Option<u64>,
    /// the last destinations, oldest first
    #[serde(default)]
    pub network_destinations: Vec<DestinationView>,
    /// bytes added below the work directory
    pub storage_bytes: Option<u64>,
    /// tasks at the last look
    pub pids: Option<u64>,
    /// most tasks seen
    pub pids_peak: Option<u64>,
    /// refused new tasks
    pub pids_denied: Option<u64>,
    /// captured bytes of stdout and stderr
    pub output_bytes: u64,
    /// captured bytes that were dropped before anybody read them
    pub output_lost_bytes: u64,
}

/// Where a request went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationView {
    /// host and port
    pub to: String,
    /// what was said
    pub verdict: Verdict,
    /// RFC 3339
    pub at: String,
}

impl From<Destination> for DestinationView {
    fn from(Destination { to, verdict, at_ms }: Destination) -> DestinationView {
        DestinationView { to, verdict, at: rfc3339(at_ms) }
    }
}

/// The limit that ended an execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreachView {
    /// which
    pub limit: LimitKey,
    /// its value
    pub allowed: u64,
    /// what was used when it was noticed
    pub used: u64,
    /// what noticed
    pub mechanism: Mechanism,
}

impl From<Breach> for BreachView {
    fn from(breach: Breach) -> BreachView {
        let Breach { limit, allowed, used, mechanism } = breach;
        BreachView { limit, allowed, used, mechanism }
    }
}

impl UsageView {
    /// Takes over a supervisor's figures; output figures are the daemon's own.
    pub fn update(&mut self, usage: &Usage) {
        self.memory_bytes = usage.memory_bytes;
        self.memory_peak_bytes = usage.memory_peak_bytes;
        self.memory_charge_peak_bytes = usage.memory_charge_peak_bytes;
        self.cpu_user_ms = Some(usage.cpu_user_us / 1000);
        self.cpu_system_ms = Some(usage.cpu_system_us / 1000);
        self.wall_ms = Some(usage.wall_us / 1000);
        self.storage_bytes = usage.storage_bytes;
        self.pids = usage.pids;
        self.pids_peak = usage.pids_peak;
        self.pids_denied = Some(usage.pids_denied);
    }

    /// Takes over the figures of network gate and proxy.
    pub(super) fn update_network(&mut self, sum: Sum) {
        let [allowed, limit, domain] = sum.requests.map(Some);
        self.network_requests = allowed;
        self.network_denied = limit;
        self.network_denied_domain = domain;
        (self.network_bytes_out, self.network_bytes_in) = sum.bytes.map(|[sent, got]| (sent, got)).unzip();
        self.network_destinations = sum.last.into_iter().map(Into::into).collect();
    }
}

impl ExecutionView {
    /// Writes an end into the view.
    pub fn conclude(&mut self, conclusion: &Conclusion) {
        self.status = conclusion.status;
        self.reason = Some(conclusion.reason);
        self.exit_code = conclusion.exit_code;
        self.signal = conclusion.signal.map(signal_name);
    }
}

/// The limits part of a view.
pub fn limits_view(limits: &Limits, enforcement: &[(LimitKey, Enforcement)]) -> BTreeMap<LimitKey, LimitView> {
    let mut view = BTreeMap::new();
    for (key, row) in enforcement {
        let whole = limits.whole(*key).map(Number::from);
        let value = whole.or_else(|| limits.value(*key).and_then(Number::from_f64));
        if let Some(value) = value {
            view.insert(*key, LimitView { value, mechanism: row.mechanism, strength: row.strength });
        }
    }
    view
}
