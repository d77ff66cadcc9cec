//! What a caller asks for, and why it may be refused. Surfaces build a `StartRequest`; `resolve` turns it into a specification.

use super::network;
use crate::agent_type::AgentType;
use crate::config::{AgentTypes, OverrideError, tighten};
use crate::limits::plan::plan;
use crate::limits::world::{Subject, World};
use crate::limits::{Enforcement, LimitKey, Limits, Strength};
use crate::network::policy::Policy;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the command reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// nothing: end of file at once
    #[default]
    Empty,
    /// these bytes, then end of file
    Bytes(Bytes),
    /// whatever is sent later, until closed
    Open,
}

/// A request to run one command.
#[derive(Clone, Debug, Default)]
pub struct StartRequest {
    /// Name of the agent type; the configured default when absent.
    pub agent_type: Option<String>,
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// The caller's name for the task.
    pub task_id: Option<String>,
    /// Added to the daemon's scrubbed environment.
    pub env: Vec<(String, String)>,
    /// Working directory; a fresh private one when absent.
    pub cwd: Option<PathBuf>,
    /// Standard input.
    pub stdin: Stdin,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Free words of the caller.
    pub labels: BTreeMap<String, String>,
    /// Wait in `ready` for a start signal.
    pub hold: bool,
    /// More attempts on `lost`, `start_failed` and `wall_time_limit`.
    pub retries: u32,
    /// Tightening overrides.
    pub limits: Limits,
    /// What the egress proxy lets through, as `network::rule` reads it; within what the type allows.
    pub allowed_domains: Option<Vec<String>>,
    /// Leave the private work directory after the end.
    pub keep_work_dir: bool,
    /// The caller waits for the end, and knows of no execution before.
    pub awaited: bool,
}

/// Why a request is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StartError {
    /// 422
    #[error("agent type {asked:?} is not known; known are {}", known.join(", "))]
    UnknownAgentType {
        /// as asked
        asked: String,
        /// all names
        known: Vec<String>,
    },
    /// 422
    #[error("{field}: {problem}")]
    BadValue {
        /// JSON member
        field: &'static str,
        /// what is wrong and what is allowed
        problem: String,
    },
    /// 403 when it loosens, 422 when it is no value at all
    #[error("limits: {0}")]
    Limits(#[from] OverrideError),
    /// 403
    #[error("allowed_domains: {asked} is not among the domains that agent type {agent_type} allows")]
    DomainNotAllowed {
        /// the type's name
        agent_type: String,
        /// the entry that is too wide
        asked: String,
    },
    /// 409
    #[error("{} is required by the agent type and cannot be enforced here: {}", key.key(), enforcement.detail)]
    RequiredMissing {
        /// which
        key: LimitKey,
        /// what there is instead
        enforcement: Enforcement,
    },
    /// 429
    #[error("{max} executions are active already; try again when one has ended")]
    Full {
        /// configured most
        max: usize,
    },
    /// 503
    #[error("the daemon is shutting down and starts nothing new")]
    Draining,
    /// 500
    #[error("{0}")]
    Internal(String),
}

/// A request that passed every check that needs no side effect.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The type.
    pub agent_type: AgentType,
    /// Its limits with the overrides.
    pub limits: Limits,
    /// What holds each set limit.
    pub enforcement: Vec<(LimitKey, Enforcement)>,
    /// User to become.
    pub uid: Option<u32>,
    /// Group to become.
    pub gid: Option<u32>,
    /// What its egress proxy lets through; `None` means no proxy.
    pub policy: Option<Policy>,
    /// Start under no_new_privs and the filter. A list of domains holds only there.
    pub confined: bool,
}

/// Longest list of arguments, and of environment entries.
const MAX_STRINGS: usize = 4096;

/// Checks a request against types and world.
pub fn resolve(
    request: &StartRequest,
    types: &AgentTypes,
    default_type: &str,
    world: &World,
    daemon_uid: u32,
) -> Result<Resolved, StartError> {
    let name = request.agent_type.as_deref().unwrap_or(default_type);
    let agent_type = types.get(name).ok_or_else(|| StartError::UnknownAgentType {
        asked: name.to_owned(),
        known: types.names().map(str::to_owned).collect(),
    })?;
    check_strings(request)?;
    if let Some(cwd) = &request.cwd {
        check_cwd(cwd)?;
    }
    let (uid, gid) = identity(request, agent_type, world, daemon_uid)?;
    let limits = tighten(agent_type, &request.limits)?;
    let policy = network::policy(agent_type, request.allowed_domains.as_deref())?;
    let confined = agent_type.no_new_privs || policy.is_some();
    let subject = Subject {
        other_uid: uid.is_some_and(|uid| uid != daemon_uid && uid != 0),
        filtered: confined && world.seccomp,
        keeps_capabilities: !agent_type.keep_capabilities.is_empty(),
    };
    let enforcement = enforcement(&limits, agent_type, world, subject, policy.is_some())?;
    Ok(Resolved { agent_type: agent_type.clone(), limits, enforcement, uid, gid, policy, confined })
}

fn check_strings(request: &StartRequest) -> Result<(), StartError> {
    let bad = |field, problem: &str| Err(StartError::BadValue { field, problem: problem.to_owned() });
    match request.argv.first() {
        None => return bad("command", "is empty; give a program and its arguments, or \"shell\""),
        Some(program) if program.is_empty() => return bad("command", "the program's name is empty"),
        Some(_) => {}
    }
    if request.argv.len() > MAX_STRINGS || request.env.len() > MAX_STRINGS {
        return bad("command", "more than 4096 arguments or environment entries");
    }
    if request.argv.iter().any(|arg| arg.contains(&0)) {
        return bad("command", "an argument holds a NUL byte, which no program can receive");
    }
    let bad_key = |key: &str| key.is_empty() || key.contains(['=', '\0']);
    if request.env.iter().any(|(key, value)| bad_key(key) || value.contains('\0')) {
        return bad("env", "names must not be empty or hold '='; neither names nor values may hold NUL");
    }
    Ok(())
}

fn check_cwd(cwd: &Path) -> Result<(), StartError> {
    let bad = |problem: String| Err(StartError::BadValue { field: "cwd", problem });
    if !cwd.is_absolute() {
        return bad(format!("{} is not an absolute path", cwd.display()));
    }
    match std::fs::metadata(cwd) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => bad(format!("{} is not a directory", cwd.display())),
        Err(error) => bad(format!("{}: {error}", cwd.display())),
    }
}

fn identity(
    request: &StartRequest,
    agent_type: &AgentType,
    world: &World,
    daemon_uid: u32,
) -> Result<(Option<u32>, Option<u32>), StartError> {
    let uid = request.uid.or(agent_type.uid);
    let gid = request.gid.or(agent_type.gid).or(uid);
    let changes =
        uid.is_some_and(|uid| uid != daemon_uid) || (gid.is_some() && gid != Some(nix::unistd::getgid().as_raw()));
    if changes && !world.can_change_uid {
        let problem =
            "the daemon has no CAP_SETUID and CAP_SETGID here, so it cannot run a command as somebody else".to_owned();
        return Err(StartError::BadValue { field: "uid", problem });
    }
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(StartError::BadValue {
            field: "uid",
            problem: "4294967295 means \"unchanged\" to the kernel".to_owned(),
        });
    }
    Ok((uid, gid))
}

/// The rows of the limits that are set; refuses what the type requires and nobody enforces.
fn enforcement(
    limits: &Limits,
    agent_type: &AgentType,
    world: &World,
    subject: Subject,
    proxied: bool,
) -> Result<Vec<(LimitKey, Enforcement)>, StartError> {
    let mut rows = Vec::new();
    for key in LimitKey::ALL {
        let row = match (key, plan(key, world, subject)) {
            (LimitKey::NetworkRequests, gate) if proxied => network::enforcement(gate),
            (_, row) => row,
        };
        let holds = matches!(row.strength, Strength::Enforced | Strength::Sampled);
        if agent_type.required.contains(&key) && limits.is_set(key) && !holds {
            return Err(StartError::RequiredMissing { key, enforcement: row });
        }
        if limits.is_set(key) {
            rows.push((key, row));
        }
    }
    Ok(rows)
}
