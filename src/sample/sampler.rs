//! The sampler: one synchronous look at everything.

use super::cpu::Cpu;
use super::disk;
use super::host::{self, Descriptors};
use super::memory::Memory;
use super::pids::Pids;
use super::pressure::PressureFiles;
use super::processes::{Processes, Sums};
use super::rates::{CpuLook, CpuRate, cpu_rate};
use super::seat::owns_machine;
use super::snapshot::Snapshot;
use crate::cgroup::Layout;
use crate::cgroup::kept::{BUFFER, Kept};
use crate::sys::time;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Looks at the container when asked. Holds its kernel files open (about 25 descriptors) and one buffer.
#[derive(Debug)]
pub struct Sampler {
    root: PathBuf,
    workspace: Option<PathBuf>,
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    pressure: PressureFiles,
    load: Kept,
    network: Kept,
    descriptors: Descriptors,
    /// Only where a group of ours is missing and the machine is not ours.
    processes: Option<Processes>,
    /// The look that the next rate starts from.
    previous: CpuLook,
    /// The last rate, repeated to those who ask again too soon.
    rate: Option<CpuRate>,
    buf: Vec<u8>,
}

impl Sampler {
    /// Opens the files and takes the first reading of the CPU counter, so that the first look 100 ms later has a rate.
    /// `root` is `/` but for tests. `layout` must be of the time before the daemon moved itself to a leaf group: what it
    /// describes is taken for the container.
    pub fn new(root: &Path, layout: &Layout) -> Sampler {
        let mut sampler = Sampler {
            root: root.to_path_buf(),
            workspace: None,
            cpu: Cpu::new(root, layout),
            memory: Memory::new(root, layout),
            pids: Pids::new(root, layout),
            pressure: PressureFiles::new(root, layout),
            load: Kept::open(root.join("proc/loadavg")),
            network: Kept::open(root.join("proc/net/dev")),
            descriptors: Descriptors::new(root),
            processes: None,
            previous: CpuLook::default(),
            rate: None,
            buf: vec![0; BUFFER],
        };
        if sampler.lacks_a_source() && !owns_machine(root) {
            sampler.processes = Some(Processes::new(root));
        }
        let usage_us = sampler.cpu.read(&mut sampler.buf).usage_us.or(sampler.sums().cpu_us);
        sampler.previous = CpuLook { at: time::monotonic(), usage_us };
        sampler
    }

    /// Also reports the filesystem that holds `path` (absolute), unless a server that may not answer is behind it.
    pub fn with_workspace(mut self, path: PathBuf) -> Sampler {
        self.workspace = Some(path).filter(|path| disk::is_local(&self.root, path));
        self
    }

    fn lacks_a_source(&mut self) -> bool {
        let buf = &mut self.buf;
        let cpu = self.cpu.read(buf).usage_us;
        let memory = self.memory.read(buf).usage.working_set;
        let (pids, _) = self.pids.read(None, buf);
        cpu.is_none() || memory.is_none() || pids.is_none()
    }

    fn sums(&mut self) -> Sums {
        self.processes.as_mut().map(Processes::read).unwrap_or_default()
    }

    /// Looks now. Costs some tens of µs and does not fail: what cannot be read is `None`.
    pub fn look(&mut self) -> Snapshot {
        self.look_at(time::monotonic(), time::unix_ms())
    }

    fn look_at(&mut self, now: Duration, unix_ms: u64) -> Snapshot {
        let sums = self.sums();
        let buf = &mut self.buf;
        let cpu = self.cpu.read(buf);
        let memory = self.memory.read(buf);
        let load = self.load.read(buf).map(host::load).unwrap_or_default();
        let (pids, pids_limit) = self.pids.read(load.tasks, buf);
        let psi = self.pressure.read(buf);
        let (net_rx_bytes, net_tx_bytes) = self.network.read_all(buf).and_then(host::network).unzip();
        let usage_us = cpu.usage_us.or(sums.cpu_us);
        let rate = self.advance(CpuLook { at: now, usage_us }, cpu.count);
        let [load1, load5, load15] = load.averages;
        Snapshot {
            cpu_count: cpu.count,
            cpu_used_pct: rate.and_then(|rate| rate.used_pct),
            mem_total_bytes: memory.total,
            mem_used_bytes: memory.usage.working_set.or(sums.resident),
            timestamp: unix_ms,
            cpu_window_ms: rate.map(|rate| rate.window_ms),
            cpu_usage_us: usage_us,
            cpu_nr_periods: cpu.throttling.nr_periods,
            cpu_nr_throttled: cpu.throttling.nr_throttled,
            cpu_throttled_us: cpu.throttling.throttled_us,
            mem_cache_bytes: memory.usage.cache,
            mem_anon_bytes: memory.usage.anon,
            mem_shmem_bytes: memory.usage.shmem,
            mem_swap_bytes: memory.usage.swap,
            mem_limit_source: memory.limit_source,
            oom_kills: memory.usage.oom_kills,
            pids: pids.or(sums.tasks),
            pids_limit,
            psi,
            disk_root: disk::space(&self.root),
            disk_workspace: self.workspace.as_deref().and_then(disk::space),
            net_rx_bytes,
            net_tx_bytes,
            open_fds: self.descriptors.count(),
            load1,
            load5,
            load15,
        }
    }

    /// The rate since the previous look, which this one replaces, or the last rate when that look was just now.
    fn advance(&mut self, now: CpuLook, cpus: Option<f64>) -> Option<CpuRate> {
        if let Some(rate) = cpu_rate(self.previous, now, cpus) {
            self.previous = now;
            self.rate = Some(rate);
        }
        self.rate
    }
}

#[cfg(test)]
#[path = "sampler_test.rs"]
mod tests;
