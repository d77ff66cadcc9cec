//! Bytes below an open folder, added up in small steps so that a huge tree never holds up the supervisor.
//!
//! The tree belongs to an execution that may want to hide what it stores. So nothing here depends on how deep or how wide the tree
//! is: descriptors and memory are bounded, names are read lazily, and every name costs something.

use crate::sys::directory::Directory;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::geteuid;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Levels below the root that stay open. Deeper ones are closed on the way down and opened again by `..` on the way up.
const KEPT_OPEN: usize = 32;
/// Closed levels remembered: 16 MiB. A tree this deep has cost half a gigabyte of [`PER_NAME`] already.
const MAX_CLOSED: usize = 1 << 20;
/// Hard-linked files remembered, to count each once.
const MAX_LINKED: usize = 100_000;
/// Least bytes per name: an empty file takes an inode and a directory entry.
const PER_NAME: u64 = 512;
/// A walk that has found too much goes on this long, for a whole figure. Then it ends: files can be made faster than counted.
const OVERTIME: Duration = Duration::from_millis(50);

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

/// Which files a walk calls old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// every one: the command has not started
    All,
    /// those that were last changed before this Unix time ([`crate::sys::time::of_files`])
    Before(Duration),
    /// none
    None,
}

impl Old {
    /// `changed` is `st_ctime`, which no program can set.
    fn holds(self, changed: Duration) -> bool {
        match self {
            Old::All => true,
            Old::None => false,
            // Some file systems keep whole or even seconds only.
            Old::Before(start) if changed.subsec_nanos() == 0 => changed.as_secs() + 1 < start.as_secs(),
            Old::Before(start) => changed < start,
        }
    }
}

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// bytes of disk of old files, by `st_blocks`
    pub(crate) old: u64,
    /// bytes of disk of all others
    pub(crate) new: u64,
    /// some folder could not be entered, so that the true figures may be larger
    pub(crate) partial: bool,
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Walk {
    open: Vec<Directory>,
    closed: Vec<Closed>,
    /// the level being read when all of `open` is taken
    deepest: Option<Directory>,
    linked: HashSet<(u64, u64)>,
    device: u64,
    ceiling: u64,
    over_since: Option<Duration>,
    sum: Sum,
    /// decides for the names still to come
    pub(crate) old: Old,
    /// time spent so far
    pub(crate) spent: Duration,
}

/// A level that was closed to save its descriptor.
#[derive(Clone, Copy, Debug)]
struct Closed {
    inode: u64,
    position: i64,
}

impl Walk {
    /// Starts at the folder `root`; ends early once there is more than `ceiling` of new bytes.
    pub(crate) fn begin(root: BorrowedFd<'_>, old: Old, ceiling: u64) -> Option<Walk> {
        let device = fstat(root).ok()?.st_dev;
        let root = Directory::new(open_again(root)?, 0).ok()?;
        Some(Walk {
            open: vec![root],
            closed: Vec::new(),
            deepest: None,
            linked: HashSet::new(),
            device,
            ceiling,
            over_since: None,
            sum: Sum::default(),
            old,
            spent: Duration::ZERO,
        })
    }

    /// Works for about `slice`; returns the sum when done.
    pub(crate) fn step(&mut self, slice: Duration) -> Option<Sum> {
        let began = Instant::now();
        let done = self.work(began + slice);
        self.spent += began.elapsed();
        if self.sum.new > self.ceiling {
            self.over_since.get_or_insert(self.spent);
        }
        let enough = self.over_since.is_some_and(|since| self.spent.saturating_sub(since) >= OVERTIME);
        (done || enough).then_some(self.sum)
    }

    fn work(&mut self, until: Instant) -> bool {
        let mut names = 0u32;
        while let Some(level) = self.deepest.as_mut().or(self.open.last_mut()) {
            match level.next_name() {
                Some(name) => self.visit(&name),
                None => self.ascend(),
            }
            names += 1;
            if names.is_multiple_of(32) && Instant::now() >= until {
                return false;
            }
        }
        true
    }

    fn visit(&mut self, name: &CStr) {
        let Some(level) = self.deepest.as_ref().or(self.open.last()) else { return };
        let stat = match stat_below(level.as_fd(), name) {
            Ok(stat) => stat,
            Err(error) => {
                self.sum.partial |= error != Errno::ENOENT;
                return;
            }
        };
        let is_folder = is(&stat, SFlag::S_IFDIR);
        // Another file system mounted below is somebody else's storage. Files are not asked: overlayfs shows their lower device.
        if is_folder && stat.st_dev != self.device {
            return;
        }
        let folder = is_folder.then(|| Directory::new(open_below(level.as_fd(), name)?, 0).ok());
        self.count(&stat);
        match folder {
            Some(Some(folder)) => self.descend(folder),
            Some(None) => self.sum.partial = true,
            None => {}
        }
    }

    fn count(&mut self, stat: &FileStat) {
        let bytes = if self.counted_already(stat) { 0 } else { stat.st_blocks.unsigned_abs().saturating_mul(512) };
        let changed = Duration::new(stat.st_ctime.unsigned_abs(), stat.st_ctime_nsec.unsigned_abs() as u32);
        let sum = if self.old.holds(changed) { &mut self.sum.old } else { &mut self.sum.new };
        *sum = sum.saturating_add(bytes.max(PER_NAME));
    }

    /// Whether another name of the same file was seen.
    fn counted_already(&mut self, stat: &FileStat) -> bool {
        if stat.st_nlink < 2 || !is(stat, SFlag::S_IFREG) {
            return false;
        }
        let file = (stat.st_dev, stat.st_ino);
        self.linked.contains(&file) || (self.linked.len() < MAX_LINKED && !self.linked.insert(file))
    }

    fn descend(&mut self, folder: Directory) {
        if self.open.len() < KEPT_OPEN {
            self.open.push(folder);
            return;
        }
        if let Some(level) = &self.deepest {
            let inode = fstat(level).map(|stat| stat.st_ino).ok().filter(|_| self.closed.len() < MAX_CLOSED);
            let Some(inode) = inode else {
                self.sum.partial = true;
                return;
            };
            self.closed.push(Closed { inode, position: level.position() });
        }
        self.deepest = Some(folder);
    }

    fn ascend(&mut self) {
        let Some(level) = self.deepest.take() else {
            self.open.pop();
            return;
        };
        let Some(above) = self.closed.pop() else { return };
        self.deepest = open_above(level.as_fd(), above, self.device);
        if self.deepest.is_none() {
            // Moved elsewhere in the meantime. What is still open above is gone on with.
            self.sum.partial = true;
            self.closed.clear();
        }
    }
}

fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn stat_below(folder: BorrowedFd<'_>, name: &CStr) -> nix::Result<FileStat> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::EACCES) if admit(folder) => fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW),
        result => result,
    }
}

/// Opens a folder for reading, when need be after a change of its mode.
fn open_below(folder: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    match openat(folder, name, FOLDER, Mode::empty()) {
        Err(Errno::EACCES) => open_again(openat(folder, name, FOLDER | OFlag::O_PATH, Mode::empty()).ok()?.as_fd()),
        result => result.ok(),
    }
}

/// Opens `..`, if it is still the folder that was come from.
fn open_above(level: BorrowedFd<'_>, above: Closed, device: u64) -> Option<Directory> {
    let path = || openat(level, c"..", FOLDER | OFlag::O_PATH, Mode::empty());
    let found = path().or_else(|error| if admit(level) { path() } else { Err(error) }).ok()?;
    let stat = fstat(&found).ok()?;
    let same = stat.st_ino == above.inode && stat.st_dev == device;
    Directory::new(open_again(found.as_fd()).filter(|_| same)?, above.position).ok()
}

/// A descriptor of the same folder with a position of its own.
fn open_again(folder: BorrowedFd<'_>) -> Option<OwnedFd> {
    let open = || openat(folder, c".", FOLDER, Mode::empty());
    open().or_else(|error| if admit(folder) { open() } else { Err(error) }).ok()
}

/// Lets the owner of a folder, when that is us, read and enter it: an execution that runs as our user has no right to hide its
/// storage by taking that away. False when the folder is not ours or nothing had to change.
pub(crate) fn admit(folder: BorrowedFd<'_>) -> bool {
    let needed = Mode::S_IRUSR | Mode::S_IXUSR;
    let Ok(stat) = fstat(folder) else { return false };
    let mode = Mode::from_bits_truncate(stat.st_mode);
    if stat.st_uid != geteuid().as_raw() || mode.contains(needed) || !is(&stat, SFlag::S_IFDIR) {
        return false;
    }
    // fchmod(2) refuses descriptors made with O_PATH; their name in /proc is followed to the same folder.
    let by_name = || {
        let name = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            &name,
            mode | needed,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
    };
    fchmod(folder, mode | needed).or_else(|_| by_name()).is_ok()
}

#[cfg(test)]
#[path = "walk_test.rs"]
mod tests;
