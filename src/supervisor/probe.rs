//! What this sandbox offers: each fact is tried, not guessed from a version.

use super::container::ContainerMemory;
use super::context::{Context, CpuCounter};
use crate::cgroup::domain::Domain;
use crate::cgroup::{Controller, Layout, mountinfo};
use crate::limits::world::World;
use crate::sys::{caps, fdpass, mount, process, remote, seccomp};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::socket::MsgFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, geteuid};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;

/// Inode of the machine's first pid namespace (linux/proc_ns.h, `PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Prepares cgroups and probes the rest. Must run before the process has threads; forks once where mounts can be tried.
pub fn probe(layout: &Layout, open_files_soft: u64) -> Context {
    let domain = Domain::prepare(layout, &tag(std::process::id()));
    domain.sweep_stale(tag_is_alive);
    let held = caps::get().unwrap_or_default().effective;
    let has = |capability: u32| held & (1 << capability) != 0;
    let shielded = shielded();
    let admin = has(CAP_SYS_ADMIN);
    let private_proc = admin && proc_is_bare() && can_shield(&shielded, true);
    let counter = cpu_counter(layout);
    let container_memory = ContainerMemory::find(layout);
    let tracing = can_trace_a_child();
    let world = World {
        memory: domain.memory(),
        pids: domain.pids(),
        cpu_time: domain.cpu_time(),
        cpu_rate: domain.cpu_rate(),
        kill: domain.kill(),
        subreaper: can_be_subreaper(),
        private_mounts: private_proc || (admin && can_shield(&shielded, false)),
        private_proc,
        can_change_uid: has(CAP_SETUID) && has(CAP_SETGID),
        seccomp: Path::new("/proc/sys/kernel/seccomp").exists() || seccomp::notification_available(),
        seccomp_notify: seccomp::notification_available(),
        oom_takes_all: container_memory.is_some(),
        tracing,
        tracing_others: tracing && has(CAP_SYS_PTRACE),
        container_cpu_counter: counter.is_some(),
        root: geteuid().is_root(),
    };
    Context {
        container_memory,
        domain,
        world,
        shielded,
        cpu_counter: counter,
        daemon: std::process::id() as i32,
        cores: cores(),
        open_files_soft,
    }
}

/// Whether descriptors and memory of a child are within reach: not under Docker's usual profile, nor where Yama forbids it.
fn can_trace_a_child() -> bool {
    let Ok((ours, theirs)) = fdpass::packet_pair() else { return false };
    let word = [7u8; 8];
    match process::fork_single_threaded() {
        Ok(ForkResult::Child) => {
            let _ = nix::sys::prctl::set_dumpable(true);
            let _ = fdpass::send(theirs.as_fd(), &word, &[], MsgFlags::empty());
            // Until the other side is closed.
            drop(ours);
            let _ = fdpass::receive(theirs.as_fd(), &mut [0; 1], MsgFlags::empty());
            process::exit_now(0)
        }
        Ok(ForkResult::Parent { child }) => {
            let mut copy = [0; 8];
            let waits = fdpass::receive(ours.as_fd(), &mut [0; 8], MsgFlags::empty()).is_ok();
            let pidfd = remote::open_thread(child.as_raw());
            let taken = pidfd.and_then(|pidfd| remote::take_fd(pidfd.as_fd(), theirs.as_raw_fd())).is_ok();
            let read = remote::read_memory(child.as_raw(), word.as_ptr() as u64, &mut copy).is_ok() && copy == word;
            drop((ours, theirs));
            let _ = waitpid(child, None);
            waits && taken && read
        }
        Err(_) => false,
    }
}

/// Tried on ourselves, where it does no harm: the daemon is one anyway, or PID 1, to which orphans come in any case.
fn can_be_subreaper() -> bool {
    nix::sys::prctl::set_child_subreaper(true).is_ok()
}

/// Names this daemon's folders: pid, start time and pid namespace. A reused pid is somebody else, and a daemon in another namespace,
/// whose processes we cannot see, is never taken for dead.
fn tag(pid: u32) -> String {
    format!("{pid}-{}-{}", start_time(pid).unwrap_or(0), pid_namespace().unwrap_or(0))
}

fn tag_is_alive(tag: &str) -> bool {
    let mut parts = tag.split('-').map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(start)), Some(Ok(namespace))) = (parts.next(), parts.next(), parts.next()) else {
        // Not a name of ours.
        return true;
    };
    let foreign = pid_namespace() != Some(namespace);
    foreign || u32::try_from(pid).ok().and_then(start_time) == Some(start)
}

/// Inode of our pid namespace.
fn pid_namespace() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino())
}

/// Field 22 of `/proc/PID/stat`, clock ticks since boot.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What uid 0 could write without any capability: every cgroup mount, the rest of /sys, and the machine-wide files of /proc.
fn shielded() -> Vec<PathBuf> {
    let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut paths: Vec<PathBuf> = mountinfo::mounts(&mountinfo).into_iter().map(|mount| mount.point).collect();
    let others = ["/sys", "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"];
    paths.extend(others.map(PathBuf::from).into_iter().filter(|path| path.exists()));
    paths.sort_unstable();
    // What lies below another path of the list is made read-only with it.
    let mut tops: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !tops.last().is_some_and(|top| path.starts_with(top)) {
            tops.push(path);
        }
    }
    tops
}

/// Whether a fresh /proc may be mounted over the present one: not where a runtime has covered parts of it, which would come to light.
fn proc_is_bare() -> bool {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |line: &&str| line.split(' ').nth(4).is_some_and(|point| point.starts_with("/proc/"));
    mountinfo
        .lines()
        .filter(below)
        .all(|line| line.contains(" binfmt_misc ") || line.contains("/proc/sys/fs/binfmt_misc"))
}

/// Gives the calling process its own mounts, with all of `paths` read-only and, if asked, a /proc that hides strangers.
pub(crate) fn shield(paths: &[PathBuf], private_proc: bool) -> io::Result<()> {
    mount::enter_private_namespace()?;
    if private_proc {
        mount::private_proc()?;
    }
    for path in paths {
        mount::bind_onto_itself(path)?;
        mount::read_only_recursive(path)?;
    }
    Ok(())
}

fn can_shield(paths: &[PathBuf], private_proc: bool) -> bool {
    match process::fork_single_threaded() {
        Ok(ForkResult::Child) => process::exit_now(i32::from(shield(paths, private_proc).is_err())),
        Ok(ForkResult::Parent { child }) => matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))),
        Err(_) => false,
    }
}

/// The container's counter is of use only where it counts the processes that we see and no others.
fn cpu_counter(layout: &Layout) -> Option<CpuCounter> {
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    if namespace.as_os_str() == INITIAL_PID_NAMESPACE {
        return None;
    }
    let v2 = layout.v2.as_ref().filter(|place| !place.machine_root).map(|place| place.dir.join("cpu.stat"));
    let v1 = || layout.v1(Controller::Cpuacct).filter(|place| !place.machine_root).map(|p| p.dir.join("cpuacct.usage"));
    // On hybrid systems the v2 tree may be the machine's while the container has v1 groups of its own.
    let counter = v1().map(CpuCounter::Usage).or_else(|| v2.map(CpuCounter::Stat))?;
    counter.read_us().map(|_| counter)
}

fn cores() -> u32 {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return 1 };
    let count = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    u32::try_from(count).unwrap_or(1).max(1)
}
