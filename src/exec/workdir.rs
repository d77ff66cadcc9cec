//! Private work directories: one fresh folder per execution, its own user's, removed at the end.

use super::id::is_valid;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Makes `ROOT/ID`, 0700, owned by the execution's user.
pub(super) fn create(root: &Path, id: &str, uid: Option<u32>, gid: Option<u32>) -> io::Result<PathBuf> {
    let named = |what: &str, path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
    };
    // Others may pass through but not list: work directories are found by their exact name.
    DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(|error| named("create", root, error))?;
    let dir = root.join(id);
    DirBuilder::new().mode(0o700).create(&dir).map_err(|error| named("create", &dir, error))?;
    if (uid.is_some() || gid.is_some())
        && let Err(error) = chown(&dir, uid, gid)
    {
        let _ = fs::remove_dir(&dir);
        return Err(named("chown", &dir, error));
    }
    Ok(dir)
}

/// How often, and how far apart, a removal is tried: a process that was just killed may still be writing.
const REMOVAL_TRIES: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// Removes `ROOT/ID` and what is in it, following no link. Blocks; a folder that is not there, or cannot be removed, is left as it is.
pub(super) fn remove(root: &Path, id: &str) {
    if !is_valid(id) {
        return;
    }
    let dir = root.join(id);
    for _ in 0..REMOVAL_TRIES {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(REMOVAL_PAUSE),
            Ok(()) | Err(_) => return,
        }
    }
}

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
    use crate::exec::id;

    #[test]
    fn only_a_folder_with_the_name_of_an_execution_is_removed_and_no_link_is_followed() {
        let root = std::env::temp_dir().join(format!("execd-workdir-{}", std::process::id()));
        let id = id::new(1);
        let dir = create(&root, &id, None, None).unwrap();
        let other = root.join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&other, dir.join("link")).unwrap();
        remove(&root, &id);
        assert!(!dir.exists());
        for name in ["other", "../other", ".", ""] {
            remove(&root, name);
        }
        assert!(other.join("file").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
