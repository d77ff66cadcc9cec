//! `execd install DIR`: copies the running binary, e.g. from an init container into a shared volume.

use super::tasks::{self, TaskError};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Copies and prints where to.
pub(super) fn run(dir: &Path, as_json: bool) -> Result<u8, TaskError> {
    let what = || format!("cannot install into {}", dir.display());
    let path = copy(Path::new("/proc/self/exe"), dir).map_err(|source| TaskError::Io { what: what(), source })?;
    let shown = path.to_string_lossy();
    if as_json { tasks::print_json(&json!({"installed": shown})) } else { tasks::print(&format!("{shown}\n")) }
}

/// Writes beside the target and renames: whoever starts `DIR/execd` meanwhile gets the old or the new one, never a half.
fn copy(from: &Path, dir: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let target = dir.join("execd");
    let beside = dir.join(format!(".execd.{}", std::process::id()));
    let written = write(from, &beside).and_then(|()| fs::rename(&beside, &target));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map(|()| target)
}

fn write(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    // A link that somebody left under this name must not be followed.
    let _ = fs::remove_file(to);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(to)?;
    io::copy(&mut source, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_executable_and_alone() {
        let dir = std::env::temp_dir().join(format!("execd-install-{}/deep", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let own = Path::new("/proc/self/exe");
        for _ in 0..2 {
            let path = copy(own, &dir).expect("copied");
            let status = fs::metadata(&path).expect("there");
            assert_eq!(status.len(), fs::metadata(own).expect("ours").len());
            assert_eq!(status.permissions().mode() & 0o777, 0o755);
        }
        assert_eq!(fs::read_dir(&dir).expect("folder").count(), 1);
        assert!(copy(Path::new("/nonexistent"), &dir).is_err());
        assert_eq!(fs::read_dir(&dir).expect("folder").count(), 1);
        let _ = fs::remove_dir_all(dir);
    }
}
