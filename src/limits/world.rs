//! What this place offers for enforcing limits: plain facts, found once at start, so that decisions stay pure.

use serde::{Deserialize, Serialize};

/// Which cgroup interface controls something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupVersion {
    /// cgroup v1
    V1,
    /// cgroup v2
    V2,
}

/// How all processes of an execution are found and killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Containment {
    /// `cgroup.kill`
    Cgroup2,
    /// freeze and kill through a v1 hierarchy
    Cgroup1,
    /// the supervisor is the subreaper of the whole tree
    Subreaper,
    /// descendants as long as their parents live, and by the mark in their environment at the end
    None,
}

/// Facts about the sandbox. Each is the result of a probe, never an assumption from a version number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Who can limit memory of a child group.
    pub memory: Option<CgroupVersion>,
    /// Who can limit tasks of a child group.
    pub pids: Option<CgroupVersion>,
    /// Who counts the CPU time of a child group.
    pub cpu_time: Option<CgroupVersion>,
    /// Who can limit the CPU rate of a child group.
    pub cpu_rate: Option<CgroupVersion>,
    /// Who kills a whole child group.
    pub kill: Option<CgroupVersion>,
    /// Orphans can be kept below a process of ours (`PR_SET_CHILD_SUBREAPER`; not in gVisor).
    pub subreaper: bool,
    /// A private mount namespace can make the cgroup tree read-only for an execution (`CAP_SYS_ADMIN`).
    pub private_mounts: bool,
    /// With the private mounts comes a /proc that hides every process which the execution may not trace.
    pub private_proc: bool,
    /// Executions can run under another uid (`CAP_SETUID`).
    pub can_change_uid: bool,
    /// seccomp filters can be installed.
    pub seccomp: bool,
    /// seccomp user notification works.
    pub seccomp_notify: bool,
    /// Out of memory, the kernel ends the whole container (`memory.oom.group`).
    pub oom_takes_all: bool,
    /// Memory and descriptors of executions under the daemon's uid are within reach (pidfd_getfd(2)).
    pub tracing: bool,
    /// The same under any uid (`CAP_SYS_PTRACE`).
    pub tracing_others: bool,
    /// The container's own CPU counter is readable and counts only this container.
    pub container_cpu_counter: bool,
    /// The daemon's uid is 0, so `RLIMIT_NPROC` and file modes bind nothing.
    pub root: bool,
}

impl World {
    /// Containment here, strongest first.
    pub fn containment(&self) -> Containment {
        match self.kill {
            Some(CgroupVersion::V2) => Containment::Cgroup2,
            Some(CgroupVersion::V1) => Containment::Cgroup1,
            None if self.subreaper => Containment::Subreaper,
            None => Containment::None,
        }
    }
}

/// How one execution is started, as far as it matters for what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// It runs under another uid than the daemon's.
    pub other_uid: bool,
    /// It runs under the protecting seccomp filter.
    pub filtered: bool,
    /// It keeps capabilities such as `CAP_SYS_ADMIN`.
    pub keeps_capabilities: bool,
}

impl Subject {
    /// An ordinary typed execution: filtered, without capabilities, under the daemon's uid.
    pub const TYPICAL: Subject = Subject { other_uid: false, filtered: true, keeps_capabilities: false };
}
