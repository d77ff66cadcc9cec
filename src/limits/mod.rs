//! Limits: what an agent type may use, and what holds it to that here.
//!
//! This room decides; it never touches the kernel. `plan` maps limits and a world to mechanisms, the budget and watchdog
//! modules turn readings into "look again in …" or "breach".

pub mod budget;
pub mod plan;
pub mod protection;
pub mod world;

use serde::{Deserialize, Serialize};

/// The numbers of an agent type, or of one execution after its overrides. `None` means not limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Unreclaimable bytes of all processes together (anonymous + shmem + swap).
    pub memory_bytes: Option<u64>,
    /// User plus system CPU time of every process, in milliseconds, over the whole execution.
    pub cpu_time_ms: Option<u64>,
    /// Wall-clock time from the start of the command, in milliseconds.
    pub wall_time_ms: Option<u64>,
    /// Outbound network requests over the whole execution.
    pub network_requests: Option<u64>,
    /// Bytes added below the work directory.
    pub storage_bytes: Option<u64>,
    /// Tasks (threads included) alive at once, as the kernel's `pids.max` counts.
    pub pids: Option<u64>,
    /// Open file descriptors per process (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Largest single file in bytes (`RLIMIT_FSIZE`).
    pub file_size_bytes: Option<u64>,
    /// CPU rate in cores (`cpu.max`), a fraction is fine.
    pub cpu_cores: Option<f64>,
}

impl Limits {
    /// The value of one limit in the unit of its key; rates are fractions.
    pub fn value(&self, key: LimitKey) -> Option<f64> {
        match key {
            LimitKey::CpuCores => self.cpu_cores,
            whole => self.whole(whole).map(|value| value as f64),
        }
    }

    /// The value of a limit that counts in whole units; `None` for rates too.
    pub const fn whole(&self, key: LimitKey) -> Option<u64> {
        match key {
            LimitKey::MemoryBytes => self.memory_bytes,
            LimitKey::CpuTimeMs => self.cpu_time_ms,
            LimitKey::WallTimeMs => self.wall_time_ms,
            LimitKey::NetworkRequests => self.network_requests,
            LimitKey::StorageBytes => self.storage_bytes,
            LimitKey::Pids => self.pids,
            LimitKey::OpenFiles => self.open_files,
            LimitKey::FileSizeBytes => self.file_size_bytes,
            LimitKey::CpuCores => None,
        }
    }

    /// Whether this limit is set at all.
    pub fn is_set(&self, key: LimitKey) -> bool {
        self.value(key).is_some()
    }
}

/// Names one limit; the JSON key is the same on every surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKey {
    /// `memory_bytes`
    MemoryBytes,
    /// `cpu_time_ms`
    CpuTimeMs,
    /// `wall_time_ms`
    WallTimeMs,
    /// `network_requests`
    NetworkRequests,
    /// `storage_bytes`
    StorageBytes,
    /// `pids`
    Pids,
    /// `open_files`
    OpenFiles,
    /// `file_size_bytes`
    FileSizeBytes,
    /// `cpu_cores`
    CpuCores,
}

impl LimitKey {
    /// Every limit in the order in which tables show them.
    pub const ALL: [LimitKey; 9] = [
        LimitKey::MemoryBytes,
        LimitKey::CpuTimeMs,
        LimitKey::WallTimeMs,
        LimitKey::NetworkRequests,
        LimitKey::StorageBytes,
        LimitKey::Pids,
        LimitKey::OpenFiles,
        LimitKey::FileSizeBytes,
        LimitKey::CpuCores,
    ];

    /// The key in JSON and TOML, e.g. `memory_bytes`.
    pub const fn key(self) -> &'static str {
        match self {
            LimitKey::MemoryBytes => "memory_bytes",
            LimitKey::CpuTimeMs => "cpu_time_ms",
            LimitKey::WallTimeMs => "wall_time_ms",
            LimitKey::NetworkRequests => "network_requests",
            LimitKey::StorageBytes => "storage_bytes",
            LimitKey::Pids => "pids",
            LimitKey::OpenFiles => "open_files",
            LimitKey::FileSizeBytes => "file_size_bytes",
            LimitKey::CpuCores => "cpu_cores",
        }
    }

    /// The short word of Prometheus labels and reasons, e.g. `memory`.
    pub const fn short(self) -> &'static str {
        match self {
            LimitKey::MemoryBytes => "memory",
            LimitKey::CpuTimeMs => "cpu_time",
            LimitKey::WallTimeMs => "wall_time",
            LimitKey::NetworkRequests => "network",
            LimitKey::StorageBytes => "storage",
            LimitKey::Pids => "process",
            LimitKey::OpenFiles => "open_files",
            LimitKey::FileSizeBytes => "file_size",
            LimitKey::CpuCores => "cpu_rate",
        }
    }
}

/// What enforces a limit here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// cgroup v2 controller
    Cgroup2,
    /// cgroup v1 controller
    Cgroup1,
    /// `setrlimit`
    Rlimit,
    /// the supervisor's look at its process tree
    Watchdog,
    /// seccomp filter, with user notification where a decision is needed
    Seccomp,
    /// the daemon's egress proxy
    Proxy,
    /// the supervisor's monotonic timer
    Timer,
}

/// How certain the enforcement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// the kernel or the daemon stops it for certain
    Enforced,
    /// the daemon notices within a stated time
    Sampled,
    /// a program that wants to can evade it
    Advisory,
    /// nothing enforces it here
    Unavailable,
}

/// One row of the enforcement table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// What enforces the limit; `None` exactly when the strength is `unavailable`.
    pub mechanism: Option<Mechanism>,
    /// How certain it is.
    pub strength: Strength,
    /// One sentence: the stated time or evasion, or why unavailable and what would change that.
    pub detail: String,
}
