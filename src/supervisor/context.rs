//! What every supervisor inherits from the daemon through the zygote: facts found before the first fork.

use super::container::ContainerMemory;
use super::filter::NetworkCalls;
use super::network::Reach;
use super::protocol::Shape;
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
    /// How the gate reaches programs, of another user or of our own.
    pub(crate) fn reach(&self, other_uid: bool) -> Reach {
        let traces = if other_uid { self.world.tracing_others } else { self.world.tracing };
        if traces { Reach::Trace } else { Reach::Made }
    }

    /// How the stub of an execution of this shape confines itself. `grouped_tasks`: a controller counts tasks.
    pub(crate) fn confinement(&self, shape: &Shape, grouped_tasks: bool) -> Confinement {
        let World { seccomp, seccomp_notify, .. } = self.world;
        let notify = seccomp && seccomp_notify;
        if !shape.confined {
            return Confinement::None;
        }
        if !seccomp {
            return Confinement::Privileges;
        }
        let makes_sockets = self.reach(shape.other_uid) == Reach::Made;
        Confinement::Filter {
            notify,
            count_tasks: notify && !grouped_tasks && shape.counted,
            network: (notify && shape.gated).then_some(NetworkCalls { makes_sockets }),
        }
    }
}

/// What a stub does to itself before it knows its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// nothing: the command is to have the sandbox's own view and privileges
    None,
    /// no_new_privs alone, where there is no seccomp(2)
    Privileges,
    /// no_new_privs and a filter; see [`super::filter::Rules`]
    Filter {
        /// its listener goes to the supervisor
        notify: bool,
        /// new tasks are notified
        count_tasks: bool,
        /// what is notified of the network
        network: Option<NetworkCalls>,
    },
}

impl Confinement {
    pub(crate) fn has_listener(&self) -> bool {
        matches!(self, Confinement::Filter { notify: true, .. })
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
