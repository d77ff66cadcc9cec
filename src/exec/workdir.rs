//! Private work directories: one fresh folder per execution, its own user's, removed at the end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

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
