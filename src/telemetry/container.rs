//! The container's figures for Prometheus. Named `execd_container_*` so that they never sum with the kubelet's; an unknown figure
//! is absent, not 0.

use super::exposition::{Exposition, Family, Kind};
use crate::sample::{Disk, Snapshot};

type Read = fn(&Snapshot) -> Option<f64>;

const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, unit, help }
}

const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, unit, help }
}

#[allow(clippy::cast_precision_loss)] // scrapes are floats
fn f(value: Option<u64>) -> Option<f64> {
    value.map(|v| v as f64)
}

fn seconds(us: Option<u64>) -> Option<f64> {
    f(us).map(|us| us / 1e6)
}

#[rustfmt::skip]
const SIMPLE: &[(Family, Read)] = &[
    (gauge("execd_container_cpus", "", "CPUs available: the least of affinity, quota and online."), |s| s.cpu_count),
    (gauge("execd_container_cpu_used_ratio", "ratio", "Share of the available CPUs used in the last window, 0-1."), |s| s.cpu_used_pct.map(|p| p / 100.0)),
    (counter("execd_container_cpu_seconds", "seconds", "User and system CPU time of the container."), |s| seconds(s.cpu_usage_us)),
    (counter("execd_container_cpu_periods", "", "Quota periods in which the container wanted to run."), |s| f(s.cpu_nr_periods)),
    (counter("execd_container_cpu_throttled_periods", "", "Quota periods in which it was stopped."), |s| f(s.cpu_nr_throttled)),
    (counter("execd_container_cpu_throttled_seconds", "seconds", "Time that its tasks were stopped."), |s| seconds(s.cpu_throttled_us)),
    (gauge("execd_container_memory_limit_bytes", "bytes", "The tightest memory limit, or the machine's memory."), |s| f(s.mem_total_bytes)),
    (gauge("execd_container_memory_working_set_bytes", "bytes", "Usage without inactive file pages."), |s| f(s.mem_used_bytes)),
    (gauge("execd_container_memory_cache_bytes", "bytes", "Page cache."), |s| f(s.mem_cache_bytes)),
    (gauge("execd_container_memory_anon_bytes", "bytes", "Anonymous memory."), |s| f(s.mem_anon_bytes)),
    (gauge("execd_container_memory_shmem_bytes", "bytes", "tmpfs and shared memory."), |s| f(s.mem_shmem_bytes)),
    (gauge("execd_container_memory_swap_bytes", "bytes", "Swapped out."), |s| f(s.mem_swap_bytes)),
    (counter("execd_container_oom_kills", "", "Processes that the kernel killed for want of memory."), |s| f(s.oom_kills)),
    (gauge("execd_container_pids", "", "Tasks alive, threads included."), |s| f(s.pids)),
    (gauge("execd_container_pids_limit", "", "The tightest limit on tasks."), |s| f(s.pids_limit)),
    (counter("execd_container_network_receive_bytes", "bytes", "Received on all interfaces but loopback."), |s| f(s.net_rx_bytes)),
    (counter("execd_container_network_transmit_bytes", "bytes", "Sent on all interfaces but loopback."), |s| f(s.net_tx_bytes)),
    (gauge("execd_container_load1", "", "Load average over one minute, of the kernel below the container."), |s| s.load1),
];

const PRESSURE: Family = counter(
    "execd_container_pressure_seconds",
    "seconds",
    "Time stalled for want of a resource (PSI), by some or all tasks.",
);

type DiskRead = fn(&Disk) -> u64;

const DISK: &[(Family, DiskRead)] = &[
    (gauge("execd_container_filesystem_size_bytes", "bytes", "Size of the filesystem."), |d| d.total_bytes),
    (gauge("execd_container_filesystem_avail_bytes", "bytes", "Free for unprivileged users."), |d| d.avail_bytes),
    (gauge("execd_container_filesystem_files", "", "Files that it can hold."), |d| d.inodes_total),
    (gauge("execd_container_filesystem_files_used", "", "Files that it holds."), |d| d.inodes_used),
];

pub(super) fn render(out: &mut Exposition, snapshot: &Snapshot) {
    for (family, read) in SIMPLE {
        let Some(value) = read(snapshot) else { continue };
        out.family(family);
        if family.kind == Kind::Counter { out.counter_f64(family, &[], value) } else { out.gauge(family, &[], value) }
    }
    pressure(out, snapshot);
    disks(out, snapshot);
}

fn pressure(out: &mut Exposition, snapshot: &Snapshot) {
    out.family(&PRESSURE);
    let psi = &snapshot.psi;
    for (resource, psi) in [("cpu", psi.cpu), ("memory", psi.memory), ("io", psi.io)] {
        let Some(psi) = psi else { continue };
        for (tasks, line) in [("some", psi.some), ("full", psi.full)] {
            if let Some(value) = seconds(line.map(|l| l.total_us)) {
                out.counter_f64(&PRESSURE, &[("resource", resource), ("tasks", tasks)], value);
            }
        }
    }
}

fn disks(out: &mut Exposition, snapshot: &Snapshot) {
    let disks = [("root", snapshot.disk_root), ("workspace", snapshot.disk_workspace)];
    for (family, read) in DISK {
        out.family(family);
        for (name, disk) in disks {
            if let Some(value) = f(disk.as_ref().map(read)) {
                out.gauge(family, &[("filesystem", name)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Form;
    use super::*;

    #[test]
    fn what_is_unknown_is_absent() {
        let snapshot = Snapshot { pids: Some(0), cpu_usage_us: Some(1_500_000), ..Snapshot::default() };
        let mut out = Exposition::new(Form::Text);
        render(&mut out, &snapshot);
        let text = out.finish();
        assert!(text.contains("\nexecd_container_pids 0\n"), "{text}");
        assert!(text.contains("\nexecd_container_cpu_seconds_total 1.5\n"), "{text}");
        assert!(!text.contains("execd_container_memory_limit_bytes"), "{text}");
    }
}
