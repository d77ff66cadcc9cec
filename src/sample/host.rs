//! What is below the container: the kernel, its load, and its interfaces.

use crate::cgroup::kept::Kept;
use crate::cgroup::parse;
use std::path::{Path, PathBuf};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Facts of the machine for `doctor` and the log, read once. None of them is a figure of the container.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Host {
    /// Kernel release, e.g. `6.18.44`.
    pub kernel_version: Option<String>,
    /// Memory of the machine in bytes.
    pub mem_total_bytes: Option<u64>,
}

/// Asks the kernel for the facts of the machine.
pub fn host() -> Host {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let total = System::new_with_specifics(memory).ok().map(|system| system.total_memory());
    Host { kernel_version: System::kernel_version().ok(), mem_total_bytes: total.filter(|bytes| *bytes > 0) }
}

/// `/proc/loadavg`: of the kernel that we run on, which a container shares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// Over 1, 5 and 15 minutes.
    pub(super) averages: [Option<f64>; 3],
    /// Tasks on the machine.
    pub(super) tasks: Option<u64>,
}

pub(super) fn load(text: &[u8]) -> Load {
    let mut words = parse::words(text);
    let mut average = || {
        let value: f64 = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(value)
    };
    let averages = [average(), average(), average()];
    let tasks = words.next().and_then(|w| parse::split_once(w, b'/')).and_then(|(_, all)| parse::number(all));
    Load { averages, tasks }
}

/// Received and sent bytes of all interfaces but loopback, from `/proc/net/dev`. `None` when there is no such table.
pub(super) fn network(text: &[u8]) -> Option<(u64, u64)> {
    let mut sums = None;
    // Two lines of head.
    for line in parse::lines(text).skip(2) {
        let Some((name, figures)) = parse::split_once(line, b':') else { continue };
        let (received, sent) = interface(figures)?;
        let (rx, tx) = sums.unwrap_or((0_u64, 0_u64));
        sums = Some(match name.trim_ascii() {
            b"lo" => (rx, tx),
            _ => (rx.saturating_add(received), tx.saturating_add(sent)),
        });
    }
    sums
}

/// Bytes are the first of eight figures in each direction.
fn interface(figures: &[u8]) -> Option<(u64, u64)> {
    let mut words = parse::words(figures);
    let received = parse::number(words.next()?)?;
    let sent = parse::number(words.nth(7)?)?;
    Some((received, sent))
}

/// Counts the open descriptors of this process.
#[derive(Debug)]
pub(super) struct Descriptors {
    folder: PathBuf,
    /// Since Linux 6.2 the size of `/proc/PID/fd` is their number, which spares reading the folder.
    size_counts: bool,
}

impl Descriptors {
    pub(super) fn new(root: &Path) -> Descriptors {
        let release = Kept::open(root.join("proc/sys/kernel/osrelease")).read(&mut [0; 64]).and_then(release);
        let size_counts = release.is_some_and(|version| version >= (6, 2));
        Descriptors { folder: root.join("proc/self/fd"), size_counts }
    }

    pub(super) fn count(&self) -> Option<u64> {
        let size = || std::fs::metadata(&self.folder).ok().map(|m| m.len()).filter(|count| *count > 0);
        let entries = || {
            // The one that reads the folder is not counted.
            let count = std::fs::read_dir(&self.folder).ok()?.count().saturating_sub(1);
            u64::try_from(count).ok()
        };
        self.size_counts.then(size).flatten().or_else(entries)
    }
}

/// Major and minor number of a kernel release such as `6.18.44-cloud`.
pub(super) fn release(text: &[u8]) -> Option<(u64, u64)> {
    let (major, rest) = parse::split_once(text, b'.')?;
    let end = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
    Some((parse::number(major)?, parse::number(&rest[..end])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loadavg() {
        let found = load(b"0.46 0.25 nan 1/85 7493\n");
        assert_eq!(found, Load { averages: [Some(0.46), Some(0.25), None], tasks: Some(85) });
        assert_eq!(load(b""), Load::default());
    }

    #[test]
    fn interfaces() {
        let head = "Inter-| Receive | Transmit\n face |bytes packets|bytes\n";
        let row = |name: &str, rx: u64, tx: u64| format!("{name}: {rx} 1 0 0 0 0 0 0 {tx} 1 0 0 0 0 0 0\n");
        let table = [
            (String::new(), None),
            (row("    lo", 7, 7), Some((0, 0))),
            (row("    lo", 7, 7) + &row("  eth0", 10, 20) + &row("eth0:1", 1, 2), None),
            (row("lo", 7, 7) + &row("eth0", 10, 20) + &row("wg", 1, 2), Some((11, 22))),
            (row("eth0", u64::MAX, 1) + &row("eth1", 1, 1), Some((u64::MAX, 2))),
            ("eth0: 1 2 3\n".into(), None),
        ];
        for (rows, expected) in table {
            assert_eq!(network(format!("{head}{rows}").as_bytes()), expected, "{rows}");
        }
    }

    #[test]
    fn releases() {
        let table = [("6.18.44-fc\n", Some((6, 18))), ("4.4.0", Some((4, 4))), ("6.2", Some((6, 2))), ("six", None)];
        for (text, expected) in table {
            assert_eq!(release(text.as_bytes()), expected);
        }
    }

    #[test]
    fn of_this_machine() {
        let facts = host();
        assert!(facts.mem_total_bytes.is_some() && facts.kernel_version.is_some());
    }

    #[test]
    fn both_ways_to_count_descriptors_agree() {
        let by_entries = Descriptors { folder: "/proc/self/fd".into(), size_counts: false };
        let by_size = Descriptors::new(Path::new("/"));
        let (Some(a), Some(b)) = (by_entries.count(), by_size.count()) else { panic!("no /proc here") };
        // Other tests of this process open and close files meanwhile.
        assert!(a > 0 && b > 0 && a.abs_diff(b) < 100, "{a} {b}");
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), text in "(eth0|lo|:|[0-9]{1,20}|/|\\.| |\n){0,60}") {
            let _ = (load(&bytes), network(&bytes), release(&bytes));
            let _ = (load(text.as_bytes()), network(text.as_bytes()), release(text.as_bytes()));
        }
    }
}
