//! Private work directories: one fresh folder per execution, its own user's, removed at the end.
//!
//! One is made ahead, because a folder takes a file system as long as all the rest of a start takes the daemon. So its name is no execution's
//! identifier, but has the same form.

use super::id;
use crate::sys::directory::Directory;
use nix::sys::stat::{FileStat, SFlag, fstat, lstat};
use nix::unistd::{Gid, Uid, fchown};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The folder that work directories are made in, and the one in reserve.
#[derive(Debug)]
pub(super) struct WorkDirs {
    root: PathBuf,
    spare: Mutex<Option<Dir>>,
}

impl WorkDirs {
    pub(super) fn new(root: PathBuf) -> WorkDirs {
        WorkDirs { root, spare: Mutex::default() }
    }

    fn spare(&self) -> MutexGuard<'_, Option<Dir>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A work directory, empty, 0700, of this user: the one in reserve, else a new one with the name `id`.
    pub(super) fn take(&self, id: &str, uid: Option<u32>, gid: Option<u32>) -> io::Result<PathBuf> {
        let dir = match self.spare().take().filter(Dir::is_untouched) {
            Some(spare) => spare,
            None => Dir::make(&self.root, id)?,
        };
        dir.give_to(uid, gid)
    }

    /// Makes a reserve if there is none, and says where the new one is. A failure shows at the next `take`.
    pub(super) fn refill(&self) -> Option<PathBuf> {
        let mut spare = self.spare();
        if spare.is_some() {
            return None;
        }
        *spare = Dir::make(&self.root, &id::new(crate::sys::time::unix_ms())).ok();
        spare.as_ref().map(|dir| dir.path.clone())
    }

    /// Removes a work directory of an earlier daemon and what is in it, following no link. Blocks; a folder that is not there, or cannot
    /// be removed, is left as it is, and so is any that is not one of ours.
    pub(super) fn remove(&self, dir: &Path) {
        let named = dir.file_name().and_then(|name| name.to_str()).is_some_and(id::is_valid);
        if !named || dir.parent() != Some(&self.root) {
            return;
        }
        for _ in 0..REMOVAL_TRIES {
            match fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(REMOVAL_PAUSE),
                Ok(()) | Err(_) => return,
            }
        }
    }
}

/// A folder that nobody uses yet.
#[derive(Debug)]
struct Dir {
    path: PathBuf,
    open: File,
}

impl Dir {
    fn make(root: &Path, name: &str) -> io::Result<Dir> {
        let named = |what: &str, path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
        };
        let path = root.join(name);
        let create = || DirBuilder::new().mode(0o700).create(&path);
        let created = create().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                // Others may pass through but not list: work directories are found by their exact name.
                let made = DirBuilder::new().recursive(true).mode(0o711).create(root);
                made.map_err(|error| named("create", root, error)).and_then(|()| create())
            }
            _ => Err(error),
        });
        created.map_err(|error| named("create", &path, error))?;
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let open = OpenOptions::new().read(true).custom_flags(flags).open(&path);
        open.map_err(|error| named("open", &path, error)).map(|open| Dir { path, open })
    }

    /// Whether the name still leads to the folder that we made, and nothing was put into it: an execution with the daemon's uid can have
    /// come to either meanwhile.
    fn is_untouched(&self) -> bool {
        let same = |one: FileStat, other: FileStat| {
            (one.st_dev, one.st_ino, one.st_uid, one.st_mode)
                == (other.st_dev, other.st_ino, other.st_uid, other.st_mode)
                && one.st_mode & !SFlag::S_IFMT.bits() == 0o700
        };
        let found = fstat(&self.open).ok().zip(lstat(&self.path).ok()).is_some_and(|(open, named)| same(open, named));
        let copy = || Directory::new(self.open.try_clone()?.into(), 0);
        found && copy().is_ok_and(|mut entries| entries.next_name().is_none())
    }

    fn give_to(self, uid: Option<u32>, gid: Option<u32>) -> io::Result<PathBuf> {
        if uid.is_none() && gid.is_none() {
            return Ok(self.path);
        }
        match fchown(&self.open, uid.map(Uid::from_raw), gid.map(Gid::from_raw)) {
            Ok(()) => Ok(self.path),
            Err(errno) => {
                let _ = fs::remove_dir(&self.path);
                let error = io::Error::from(errno);
                Err(io::Error::new(error.kind(), format!("chown {}: {error}", self.path.display())))
            }
        }
    }
}

/// How often, and how far apart, a removal is tried: a process that was just killed may still be writing.
const REMOVAL_TRIES: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// The first usable of the asked-for root and the usual places.
pub fn root(asked: Option<&Path>) -> PathBuf {
    if let Some(asked) = asked {
        return asked.to_owned();
    }
    let candidates = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
    let writable = |path: &&str| nix::unistd::access(*path, nix::unistd::AccessFlags::W_OK).is_ok();
    let base = candidates.iter().find(|path| writable(path)).copied().unwrap_or("/tmp");
    Path::new(base).join(format!("execd-{}", nix::unistd::geteuid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn work_dirs(name: &str) -> WorkDirs {
        WorkDirs::new(std::env::temp_dir().join(format!("execd-workdir-{name}-{}", std::process::id())))
    }

    #[test]
    fn only_a_folder_with_the_name_of_a_work_directory_is_removed_and_no_link_is_followed() {
        let dirs = work_dirs("remove");
        let dir = dirs.take(&id::new(1), None, None).unwrap();
        let other = dirs.root.join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "x").unwrap();
        symlink(&other, dir.join("link")).unwrap();
        dirs.remove(&dir);
        assert!(!dir.exists());
        let elsewhere = dirs.root.join("other").join(id::new(1));
        fs::create_dir(&elsewhere).unwrap();
        for path in [&other, &dirs.root.join("../other"), &dirs.root, Path::new(""), &elsewhere] {
            dirs.remove(path);
        }
        assert!(other.join("file").exists() && elsewhere.exists());
        fs::remove_dir_all(&dirs.root).unwrap();
    }

    #[test]
    fn the_reserve_is_used_once_and_only_as_it_was_made() {
        let dirs = work_dirs("reserve");
        let taken = || dirs.take(&id::new(2), None, None).unwrap();
        let spare = dirs.refill().unwrap();
        assert_eq!(dirs.refill(), None, "there is one already");
        assert_eq!(taken(), spare);
        assert_ne!(taken(), spare);
        for spoil in [
            |dir: &Path| fs::write(dir.join("planted"), "x").unwrap(),
            |dir: &Path| fs::remove_dir(dir).unwrap(),
            |dir: &Path| {
                fs::remove_dir(dir).unwrap();
                symlink("/etc", dir).unwrap();
            },
            |dir: &Path| {
                fs::rename(dir, dir.with_extension("away")).unwrap();
                fs::create_dir(dir).unwrap();
            },
            |dir: &Path| fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap(),
        ] {
            let spare = dirs.refill().unwrap();
            spoil(&spare);
            let dir = taken();
            assert_ne!(dir, spare);
            assert!(fs::read_dir(&dir).unwrap().next().is_none());
            fs::remove_dir(dir).unwrap();
        }
        fs::remove_dir_all(&dirs.root).unwrap();
    }
}
