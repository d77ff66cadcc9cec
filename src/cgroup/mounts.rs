//! Where our own groups are, as visible from here: [`Layout`].
//!
//! Facts only. It reads two files of `/proc` and asks `statfs`; it changes nothing and chooses no mechanism. A tree counts only
//! when the kernel says that it is a cgroup filesystem: a folder that merely looks like one may be the workload's own.

use super::files::{self, FileError};
use super::mountinfo::{self, Membership, Mount, Version};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use std::path::{Component, Path, PathBuf};

/// Cap of `mountinfo`: some thousands of mounts.
const MOUNTINFO_CAP: usize = 1 << 20;

/// Longest chain of ancestors that is kept; container runtimes nest fewer than ten.
const MAX_DEPTH: usize = 64;

/// A v1 controller that execd has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Bandwidth: `cpu.cfs_quota_us`.
    Cpu,
    /// Accounting: `cpuacct.usage`.
    Cpuacct,
    /// Allowed CPUs.
    Cpuset,
    /// Memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// Freezing, v1's help for killing a whole group.
    Freezer,
    /// Block I/O.
    Blkio,
}

impl Controller {
    /// Every controller, in the order of the declaration.
    pub const ALL: [Controller; 7] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Pids,
        Controller::Freezer,
        Controller::Blkio,
    ];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
            Controller::Blkio => "blkio",
        }
    }
}

/// Our group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// v1 or v2.
    pub version: Version,
    /// The folder of our group.
    pub dir: PathBuf,
    /// Where the hierarchy is mounted: the highest visible group.
    pub mount_point: PathBuf,
    /// The group that the mount shows at its top, as seen from our cgroup namespace; not `/` for bind-mounted subtrees.
    pub mount_root: PathBuf,
    /// Nothing can be written through this mount.
    pub read_only: bool,
    /// `dir` is certainly the group that this process is in. False when the tables do not fit together (the process was moved out
    /// of its namespace's root, or a sandbox hides its memberships): then `dir` is the mount point, good for reading only.
    pub exact: bool,
    /// `dir` is the root of the whole hierarchy, not of a namespace: its figures are the machine's, and it takes no limits.
    pub machine_root: bool,
    /// `dir` and its visible ancestors up to the mount point, nearest first; at most 64.
    pub chain: Vec<PathBuf>,
}

/// Our places in all hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The unified hierarchy; on hybrid systems it may have no controllers.
    pub v2: Option<Place>,
    v1: [Option<Place>; Controller::ALL.len()],
}

impl Layout {
    /// Looks at the machine below `root` (`/`, but for tests). Missing `/proc` files give an empty layout.
    pub fn detect(root: &Path) -> Result<Layout, FileError> {
        Layout::detect_with(root, &kernel_says)
    }

    /// As [`Layout::detect`] with another answer to "which cgroup filesystem is this folder on?". For fixtures in a plain folder.
    pub fn detect_with(root: &Path, is_cgroup: &dyn Fn(&Path) -> Option<Version>) -> Result<Layout, FileError> {
        let read = |path, cap| files::optional(files::read_up_to(&root.join(path), cap)).map(Option::unwrap_or_default);
        let mounts = mountinfo::mounts(&read("proc/self/mountinfo", MOUNTINFO_CAP)?);
        let memberships = mountinfo::memberships(&read("proc/self/cgroup", files::CAP)?);
        let best = |wanted: &dyn Fn(&Mount) -> bool, ours: Option<&Membership>| {
            let candidates = mounts.iter().filter(|m| wanted(m));
            candidates.filter_map(|m| place(root, m, ours, is_cgroup)).max_by_key(rank)
        };
        let v2 = best(&|m| m.version == Version::V2, memberships.iter().find(|m| m.controllers.is_empty()));
        let v1 = Controller::ALL.map(|controller| {
            let name = controller.name();
            best(&|m| m.version == Version::V1 && m.has_option(name), memberships.iter().find(|m| m.is_of(name)))
        });
        Ok(Layout { v2, v1 })
    }

    /// Our place in the v1 hierarchy of `controller`.
    pub fn v1(&self, controller: Controller) -> Option<&Place> {
        self.v1[controller as usize].as_ref()
    }

    /// No trusted cgroup filesystem is visible at all.
    pub fn is_empty(&self) -> bool {
        self.v2.is_none() && self.v1.iter().all(Option::is_none)
    }
}

/// Among several mounts of one hierarchy: certain before guessed, writable before read-only, then the one that shows more.
fn rank(place: &Place) -> (bool, bool, usize) {
    (place.exact, !place.read_only, place.chain.len())
}

/// What `statfs` says about a folder.
fn kernel_says(dir: &Path) -> Option<Version> {
    match statfs(dir).ok()?.filesystem_type() {
        CGROUP2_SUPER_MAGIC => Some(Version::V2),
        CGROUP_SUPER_MAGIC => Some(Version::V1),
        _ => None,
    }
}

/// Our place below one mount, or `None` when it is hidden or not a cgroup filesystem.
fn place(
    root: &Path,
    mount: &Mount,
    ours: Option<&Membership>,
    is_cgroup: &dyn Fn(&Path) -> Option<Version>,
) -> Option<Place> {
    let mount_point = below(root, &mount.point);
    let trusted = |dir: &Path| is_cgroup(dir) == Some(mount.version);
    let rest = ours.and_then(|m| inside(&mount.root, &m.path));
    let exact = rest.map(|rest| tidy(&mount_point.join(rest))).filter(|dir| trusted(dir));
    let dir = match &exact {
        Some(dir) => dir.clone(),
        // A mount whose top lies above our namespace shows strangers' groups; there is nothing to guess from.
        None if leaves_namespace(&mount.root) || !trusted(&mount_point) => return None,
        None => mount_point.clone(),
    };
    let chain =
        dir.ancestors().take_while(|d| d.starts_with(&mount_point)).take(MAX_DEPTH).map(Path::to_path_buf).collect();
    Some(Place {
        version: mount.version,
        machine_root: is_machine_root(&dir, mount.version),
        mount_root: mount.root.clone(),
        read_only: mount.read_only,
        exact: exact.is_some(),
        mount_point,
        dir,
        chain,
    })
}

/// `path` relative to `root` where it lies below it. Both are as our cgroup namespace sees them, so both may start with `/..`.
fn inside<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let rest = path.strip_prefix(root).ok()?;
    // Two dots left over mean a group beside or above the mount's top.
    (!leaves_namespace(rest)).then_some(rest)
}

fn leaves_namespace(path: &Path) -> bool {
    path.components().any(|c| c == Component::ParentDir)
}

/// An absolute `path` under the injected root.
fn below(root: &Path, path: &Path) -> PathBuf {
    tidy(&root.join(path.strip_prefix("/").unwrap_or(path)))
}

/// Without the slash at the end that `join("")` leaves.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Files that the kernel makes in exactly one of root and other groups (`CFTYPE_ONLY_ON_ROOT`, `CFTYPE_NOT_ON_ROOT`).
fn is_machine_root(dir: &Path, version: Version) -> bool {
    match version {
        Version::V1 => dir.join("release_agent").exists(),
        Version::V2 => !dir.join("cgroup.events").exists(),
    }
}

#[cfg(test)]
#[path = "mounts_test.rs"]
mod tests;
