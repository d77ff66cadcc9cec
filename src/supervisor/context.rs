//! What every supervisor inherits from the daemon through the zygote: facts found before the first fork.

use super::container::ContainerMemory;
use super::network::Reach;
use crate::cgroup::domain::Domain;
use crate::limits::world::World;
use std::path::PathBuf;

/// Facts that do not change while the daemon lives.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where groups are made.
    pub domain: Domain,
    /// What can be enforced.
    pub world: World,
    /// Top folders of the cgroup tree and other kernel files that executions get a read-only view of.
    pub shielded: Vec<PathBuf>,
    /// File that shows the container's CPU time, when it counts only this container.
    pub cpu_counter: Option<CpuCounter>,
    /// Memory of the sandbox, where the kernel would end all of it at once.
    pub container_memory: Option<ContainerMemory>,
    /// The daemon.
    pub daemon: i32,
    /// Processors that an execution can keep busy at once.
    pub cores: u32,
    /// Soft limit on open files that the daemon was started with; executions without a limit of their own get it back.
    pub open_files_soft: u64,
}

impl Context {
    /// How the gate reaches programs that run as `uid` (`None`: as we do).
    pub(crate) fn reach(&self, uid: Option<u32>) -> Reach {
        let other = uid.is_some_and(|uid| uid != nix::unistd::getuid().as_raw());
        let traces = if other { self.world.tracing_others } else { self.world.tracing };
        if traces { Reach::Trace } else { Reach::Made }
    }
}

/// The container's own CPU counter.
#[derive(Clone, Debug)]
pub enum CpuCounter {
    /// v2 `cpu.stat`, key `usage_usec`
    Stat(PathBuf),
    /// v1 `cpuacct.usage`, nanoseconds
    Usage(PathBuf),
}

impl CpuCounter {
    /// Microseconds.
    pub fn read_us(&self) -> Option<u64> {
        match self {
            CpuCounter::Stat(path) => crate::cgroup::files::read_keyed(path, &["usage_usec"]).ok()?[0],
            CpuCounter::Usage(path) => crate::cgroup::files::read_u64(path).ok().map(|ns| ns / 1000),
        }
    }
}
