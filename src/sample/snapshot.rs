//! The shape of one look: what `GET /metrics` shows as JSON. An unknown figure is `null`, never 0.

use crate::cgroup::parse::Psi;
use serde::{Deserialize, Serialize};

/// What the container has and uses at one instant. Counters count since the container started, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// CPUs available: the smallest of affinity, quota of every visible group, CPUs online. A fraction is fine.
    pub cpu_count: Option<f64>,
    /// Share of the available CPUs that was used in the window, 0–100.
    pub cpu_used_pct: Option<f64>,
    /// The tightest memory limit of all visible groups, or the machine's memory. Bytes here, MiB in JSON.
    #[serde(rename = "mem_total_mib", with = "mib")]
    pub mem_total_bytes: Option<u64>,
    /// Working set: usage without inactive file pages. Bytes here, MiB in JSON.
    #[serde(rename = "mem_used_mib", with = "mib")]
    pub mem_used_bytes: Option<u64>,
    /// Unix time in ms.
    pub timestamp: u64,

    /// Time that `cpu_used_pct` covers, in ms; never below 100.
    pub cpu_window_ms: Option<u64>,
    /// User plus system time of the container, in µs.
    pub cpu_usage_us: Option<u64>,
    /// Periods of the tightest visible quota in which its group wanted to run.
    pub cpu_nr_periods: Option<u64>,
    /// Quota periods in which it was stopped for the rest.
    pub cpu_nr_throttled: Option<u64>,
    /// Time that its tasks were stopped, in µs.
    pub cpu_throttled_us: Option<u64>,

    /// Page cache, tmpfs and shared memory included. Bytes here, MiB in JSON.
    #[serde(rename = "mem_cache_mib", with = "mib")]
    pub mem_cache_bytes: Option<u64>,
    /// Anonymous memory. Bytes here, MiB in JSON.
    #[serde(rename = "mem_anon_mib", with = "mib")]
    pub mem_anon_bytes: Option<u64>,
    /// tmpfs and shared memory. Bytes here, MiB in JSON.
    #[serde(rename = "mem_shmem_mib", with = "mib")]
    pub mem_shmem_bytes: Option<u64>,
    /// Swapped out. Bytes here, MiB in JSON.
    #[serde(rename = "mem_swap_mib", with = "mib")]
    pub mem_swap_bytes: Option<u64>,
    /// What sets `mem_total_mib`.
    pub mem_limit_source: Option<MemLimitSource>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: Option<u64>,

    /// Tasks alive, threads included.
    pub pids: Option<u64>,
    /// The tightest limit on them; `null` is none.
    pub pids_limit: Option<u64>,

    /// Pressure stall figures.
    pub psi: Pressure,
    /// The filesystem of `/`.
    pub disk_root: Option<Disk>,
    /// The filesystem of the workspace; `null` for network and FUSE ones, which may not answer.
    pub disk_workspace: Option<Disk>,
    /// Bytes received on all interfaces but loopback.
    pub net_rx_bytes: Option<u64>,
    /// Bytes sent on all interfaces but loopback.
    pub net_tx_bytes: Option<u64>,
    /// Open descriptors of the daemon.
    pub open_fds: Option<u64>,
    /// Load average over one minute, of the kernel that the container runs on.
    pub load1: Option<f64>,
    /// The same over 5 minutes.
    pub load5: Option<f64>,
    /// The same over 15 minutes.
    pub load15: Option<f64>,
}

/// What sets the memory that is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemLimitSource {
    /// `memory.max` of a visible group.
    Cgroup2,
    /// `memory.limit_in_bytes`, or the tightest limit above that v1 tells of.
    Cgroup1,
    /// No group's limit is below the machine's memory.
    Host,
}

/// Pressure per resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Waiting for a CPU.
    pub cpu: Option<Psi>,
    /// Waiting for memory.
    pub memory: Option<Psi>,
    /// Waiting for I/O.
    pub io: Option<Psi>,
}

/// Space of a filesystem (statvfs(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Size.
    pub total_bytes: u64,
    /// Occupied.
    pub used_bytes: u64,
    /// Free for unprivileged users.
    pub avail_bytes: u64,
    /// Files that it can hold; 0 on filesystems that do not count.
    pub inodes_total: u64,
    /// Files that it holds.
    pub inodes_used: u64,
}

/// Bytes as MiB in JSON. A power of two: nothing is lost below 8 PiB.
mod mib {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const MIB: f64 = 1_048_576.0;

    pub(super) fn serialize<S: Serializer>(bytes: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        bytes.map(|bytes| bytes as f64 / MIB).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.map(|mib| (mib * MIB) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_fields_come_first_and_unknown_is_null() {
        let snapshot = Snapshot { mem_total_bytes: Some(268_435_456 + 524_288), timestamp: 7, ..Snapshot::default() };
        let json = serde_json::to_string(&snapshot).unwrap();
        let start = r#"{"cpu_count":null,"cpu_used_pct":null,"mem_total_mib":256.5,"mem_used_mib":null,"timestamp":7,"#;
        assert!(json.starts_with(start), "{json}");
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    }
}
