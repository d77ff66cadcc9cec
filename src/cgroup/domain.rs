//! Where execution groups are made: found and prepared once, before the daemon has threads, then inherited by every
//! supervisor.
//!
//! On v2 a group with processes cannot pass controllers to children ("no internal processes", Control Group v2,
//! kernel doc cgroup-v2.rst), so everybody in our group moves to a leaf first.

use super::files::{self, FileError};
use super::mounts::{Controller, Layout, Place};
use crate::limits::world::CgroupVersion;
use std::fs;
use std::path::{Path, PathBuf};

/// Prefix of every folder that execd makes in a cgroup tree.
pub const PREFIX: &str = "execd-";

/// The folders below which each execution gets its groups. Empty where no cgroup tree can be written.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    pub(super) v2: Option<Unified>,
    pub(super) v1: Vec<Legacy>,
    /// What cannot be had and why, for `execd doctor`.
    pub notes: Vec<String>,
    leaf: Option<PathBuf>,
}

/// Our folder in the unified hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Unified {
    pub(super) dir: PathBuf,
    pub(super) memory: bool,
    pub(super) pids: bool,
    pub(super) cpu: bool,
    pub(super) kill: bool,
}

/// Our folder in one v1 hierarchy, which may carry several controllers (`cpu,cpuacct`).
#[derive(Clone, Debug)]
pub(super) struct Legacy {
    pub(super) dir: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

/// v1 controllers with a job here. cpuset, blkio and devices limit nothing that an agent type names.
const WANTED: [Controller; 5] =
    [Controller::Memory, Controller::Pids, Controller::Cpu, Controller::Cpuacct, Controller::Freezer];

impl Domain {
    /// Makes our folders. Whatever cannot be written is left out and noted; this never fails.
    ///
    /// `tag` makes the folder names unique among daemons of one machine (pid and start time).
    pub fn prepare(layout: &Layout, tag: &str) -> Domain {
        let mut domain = Domain::default();
        if let Some(place) = &layout.v2 {
            domain.prepare_unified(place, tag);
        }
        for controller in WANTED {
            if let Some(place) = layout.v1(controller) {
                domain.prepare_legacy(controller, place, tag);
            }
        }
        domain
    }

    fn prepare_unified(&mut self, place: &Place, tag: &str) {
        if !usable(place) {
            self.notes.push(format!("{} is read-only or not certainly our group", place.dir.display()));
            return;
        }
        let wanted = available_controllers(&place.dir);
        if !wanted.is_empty() && !place.machine_root {
            self.move_to_leaf(place, tag);
        }
        let enabled = self.enable(&place.dir, &wanted);
        let dir = place.dir.join(format!("{PREFIX}{tag}"));
        if let Err(error) = fs::create_dir(&dir) {
            self.notes.push(format!("create {}: {error}", dir.display()));
            return;
        }
        let enabled = self.enable(&dir, &enabled);
        let has = |name: &str| enabled.iter().any(|controller| controller == name);
        self.v2 = Some(Unified {
            memory: has("memory"),
            pids: has("pids"),
            cpu: has("cpu"),
            kill: dir.join("cgroup.kill").exists(),
            dir,
        });
    }

    /// Moves the processes of our group into a leaf. In a container's own namespace that is everybody; on a host, where the
    /// group belongs to a session or a service, only ourselves.
    fn move_to_leaf(&mut self, place: &Place, tag: &str) {
        let leaf = place.dir.join(format!("{PREFIX}{tag}-leaf"));
        if let Err(error) = fs::create_dir(&leaf) {
            self.notes.push(format!("create {}: {error}", leaf.display()));
            return;
        }
        let target = leaf.join("cgroup.procs");
        let own_namespace = place.dir == place.mount_point;
        let own_pid = std::process::id().to_string();
        // New processes may appear while we move: look again until nobody is left, a few times at most.
        for _ in 0..8 {
            let members = files::read_text(&place.dir.join("cgroup.procs")).unwrap_or_default();
            let mut moved = false;
            for pid in members.lines().filter(|pid| own_namespace || *pid == own_pid) {
                moved |= files::write(&target, pid).is_ok();
            }
            if !moved {
                break;
            }
        }
        self.leaf = Some(leaf);
    }

    /// Enables controllers for the children of `dir`, one by one, and returns those that took.
    fn enable(&mut self, dir: &Path, wanted: &[String]) -> Vec<String> {
        let control = dir.join("cgroup.subtree_control");
        let mut enabled = Vec::new();
        for name in wanted {
            match files::write(&control, &format!("+{name}")) {
                Ok(()) => enabled.push(name.clone()),
                Err(error) => self.notes.push(error.to_string()),
            }
        }
        enabled
    }

    fn prepare_legacy(&mut self, controller: Controller, place: &Place, tag: &str) {
        if !usable(place) {
            self.notes.push(format!("{} is read-only or not certainly our group", place.dir.display()));
            return;
        }
        let dir = place.dir.join(format!("{PREFIX}{tag}"));
        if let Some(known) = self.v1.iter_mut().find(|legacy| legacy.dir == dir) {
            known.controllers.push(controller);
            return;
        }
        match fs::create_dir(&dir) {
            Ok(()) => self.v1.push(Legacy { dir, controllers: vec![controller] }),
            Err(error) => self.notes.push(format!("create {}: {error}", dir.display())),
        }
    }

    /// Who limits memory of a child group.
    pub fn memory(&self) -> Option<CgroupVersion> {
        self.version(self.v2.as_ref().is_some_and(|v2| v2.memory), Controller::Memory)
    }

    /// Who limits tasks of a child group.
    pub fn pids(&self) -> Option<CgroupVersion> {
        self.version(self.v2.as_ref().is_some_and(|v2| v2.pids), Controller::Pids)
    }

    /// Who limits the CPU rate of a child group.
    pub fn cpu_rate(&self) -> Option<CgroupVersion> {
        self.version(self.v2.as_ref().is_some_and(|v2| v2.cpu), Controller::Cpu)
    }

    /// Who counts CPU time; v2 does so even without any controller.
    pub fn cpu_time(&self) -> Option<CgroupVersion> {
        let counts = self.v2.as_ref().is_some_and(|v2| v2.dir.join("cpu.stat").exists());
        self.version(counts, Controller::Cpuacct)
    }

    /// Who kills a whole group.
    pub fn kill(&self) -> Option<CgroupVersion> {
        self.version(self.v2.as_ref().is_some_and(|v2| v2.kill), Controller::Freezer)
    }

    fn version(&self, v2: bool, controller: Controller) -> Option<CgroupVersion> {
        if v2 {
            return Some(CgroupVersion::V2);
        }
        self.legacy(controller).map(|_| CgroupVersion::V1)
    }

    pub(super) fn legacy(&self, controller: Controller) -> Option<&Legacy> {
        self.v1.iter().find(|legacy| legacy.controllers.contains(&controller))
    }

    /// Every folder that this daemon made, for the end.
    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.v2.iter().map(|v2| &v2.dir).chain(self.v1.iter().map(|legacy| &legacy.dir))
    }

    /// Kills and removes what a dead daemon left behind: folders of our prefix whose daemon `alive` denies.
    pub fn sweep_stale(&self, alive: impl Fn(&str) -> bool) -> usize {
        let mut swept = 0;
        for folder in self.folders().filter_map(|own| own.parent()) {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Some(tag) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
                if !alive(tag.trim_end_matches("-leaf")) {
                    swept += usize::from(super::group::kill_and_remove_tree(&entry.path()));
                }
            }
        }
        swept
    }

    /// Removes our empty folders. Called when every execution is gone; a leaf that we still live in stays for the next sweep.
    pub fn remove(&self) {
        for folder in self.folders().chain(&self.leaf) {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn usable(place: &Place) -> bool {
    !place.read_only && place.exact
}

fn available_controllers(dir: &Path) -> Vec<String> {
    let text = files::read_text(&dir.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().filter(|name| ["memory", "pids", "cpu"].contains(name)).map(str::to_owned).collect()
}

/// Error type of this room, for callers that only pass it on.
pub type Error = FileError;
