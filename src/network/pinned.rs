//! The files that decide what a name means, as they were when the daemon started.
//!
//! Code that runs as the owner of `/etc/hosts` can give an allowed name any address. Such a name is not looked up any more; who changes the
//! files on purpose sends the daemon a SIGHUP.

use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

/// What libc's resolver reads.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// Anybody may write.
const WORLD_WRITABLE: u32 = 0o002;

/// One state of one file. Any change moves the time of its status change, which no program can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    changed: (i64, i64),
    owner: u32,
    mode: u32,
}

type Stamps = Vec<Option<Stamp>>;

/// The states of the files.
#[derive(Debug)]
pub struct Pinned(Mutex<Stamps>);

impl Default for Pinned {
    fn default() -> Pinned {
        Pinned(Mutex::new(look(&FILES)))
    }
}

impl Pinned {
    /// Takes the files as they are now.
    pub fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = look(&FILES);
    }

    /// Whether no file was changed that this user could have changed.
    pub(super) fn holds_for(&self, uid: u32) -> bool {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        holds(&then, &look(&FILES), uid)
    }
}

fn look(files: &[&str]) -> Stamps {
    let stamp = |path: &&str| {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp {
            file: (meta.dev(), meta.ino()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            owner: meta.uid(),
            mode: meta.mode(),
        })
    };
    files.iter().map(stamp).collect()
}

/// Root may write everything, the owner its own; what was not there is made by who may write to `/etc`.
fn holds(then: &Stamps, now: &Stamps, uid: u32) -> bool {
    let may_write = |stamp: &Option<Stamp>| {
        uid == 0 || stamp.is_some_and(|stamp| stamp.owner == uid || stamp.mode & WORLD_WRITABLE != 0)
    };
    then.iter().zip(now).all(|(then, now)| then == now || !(may_write(then) || may_write(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_count_for_who_could_have_made_them() {
        let stamp = |changed, owner, mode| Some(Stamp { file: (1, 1), changed: (changed, 0), owner, mode });
        for (then, now, uid, expected) in [
            (stamp(1, 0, 0o644), stamp(1, 0, 0o644), 0, true),
            (stamp(1, 0, 0o644), stamp(2, 0, 0o644), 0, false),
            (stamp(1, 0, 0o644), stamp(2, 0, 0o644), 65534, true),
            (stamp(1, 65534, 0o644), stamp(2, 65534, 0o644), 65534, false),
            (stamp(1, 0, 0o666), stamp(2, 0, 0o666), 65534, false),
            (None, stamp(2, 0, 0o644), 0, false),
            (None, stamp(2, 65534, 0o644), 65534, false),
            (None, None, 0, true),
        ] {
            assert_eq!(holds(&vec![then], &vec![now], uid), expected, "{then:?} {now:?} {uid}");
        }
    }

    #[test]
    fn a_write_is_seen_also_when_the_time_of_the_content_is_set_back() {
        let path = std::env::temp_dir().join(format!("execd-pinned-{}", std::process::id()));
        std::fs::write(&path, "a").unwrap();
        let name = path.to_str().unwrap();
        let then = look(&[name]);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "b").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        assert!(!holds(&then, &look(&[name]), 0));
        std::fs::remove_file(&path).unwrap();
    }
}
