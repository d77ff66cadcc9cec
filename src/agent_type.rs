//! Agent types: named sets of limits and policies. Data only; the built-in ones come from `config/agent_types.toml`.

use crate::limits::{LimitKey, Limits};
use crate::network::policy::Fallback;
use serde::{Deserialize, Serialize};

/// What happens to processes that outlive the main one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Survivors {
    /// killed as soon as the result is reported
    #[default]
    Kill,
    /// stay contained, limited and visible until gone, cancelled or swept
    Keep,
}

/// What happens on a soft limit (`pids`, `network_requests`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// the call fails with an errno, the run goes on, the hit is counted
    #[default]
    Deny,
    /// the whole execution is killed
    Kill,
}

/// One agent type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentType {
    /// Upper-case name, matched without regard to case.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The numbers.
    pub limits: Limits,
    /// Limits that must be `enforced` or `sampled` here, else a start is refused with 409.
    pub required: Vec<LimitKey>,
    /// Limits that a request may loosen; any other loosening is refused with 403.
    pub may_loosen: Vec<LimitKey>,
    /// On reaching `pids`.
    pub on_pids: OnLimit,
    /// On reaching `network_requests`.
    pub on_network: OnLimit,
    /// Processes that outlive the main one.
    pub survivors: Survivors,
    /// Bytes of output kept in the state directory, per execution.
    pub output_bytes: u64,
    /// What the egress proxy lets through, as `network::rule` writes it; `None` means no list and no proxy.
    pub allowed_domains: Option<Vec<String>>,
    /// What the egress proxy does with what the list says nothing about.
    pub domains_default: Fallback,
    /// A request may name domains that the list does not allow.
    pub may_loosen_domains: bool,
    /// Start under the network gate.
    pub network_gate: bool,
    /// Set no_new_privs (set-uid programs gain nothing).
    pub no_new_privs: bool,
    /// Linux capabilities kept, e.g. `CAP_CHOWN`; `["ALL"]` keeps what the daemon has.
    pub keep_capabilities: Vec<String>,
    /// Run as this uid when the request names none.
    pub uid: Option<u32>,
    /// Run as this gid when the request names none.
    pub gid: Option<u32>,
    /// Time between TERM and KILL at the wall limit, in milliseconds.
    pub grace_ms: u64,
}
