//! Space on filesystems. A look is synchronous, so it never asks a filesystem whose server may not answer.

use super::snapshot::Disk;
use crate::cgroup::mountinfo::unescape;
use crate::cgroup::{files, parse};
use std::path::{Path, PathBuf};

/// Most of the mount table that is read.
const MOUNTINFO_CAP: usize = 1 << 20;

/// Filesystems that live elsewhere. `fuse` ones are also those of a process that may be stopped.
const REMOTE: [&[u8]; 7] = [b"nfs", b"nfs4", b"cifs", b"smb3", b"ceph", b"afs", b"fuse"];

/// Space of the filesystem that holds `path`.
pub(super) fn space(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Some(Disk {
        total_bytes: bytes(stat.blocks()),
        used_bytes: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        avail_bytes: bytes(stat.blocks_available()),
        inodes_total: stat.files(),
        inodes_used: stat.files().saturating_sub(stat.files_free()),
    })
}

/// Whether `path`, as seen below `root`, is on a filesystem that answers by itself. Unknown counts as yes.
pub(super) fn is_local(root: &Path, path: &Path) -> bool {
    let table = files::read_up_to(&root.join("proc/self/mountinfo"), MOUNTINFO_CAP).unwrap_or_default();
    filesystem(&table, path).is_none_or(|kind| !is_remote(kind))
}

fn is_remote(kind: &[u8]) -> bool {
    // fuse-overlayfs is the root of rootless containers; if it hangs, so does everything.
    REMOTE.contains(&kind) || (kind.starts_with(b"fuse.") && kind != b"fuse.fuse-overlayfs")
}

/// The type of the mount that holds `path`: the longest mount point above it, the later of two equal ones.
pub(super) fn filesystem<'t>(table: &'t [u8], path: &Path) -> Option<&'t [u8]> {
    let holding = parse::lines(table).filter_map(mount).filter(|(point, _)| path.starts_with(point));
    holding.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

/// Mount point and filesystem type of a line of mountinfo.
fn mount(line: &[u8]) -> Option<(PathBuf, &[u8])> {
    let mut words = parse::words(line);
    let point = unescape(words.nth(4)?);
    words.find(|word| *word == b"-")?;
    Some((point, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_nearest_mount_decides() {
        let table = b"1 0 0:1 / / rw - overlay o rw\n\
            2 1 0:2 / /work\\040space rw shared:1 - fuse.s3fs s rw\n\
            3 1 0:3 / /data rw - nfs4 s:/x rw\n\
            4 3 0:4 / /data/fast rw - ext4 /dev/vda rw\n\
            5 1 0:5 / /twice rw - ext4 a rw\n6 5 0:6 / /twice rw - cifs b rw\nbroken\n";
        let expected = [
            ("/", false),
            ("/work space/a", true),
            ("/work", false),
            ("/data", true),
            ("/data/fast/x", false),
            ("/database", false),
            ("/twice", true),
        ];
        for (path, remote) in expected {
            assert_eq!(filesystem(table, Path::new(path)).map(is_remote), Some(remote), "{path}");
        }
        assert_eq!(filesystem(b"", Path::new("/")), None);
        assert!(!is_remote(b"fuse.fuse-overlayfs") && !is_remote(b"fuseblk"));
    }

    #[test]
    fn of_this_machine() {
        assert!(is_local(Path::new("/"), Path::new("/")));
        assert!(space(Path::new("/")).is_some_and(|d| d.used_bytes <= d.total_bytes));
        assert_eq!(space(Path::new("/nonexistent")), None);
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), text in "(/|a|-|[0-9]| |\n|ext4){0,60}") {
            let _ = (filesystem(&bytes, Path::new("/a")), filesystem(text.as_bytes(), Path::new("/a")));
        }
    }
}
