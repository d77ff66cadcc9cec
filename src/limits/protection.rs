//! Who is protected from whom here: what an execution under the daemon's uid, or another, cannot do to the daemon and its supervisors.

use super::world::{Subject, World};
use serde::Serialize;

/// One row of the protection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Protection {
    /// what is protected, a stable word
    #[serde(skip)]
    pub name: &'static str,
    /// it holds for an ordinary typed execution
    pub holds: bool,
    /// one sentence
    pub detail: &'static str,
}

/// The table for one kind of execution. Types that keep capabilities or no filter (DEFAULT) are outside it.
pub fn table(world: &World, subject: Subject) -> Vec<Protection> {
    let kept_out = subject.other_uid || (subject.filtered && world.seccomp);
    let groups = world.memory.is_some() || world.cpu_time.is_some() || world.pids.is_some();
    vec![
        Protection {
            name: "daemon_memory",
            holds: !subject.keeps_capabilities,
            detail: "daemon, zygote and supervisors are non-dumpable before any execution exists: no ptrace, mem, environ, fd",
        },
        Protection {
            name: "signals",
            holds: kept_out,
            detail: match (subject.other_uid, kept_out) {
                (true, _) => "another uid: the kernel refuses signals, limits and priorities",
                (false, true) => {
                    "seccomp refuses kill-family, prlimit64, sched_* and F_SETOWN at anybody outside the own tree"
                }
                (false, false) => {
                    "same uid and no filter here: a supervisor can be stopped or killed; run under another uid"
                }
            },
        },
        Protection {
            name: "strangers",
            holds: subject.other_uid || world.seccomp_notify,
            detail: if world.seccomp_notify {
                "each new target is looked up: sibling executions and later supervisors are covered too"
            } else {
                "no user notification here: only the processes known at the start are covered"
            },
        },
        Protection {
            name: "cgroup_tree",
            holds: !groups || subject.other_uid || (world.private_mounts && subject.filtered),
            detail: if groups {
                "the groups that limit an execution are read-only for it, or not its uid's"
            } else {
                "no groups of ours here"
            },
        },
        Protection {
            name: "proc_files",
            holds: subject.other_uid || !world.root || (world.private_proc && subject.filtered),
            detail: if world.root && !world.private_proc {
                "uid 0 owns /proc/PID/oom_score_adj and autogroup of the daemon: the next OOM could be sent its way; run under another uid"
            } else {
                "oom_score_adj, autogroup and the like of the daemon are not the execution's to write"
            },
        },
        Protection {
            name: "outliving",
            holds: true,
            detail: "when the daemon dies each supervisor kills its tree; when a supervisor dies the zygote kills what it leaves",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_without_seccomp_admits_it() {
        let bare = World {
            memory: None,
            pids: None,
            cpu_time: None,
            cpu_rate: None,
            kill: None,
            subreaper: true,
            private_mounts: false,
            private_proc: false,
            can_change_uid: true,
            seccomp: false,
            seccomp_notify: false,
            oom_takes_all: false,
            tracing: false,
            tracing_others: false,
            container_cpu_counter: false,
            root: true,
        };
        let holds = |subject| -> Vec<&str> {
            table(&bare, subject).into_iter().filter(|row| row.holds).map(|row| row.name).collect()
        };
        assert_eq!(holds(Subject::TYPICAL), ["daemon_memory", "cgroup_tree", "outliving"]);
        let other = Subject { other_uid: true, ..Subject::TYPICAL };
        assert_eq!(holds(other), ["daemon_memory", "signals", "strangers", "cgroup_tree", "proc_files", "outliving"]);
    }
}
