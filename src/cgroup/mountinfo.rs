//! The text of `/proc/self/mountinfo` and `/proc/self/cgroup`, as pure functions. What it means for us is in [`super::mounts`].

use super::parse;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Which generation of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// One hierarchy per controller (or a few together).
    V1,
    /// The unified hierarchy.
    V2,
}

/// One mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// v1 or v2.
    pub version: Version,
    /// The group that the mount shows at its top, as seen from our cgroup namespace.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The mount or the whole filesystem is read-only.
    pub read_only: bool,
    /// Options of the filesystem; on v1 they name its controllers.
    pub options: Vec<u8>,
}

impl Mount {
    /// Whether this v1 hierarchy holds `controller`.
    pub fn has_option(&self, controller: &str) -> bool {
        self.options.split(|b| *b == b',').any(|option| option == controller.as_bytes())
    }
}

/// Undoes the octal escapes (`\040`) of mount tables; a lone backslash stays.
pub fn unescape(bytes: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// One line of mountinfo (proc_pid_mountinfo(5)); `None` for other filesystems and malformed lines.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = parse::words(line);
    let root = unescape(words.nth(3)?);
    let point = unescape(words.next()?);
    let mount_options = words.next()?;
    // Optional fields, zero or more, end with a single dash.
    words.find(|word| *word == b"-")?;
    let version = match words.next()? {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let options = words.nth(1)?.to_vec();
    let is_ro = |options: &[u8]| options.split(|b| *b == b',').any(|o| o == b"ro");
    let read_only = is_ro(mount_options) || is_ro(&options);
    Some(Mount { version, root, point, read_only, options })
}

/// All cgroup mounts, those that a later cgroup mount on the same point covers left out.
pub fn mounts(bytes: &[u8]) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in parse::lines(bytes).filter_map(mount) {
        found.retain(|earlier| earlier.point != mount.point);
        found.push(mount);
    }
    found
}

/// Our group in one hierarchy: a line of `/proc/self/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Comma-separated v1 controllers; empty for v2.
    pub controllers: Vec<u8>,
    /// The group, as seen from our cgroup namespace (may start with `/..`).
    pub path: PathBuf,
}

impl Membership {
    /// Whether this is the v1 hierarchy of `controller`.
    pub fn is_of(&self, controller: &str) -> bool {
        self.controllers.split(|b| *b == b',').any(|name| name == controller.as_bytes())
    }
}

fn membership(line: &[u8]) -> Option<Membership> {
    let (id, rest) = parse::split_once(line, b':')?;
    let (controllers, path) = parse::split_once(rest, b':')?;
    // v2 is hierarchy 0 without controllers; a v1 line without a controller's name (name=systemd has one) is nothing of ours.
    if !path.starts_with(b"/") || controllers.is_empty() != (id == b"0") {
        return None;
    }
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    Some(Membership { controllers: controllers.to_vec(), path })
}

/// All memberships of `/proc/self/cgroup`; malformed lines are left out.
pub fn memberships(bytes: &[u8]) -> Vec<Membership> {
    parse::lines(bytes).filter_map(membership).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mount_lines() {
        let text = b"35 31 0:32 /docker/a\\040b /sys/fs/cgroup/memory ro,nosuid master:11 shared:2 - cgroup cgroup rw,memory\n\
            31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
            broken line\n";
        let found = mounts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].root, PathBuf::from("/docker/a b"));
        assert!(found[0].read_only && found[0].has_option("memory") && !found[0].has_option("mem"));
        assert_eq!((found[1].version, found[1].read_only), (Version::V2, false));
    }

    #[test]
    fn a_later_mount_covers_an_earlier_one() {
        let text = b"1 0 0:1 /a /cg rw - cgroup2 none rw\n2 1 0:1 /b /cg ro - cgroup2 none rw\n";
        let found = mounts(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].root, PathBuf::from("/b"));
    }

    #[test]
    fn membership_lines() {
        let found = memberships(b"9:name=systemd:/\n4:cpu,cpuacct:/x:y\n0::/../z\n7::/bad\nbad\n0:cpu:/bad\n");
        assert_eq!(found.len(), 3);
        assert!(found[1].is_of("cpuacct") && found[1].is_of("cpu") && !found[1].is_of("acct"));
        assert_eq!(found[1].path, PathBuf::from("/x:y"));
        assert_eq!(found[2], Membership { controllers: vec![], path: "/../z".into() });
    }

    #[test]
    fn escapes() {
        let table = [("a\\040b", "a b"), ("\\134", "\\"), ("tail\\", "tail\\"), ("\\08", "\\08"), ("\\777", "\\777")];
        for (text, expected) in table {
            assert_eq!(unescape(text.as_bytes()), PathBuf::from(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = (mounts(&bytes), memberships(&bytes), unescape(&bytes));
        }

        #[test]
        fn no_panic_on_text_that_looks_right(text in "([0-9]|:|/|-|,|\\\\|0|cgroup2?|cpu| |\n){0,80}") {
            let _ = (mounts(text.as_bytes()), memberships(text.as_bytes()));
        }
    }
}
