//! `plan`: which mechanism holds each limit here, how strongly, and why.

use super::world::{CgroupVersion, Subject, World};
use super::{Enforcement, LimitKey, Mechanism, Strength};

/// The enforcement of one limit for one kind of execution.
///
/// `enforced` is claimed only where the execution cannot undo the mechanism: a group that its uid can write counts as
/// `advisory` unless another uid or a read-only mount of its own keeps it out.
pub fn plan(key: LimitKey, world: &World, subject: Subject) -> Enforcement {
    match key {
        LimitKey::MemoryBytes => memory(world, subject),
        LimitKey::CpuTimeMs => cpu_time(world, subject),
        LimitKey::WallTimeMs => row(
            Mechanism::Timer,
            Strength::Enforced,
            "monotonic timer of the supervisor: TERM to all, grace, KILL to all",
        ),
        LimitKey::NetworkRequests => network(world, subject),
        LimitKey::StorageBytes => row(
            Mechanism::Watchdog,
            Strength::Sampled,
            "work directory and deleted open files are added up at least every 2 s",
        ),
        LimitKey::Pids => pids(world, subject),
        LimitKey::OpenFiles => row(Mechanism::Rlimit, Strength::Enforced, "RLIMIT_NOFILE, per process"),
        LimitKey::FileSizeBytes => row(Mechanism::Rlimit, Strength::Enforced, "RLIMIT_FSIZE, per process"),
        LimitKey::CpuCores => cpu_rate(world, subject),
    }
}

/// The whole table for one kind of execution, in display order.
pub fn table(world: &World, subject: Subject) -> Vec<(LimitKey, Enforcement)> {
    LimitKey::ALL.into_iter().map(|key| (key, plan(key, world, subject))).collect()
}

fn memory(world: &World, subject: Subject) -> Enforcement {
    match world.memory {
        Some(version) => grouped(version, world, subject, "memory and swap limit of a group of its own"),
        None if world.oom_takes_all => row(
            Mechanism::Watchdog,
            Strength::Sampled,
            "KILL within 50 ms of crossing at up to 1 GB/s; memory.oom.group is 1 on the container, so the largest execution is \
             killed before the container's own limit; a writable cgroup would enforce it",
        ),
        None => row(
            Mechanism::Watchdog,
            Strength::Sampled,
            "KILL within 50 ms of crossing at up to 1 GB/s; memfd and tmpfs pages that no process maps are out of sight; \
             a writable cgroup would enforce it",
        ),
    }
}

fn cpu_time(world: &World, subject: Subject) -> Enforcement {
    match world.cpu_time {
        Some(version) => grouped(
            version,
            world,
            subject,
            "CPU counter of its group, looked at when the budget could be spent; at most 50 ms over",
        ),
        None if world.container_cpu_counter => row(
            Mechanism::Watchdog,
            Strength::Sampled,
            "CPU clocks of the process tree; growth of the container's counter that nobody owns is charged; at most 100 ms over",
        ),
        None => row(
            Mechanism::Watchdog,
            Strength::Sampled,
            "CPU clocks of the process tree; children that nobody waits for are missed (no readable container CPU counter)",
        ),
    }
}

fn pids(world: &World, subject: Subject) -> Enforcement {
    match world.pids {
        Some(version) => grouped(version, world, subject, "pids.max of a group of its own; clone fails with EAGAIN"),
        None if world.seccomp_notify && subject.filtered => row(
            Mechanism::Seccomp,
            Strength::Enforced,
            "the supervisor counts clone, fork and vfork; EAGAIN at the limit, clone3 answers ENOSYS",
        ),
        None => row(
            Mechanism::Watchdog,
            Strength::Sampled,
            "tasks are counted at each look; the execution is killed when over",
        ),
    }
}

fn network(world: &World, subject: Subject) -> Enforcement {
    if !world.seccomp_notify || !subject.filtered {
        return none(
            "no seccomp user notification here, so nobody can count connects; Linux 5.0 and a profile that allows it would",
        );
    }
    if subject.keeps_capabilities {
        return row(
            Mechanism::Seccomp,
            Strength::Advisory,
            "the supervisor makes each connect for the program; its capabilities let it send packets by other ways",
        );
    }
    row(
        Mechanism::Seccomp,
        Strength::Enforced,
        "the supervisor makes each connect for the program; EPERM at the limit, EACCES where a rule forbids",
    )
}

fn cpu_rate(world: &World, subject: Subject) -> Enforcement {
    match world.cpu_rate {
        Some(version) => grouped(version, world, subject, "CPU quota of a group of its own"),
        None => none("no writable cpu controller here; a writable cgroup would provide one"),
    }
}

fn grouped(version: CgroupVersion, world: &World, subject: Subject, what: &str) -> Enforcement {
    let mechanism = match version {
        CgroupVersion::V1 => Mechanism::Cgroup1,
        CgroupVersion::V2 => Mechanism::Cgroup2,
    };
    if subject.keeps_capabilities {
        return row(mechanism, Strength::Advisory, &format!("{what}; its capabilities let it write the group"));
    }
    if subject.other_uid || (world.private_mounts && subject.filtered) {
        return row(mechanism, Strength::Enforced, what);
    }
    row(mechanism, Strength::Advisory, &format!("{what}; its uid can write the group: run it under another uid"))
}

fn row(mechanism: Mechanism, strength: Strength, detail: &str) -> Enforcement {
    Enforcement { mechanism: Some(mechanism), strength, detail: detail.to_owned() }
}

fn none(detail: &str) -> Enforcement {
    Enforcement { mechanism: None, strength: Strength::Unavailable, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> World {
        World {
            memory: None,
            pids: None,
            cpu_time: None,
            cpu_rate: None,
            kill: None,
            subreaper: true,
            private_mounts: false,
            private_proc: false,
            can_change_uid: false,
            seccomp: true,
            seccomp_notify: true,
            oom_takes_all: false,
            tracing: false,
            tracing_others: false,
            container_cpu_counter: true,
            root: true,
        }
    }

    fn grouped_world(version: CgroupVersion) -> World {
        let v = Some(version);
        World { memory: v, pids: v, cpu_time: v, cpu_rate: v, kill: v, private_mounts: true, ..bare() }
    }

    fn strengths(world: &World, subject: Subject) -> Vec<(LimitKey, Option<Mechanism>, Strength)> {
        table(world, subject).into_iter().map(|(key, e)| (key, e.mechanism, e.strength)).collect()
    }

    #[test]
    fn default_container_rests_on_the_supervisor() {
        let rows = strengths(&bare(), Subject::TYPICAL);
        assert!(rows.contains(&(LimitKey::MemoryBytes, Some(Mechanism::Watchdog), Strength::Sampled)));
        assert!(rows.contains(&(LimitKey::CpuTimeMs, Some(Mechanism::Watchdog), Strength::Sampled)));
        assert!(rows.contains(&(LimitKey::Pids, Some(Mechanism::Seccomp), Strength::Enforced)));
        assert!(rows.contains(&(LimitKey::WallTimeMs, Some(Mechanism::Timer), Strength::Enforced)));
        assert!(rows.contains(&(LimitKey::CpuCores, None, Strength::Unavailable)));
        assert!(rows.contains(&(LimitKey::NetworkRequests, Some(Mechanism::Seccomp), Strength::Enforced)));
    }

    #[test]
    fn the_network_gate_needs_notification_and_no_capabilities() {
        let strength = |world: &World, subject| plan(LimitKey::NetworkRequests, world, subject).strength;
        assert_eq!(strength(&World { seccomp_notify: false, ..bare() }, Subject::TYPICAL), Strength::Unavailable);
        assert_eq!(strength(&bare(), Subject { filtered: false, ..Subject::TYPICAL }), Strength::Unavailable);
        assert_eq!(strength(&bare(), Subject { keeps_capabilities: true, ..Subject::TYPICAL }), Strength::Advisory);
    }

    #[test]
    fn groups_enforce_when_the_execution_cannot_write_them() {
        for (version, mechanism) in [(CgroupVersion::V1, Mechanism::Cgroup1), (CgroupVersion::V2, Mechanism::Cgroup2)] {
            let rows = strengths(&grouped_world(version), Subject::TYPICAL);
            for key in [LimitKey::MemoryBytes, LimitKey::CpuTimeMs, LimitKey::Pids, LimitKey::CpuCores] {
                assert!(rows.contains(&(key, Some(mechanism), Strength::Enforced)), "{key:?}");
            }
        }
    }

    #[test]
    fn a_group_that_the_execution_can_write_is_advisory() {
        let exposed = World { private_mounts: false, ..grouped_world(CgroupVersion::V2) };
        assert_eq!(plan(LimitKey::MemoryBytes, &exposed, Subject::TYPICAL).strength, Strength::Advisory);
        let other = Subject { other_uid: true, ..Subject::TYPICAL };
        assert_eq!(plan(LimitKey::MemoryBytes, &exposed, other).strength, Strength::Enforced);
        let capable = Subject { keeps_capabilities: true, ..Subject::TYPICAL };
        assert_eq!(
            plan(LimitKey::MemoryBytes, &grouped_world(CgroupVersion::V2), capable).strength,
            Strength::Advisory
        );
    }

    #[test]
    fn mechanism_is_absent_exactly_when_unavailable() {
        for world in [
            bare(),
            grouped_world(CgroupVersion::V1),
            World { seccomp_notify: false, container_cpu_counter: false, ..bare() },
        ] {
            for (key, row) in table(&world, Subject::TYPICAL) {
                assert_eq!(row.mechanism.is_none(), row.strength == Strength::Unavailable, "{key:?}");
                assert!(!row.detail.is_empty());
            }
        }
    }
}
