//! Opening files in the state directory. An execution that runs as the daemon's user can write there too, so a name may have become a link
//! or a pipe: neither is followed, and neither may hold up the daemon.

use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens an existing regular file for reading; links, pipes and devices are refused.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Makes a new file, 0600, for reading and writing. Whatever had the name before loses it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = OFlag::O_NOFOLLOW.bits();
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)
}

/// Opens a file that exists only to be locked, 0600, making it if need be.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags.bits()).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("execd-plain-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("folder");
        dir
    }

    #[test]
    fn a_planted_link_is_replaced_and_its_target_untouched() {
        let dir = folder("create");
        let (target, link) = (dir.join("target"), dir.join("link"));
        fs::write(&target, "precious").expect("target");
        symlink(&target, &link).expect("link");
        create(&link).expect("create").write_all(b"ours").expect("write");
        assert_eq!(fs::read(&target).expect("target"), b"precious");
        assert_eq!(fs::read(&link).expect("file"), b"ours");
        let made = fs::symlink_metadata(&link).expect("metadata");
        assert!(made.is_file());
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(dir).expect("cleanup");
    }

    #[test]
    fn links_pipes_and_folders_are_not_read() {
        let dir = folder("open");
        let (target, link, pipe) = (dir.join("target"), dir.join("link"), dir.join("pipe"));
        fs::write(&target, "x").expect("target");
        symlink(&target, &link).expect("link");
        nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).expect("pipe");
        assert!(open(&target).is_ok());
        for refused in [&link, &pipe, &dir] {
            assert!(open(refused).is_err(), "{}", refused.display());
        }
        assert!(open_lock(&link).is_err());
        fs::remove_dir_all(dir).expect("cleanup");
    }
}
