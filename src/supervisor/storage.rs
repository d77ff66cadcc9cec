//! Bytes below a work directory, added up in small steps so that a huge tree never holds up the supervisor.

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Folders nested deeper than this are not entered: each level holds a descriptor.
const MAX_DEPTH: usize = 128;
/// Hard-linked files remembered, to count each once.
const MAX_LINKED: usize = 100_000;

/// A walk under way.
pub(crate) struct Walk {
    open: Vec<Level>,
    linked: HashSet<(u64, u64)>,
    bytes: u64,
    device: u64,
    spent: Duration,
}

struct Level {
    dir: Dir,
    names: Vec<CString>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("depth", &self.open.len()).field("bytes", &self.bytes).finish()
    }
}

/// Result of a finished walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    /// bytes of disk, by `st_blocks`
    pub(crate) bytes: u64,
    /// time that the walk itself took
    pub(crate) cost: Duration,
    /// the file system walked
    pub(crate) device: u64,
}

impl Walk {
    /// Starts at `root`. `None` when it cannot be opened (removed by the execution itself, say).
    pub(crate) fn begin(root: &Path) -> Option<Walk> {
        let dir = Dir::open(root, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
        let device = fstat(dir.as_fd()).ok()?.st_dev;
        let level = Level::read(dir);
        Some(Walk { open: vec![level], linked: HashSet::new(), bytes: 0, device, spent: Duration::ZERO })
    }

    /// Works for about `slice`; returns the total when done.
    pub(crate) fn step(&mut self, slice: Duration) -> Option<Total> {
        let began = Instant::now();
        let mut entries = 0u32;
        while let Some(level) = self.open.last_mut() {
            match level.names.pop() {
                Some(name) => self.visit(&name),
                None => drop(self.open.pop()),
            }
            entries += 1;
            if entries.is_multiple_of(32) && began.elapsed() >= slice {
                self.spent += began.elapsed();
                return None;
            }
        }
        self.spent += began.elapsed();
        Some(Total { bytes: self.bytes, cost: self.spent, device: self.device })
    }

    fn visit(&mut self, name: &CString) {
        let Some(level) = self.open.last() else { return };
        let Ok(stat) = fstatat(level.dir.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { return };
        // Another file system mounted below is somebody else's storage.
        if stat.st_dev != self.device {
            return;
        }
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if stat.st_nlink > 1 && kind == SFlag::S_IFREG {
            let known = self.linked.len() < MAX_LINKED && !self.linked.insert((stat.st_dev, stat.st_ino));
            if known {
                return;
            }
        }
        self.bytes = self.bytes.saturating_add(stat.st_blocks.unsigned_abs().saturating_mul(512));
        if kind == SFlag::S_IFDIR && self.open.len() < MAX_DEPTH {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            if let Ok(dir) = Dir::openat(level.dir.as_fd(), name.as_c_str(), flags, Mode::empty()) {
                self.open.push(Level::read(dir));
            }
        }
    }
}

impl Level {
    fn read(mut dir: Dir) -> Level {
        let names = dir
            .iter()
            .flatten()
            .map(|entry| entry.file_name().to_owned())
            .filter(|name| !matches!(name.as_bytes(), b"." | b".."))
            .collect();
        Level { dir, names }
    }
}

/// Bytes of deleted files of `device` that the processes still hold open: disk that no walk finds.
pub(crate) fn deleted_open_bytes(pids: impl Iterator<Item = i32>, device: u64) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = HashSet::new();
    let mut bytes = 0u64;
    for pid in pids {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = std::fs::metadata(entry.path()) else { continue };
            let deleted = meta.nlink() == 0 && meta.dev() == device && meta.is_file();
            if deleted && seen.len() < MAX_LINKED && seen.insert(meta.ino()) {
                bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn walk(root: &Path) -> u64 {
        let mut walk = Walk::begin(root).expect("open root");
        loop {
            if let Some(total) = walk.step(Duration::from_micros(10)) {
                return total.bytes;
            }
        }
    }

    #[test]
    fn files_count_once_and_links_are_not_followed() {
        let root = std::env::temp_dir().join(format!("execd-storage-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).expect("mkdir");
        let empty = walk(&root);
        fs::write(root.join("a/b/data"), vec![1; 1 << 20]).expect("write");
        let one = walk(&root);
        assert!(one - empty >= 1 << 20);
        fs::hard_link(root.join("a/b/data"), root.join("a/again")).expect("link");
        std::os::unix::fs::symlink("/", root.join("everything")).expect("symlink");
        assert!(walk(&root) - one < 64 << 10, "hard link or symlink counted again");
        let held = fs::File::open(root.join("a/b/data")).expect("open");
        fs::remove_file(root.join("a/b/data")).expect("rm");
        fs::remove_file(root.join("a/again")).expect("rm");
        let device = Walk::begin(&root).expect("open").device;
        let own = std::process::id() as i32;
        assert!(deleted_open_bytes([own].into_iter(), device) >= 1 << 20);
        drop(held);
        fs::remove_dir_all(&root).expect("cleanup");
    }
}
