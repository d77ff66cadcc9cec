//! The groups of one execution, in every hierarchy that helps: limits, counters, killing, removal.

use super::domain::{Domain, PREFIX};
use super::files;
use super::gauges::Gauges;
use super::mounts::Controller;
use super::settings::Settings;
use crate::limits::Limits;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where an execution has its groups.
#[derive(Debug, Default)]
pub(super) struct Folders {
    pub(super) v2: Option<PathBuf>,
    pub(super) v2_memory: bool,
    pub(super) v2_pids: bool,
    pub(super) v2_cpu: bool,
    pub(super) v2_kill: bool,
    pub(super) memory1: Option<PathBuf>,
    pub(super) pids1: Option<PathBuf>,
    pub(super) cpu1: Option<PathBuf>,
    pub(super) cpuacct1: Option<PathBuf>,
    pub(super) freezer1: Option<PathBuf>,
}

impl Folders {
    pub(super) fn memory(&self) -> Option<&PathBuf> {
        self.v2.as_ref().filter(|_| self.v2_memory).or(self.memory1.as_ref())
    }

    pub(super) fn pids(&self) -> Option<&PathBuf> {
        self.v2.as_ref().filter(|_| self.v2_pids).or(self.pids1.as_ref())
    }
}

/// The groups of one execution.
#[derive(Debug)]
pub struct Group {
    folders: Folders,
    /// each once
    all: Vec<PathBuf>,
    gauges: Gauges,
    settings: Settings,
}

/// What the kernel did to a group that ran out of memory. Missing keys are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// processes killed by the kernel for memory, whoever's limit it was
    pub oom_kills: Option<u64>,
    /// times that this group's own limit was reached with nothing to reclaim (v2 only)
    pub own_ooms: Option<u64>,
}

/// A descriptor that becomes ready when a counter moves.
#[derive(Debug)]
pub struct Alarm {
    /// poll this
    pub fd: OwnedFd,
    /// for `POLLPRI` (a kernfs file) rather than `POLLIN` (an eventfd)
    pub priority: bool,
    // v1: the kernel drops the registration when this closes.
    _watched: Option<File>,
}

impl Alarm {
    /// Takes the event, so that the next one wakes again.
    pub fn acknowledge(&self) {
        let mut buffer = [0; 256];
        if self.priority {
            let _ = nix::sys::uio::pread(&self.fd, &mut buffer, 0);
        } else {
            let _ = nix::unistd::read(&self.fd, &mut buffer);
        }
    }
}

impl Group {
    /// Makes the folders of execution number `slot`. `None` where the domain is empty.
    pub fn create(domain: &Domain, slot: u32) -> io::Result<Option<Group>> {
        let name = slot.to_string();
        let mut all = Vec::new();
        let mut make = |base: &Path| -> io::Result<PathBuf> {
            let dir = base.join(&name);
            if !all.contains(&dir) {
                fs::create_dir(&dir)
                    .map_err(|error| io::Error::new(error.kind(), format!("create {}: {error}", dir.display())))?;
                all.push(dir.clone());
            }
            Ok(dir)
        };
        let v2 = domain.v2.as_ref();
        let v2_dir = v2.map(|unified| make(&unified.dir)).transpose()?;
        let counts_cpu = v2_dir.as_ref().is_some_and(|dir| dir.join("cpu.stat").exists());
        let mut legacy = |controller: Controller, needed: bool| -> io::Result<Option<PathBuf>> {
            let base = domain.legacy(controller).filter(|_| needed);
            base.map(|legacy| make(&legacy.dir)).transpose()
        };
        let (v2_memory, v2_pids) = (v2.is_some_and(|v| v.memory), v2.is_some_and(|v| v.pids));
        let (v2_cpu, v2_kill) = (v2.is_some_and(|v| v.cpu), v2.is_some_and(|v| v.kill));
        let folders = Folders {
            memory1: legacy(Controller::Memory, !v2_memory)?,
            pids1: legacy(Controller::Pids, !v2_pids)?,
            cpu1: legacy(Controller::Cpu, !v2_cpu)?,
            cpuacct1: legacy(Controller::Cpuacct, !counts_cpu)?,
            freezer1: legacy(Controller::Freezer, !v2_kill)?,
            v2: v2_dir,
            v2_memory,
            v2_pids,
            v2_cpu,
            v2_kill,
        };
        if all.is_empty() {
            return Ok(None);
        }
        Ok(Some(Group { gauges: Gauges::open(&folders), settings: Settings::open(&folders), folders, all }))
    }

    /// Moves the calling process in. Each write may wait for an RCU grace period (about 8 ms when done once in a while), so
    /// stubs do this ahead of time.
    pub fn join(&self) -> Result<(), files::FileError> {
        self.all.iter().try_for_each(|dir| files::write(&dir.join("cgroup.procs"), "0"))
    }

    /// Writes every limit that a controller here can hold.
    pub fn apply(&self, limits: &Limits) -> Result<(), files::FileError> {
        self.settings.apply(limits)
    }

    /// Memory is limited by a controller here.
    pub fn limits_memory(&self) -> bool {
        self.folders.memory().is_some()
    }

    /// Tasks are limited by a controller here.
    pub fn limits_pids(&self) -> bool {
        self.folders.pids().is_some()
    }

    /// User and system CPU time since the group was made, µs.
    pub fn cpu_us(&self) -> Option<(u64, u64)> {
        self.gauges.cpu_us()
    }

    /// Unreclaimable bytes now: anonymous, shmem and swap.
    pub fn memory(&self) -> Option<u64> {
        self.gauges.memory()
    }

    /// The group's own peak, page cache included.
    pub fn memory_charge_peak(&self) -> Option<u64> {
        self.gauges.memory_charge_peak()
    }

    /// Tasks now.
    pub fn tasks(&self) -> Option<u64> {
        self.gauges.tasks()
    }

    /// Most tasks so far (kernels from 6.6 on).
    pub fn tasks_peak(&self) -> Option<u64> {
        self.gauges.tasks_peak()
    }

    /// Refused new tasks since the group was made.
    pub fn tasks_denied(&self) -> Option<u64> {
        self.gauges.tasks_denied()
    }

    /// Evidence: read before and after, a difference is a breach.
    pub fn out_of_memory(&self) -> Counters {
        self.gauges.out_of_memory()
    }

    /// Descriptors that wake the supervisor when the kernel killed for memory or refused a fork.
    pub fn alarms(&self) -> Vec<Alarm> {
        let memory = self.folders.memory().and_then(|dir| match self.folders.v2_memory {
            true => kernfs_alarm(&dir.join("memory.events")),
            false => eventfd_alarm(dir),
        });
        let pids = self.folders.pids().and_then(|dir| kernfs_alarm(&dir.join("pids.events")));
        memory.into_iter().chain(pids).collect()
    }

    /// Processes in the group (v2, or the first v1 hierarchy).
    pub fn members(&self) -> Vec<i32> {
        let Some(dir) = self.all.first() else { return Vec::new() };
        members(dir)
    }

    /// KILL to every member. `cgroup.kill` where there is one, else freeze, kill, thaw.
    pub fn kill(&self) {
        if let Some(dir) = self.folders.v2.as_ref().filter(|_| self.folders.v2_kill)
            && files::write(&dir.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        let freezer = self.folders.freezer1.as_ref();
        if let Some(dir) = freezer {
            let _ = files::write(&dir.join("freezer.state"), "FROZEN");
        }
        for pid in self.members() {
            let _ = crate::sys::process::kill(pid, libc::SIGKILL);
        }
        if let Some(dir) = freezer {
            let _ = files::write(&dir.join("freezer.state"), "THAWED");
        }
    }

    /// Removes the folders; waits up to `patience` for the kernel to let go of dying members.
    pub fn remove(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        // Every folder is tried, whatever became of the one before.
        let left = self.all.iter().filter(|dir| !remove_folder(dir, deadline)).count();
        left == 0
    }
}

fn members(dir: &Path) -> Vec<i32> {
    let text = files::read_text(&dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

fn remove_folder(dir: &Path, deadline: Instant) -> bool {
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            // A killed member leaves its group a moment after it was reaped.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return false,
        }
    }
}

/// The folders that slot `slot` has, made by whoever; used when its supervisor is dead.
pub fn kill_and_remove_slot(domain: &Domain, slot: u32) {
    let name = slot.to_string();
    let bases = domain.v2.iter().map(|v2| &v2.dir).chain(domain.v1.iter().map(|legacy| &legacy.dir));
    for base in bases {
        kill_and_remove_tree(&base.join(&name));
    }
}

/// Kills every process below a folder of ours and removes it. True when it is gone.
pub(super) fn kill_and_remove_tree(dir: &Path) -> bool {
    let children = fs::read_dir(dir).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        kill_and_remove_tree(&child.path());
    }
    let leaf = dir.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(PREFIX));
    if !leaf && files::write(&dir.join("cgroup.kill"), "1").is_err() {
        for pid in members(dir) {
            let _ = crate::sys::process::kill(pid, libc::SIGKILL);
        }
    }
    remove_folder(dir, Instant::now() + Duration::from_millis(200))
}

fn kernfs_alarm(path: &Path) -> Option<Alarm> {
    let file = File::open(path).ok()?;
    // A first read arms the notification: poll reports changes since the last read.
    let mut start = [0; 64];
    std::os::unix::fs::FileExt::read_at(&file, &mut start, 0).ok()?;
    Some(Alarm { fd: file.into(), priority: true, _watched: None })
}

/// cgroup-v1/memory.rst, "OOM Control": register an eventfd through `cgroup.event_control`.
fn eventfd_alarm(dir: &Path) -> Option<Alarm> {
    let watched = File::open(dir.join("memory.oom_control")).ok()?;
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?;
    let request = format!("{} {}", event.as_raw_fd(), watched.as_raw_fd());
    files::write(&dir.join("cgroup.event_control"), &request).ok()?;
    Some(Alarm { fd: event.into(), priority: false, _watched: Some(watched) })
}
