//! Unreclaimable memory of a process tree without cgroups, shared pages counted once.
//!
//! The cheap sum (anonymous + shmem + swap of each process, from `/proc/PID/status`) counts a page once per process that maps it,
//! so it is an upper bound. Only when that bound reaches the limit is the exact sum taken: `smaps_rollup` divides every page by
//! its mappers, at about 15 ms per resident GiB.

use super::tree::Snapshot;
use std::fs::File;
use std::io::Read;

/// Longest file of either kind: `smaps_rollup` has about 800 bytes, `status` about 1,500.
const FILE_CAP: u64 = 8 * 1024;

/// A look at the memory of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// bytes
    pub(crate) bytes: u64,
    /// shared pages were counted once
    pub(crate) exact: bool,
}

/// Adds up the tree; exact only when the cheap sum is at or above `threshold`.
pub(crate) fn of_tree(snapshot: &Snapshot, threshold: u64) -> Memory {
    let bound: u64 = snapshot.living().map(|process| cheap(process.pid, process.resident_pages)).sum();
    if bound < threshold {
        return Memory { bytes: bound, exact: false };
    }
    if snapshot.living().count() == 1 {
        return Memory { bytes: bound, exact: true };
    }
    let bytes = snapshot
        .living()
        .map(|process| exact(process.pid).unwrap_or_else(|| cheap(process.pid, process.resident_pages)))
        .sum();
    Memory { bytes, exact: true }
}

/// Whether some process waits for a vfork child (proc_pid_stat(5): state D) that is as large as itself: then both may be one address
/// space, which the sums count twice until the child's exec.
pub(crate) fn may_share_an_address_space(snapshot: &Snapshot) -> bool {
    let waiting: Vec<(i32, u64)> =
        snapshot.living().filter(|process| process.state == b'D').map(|p| (p.pid, p.resident_pages)).collect();
    snapshot.living().any(|child| waiting.contains(&(child.parent, child.resident_pages)))
}

/// Small processes need no second file: all their resident pages cannot matter.
const NEGLIGIBLE_PAGES: u64 = 64;

fn cheap(pid: i32, resident_pages: u64) -> u64 {
    if resident_pages < NEGLIGIBLE_PAGES {
        // Swapped-out memory of a process this small shows at the exact look.
        return resident_pages * 4096;
    }
    let text = read(&format!("/proc/{pid}/status")).unwrap_or_default();
    sum_keys(&text, &["RssAnon:", "RssShmem:", "VmSwap:"]).unwrap_or(0)
}

/// Not readable for a process that made itself non-dumpable; then its full size counts.
fn exact(pid: i32) -> Option<u64> {
    let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
    sum_keys(&text, &["Pss_Anon:", "Pss_Shmem:", "SwapPss:"])
}

/// Sums `Key:   N kB` lines; `None` when no key is there.
pub(super) fn sum_keys(text: &str, keys: &[&str]) -> Option<u64> {
    let mut sum = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(char::is_whitespace) else { continue };
        if keys.contains(&key) {
            let kib: u64 = value.trim().trim_end_matches("kB").trim_end().parse().ok()?;
            sum = Some(sum.unwrap_or(0_u64).saturating_add(kib.saturating_mul(1024)));
        }
    }
    sum
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_CAP).read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_summed_in_bytes_and_absence_is_not_zero() {
        let text = "Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t 7 kB\nRssShmem:\t 4 kB\nVmSwap:\t 1 kB\n";
        assert_eq!(sum_keys(text, &["RssAnon:", "RssShmem:", "VmSwap:"]), Some(105 * 1024));
        assert_eq!(sum_keys(text, &["Pss_Anon:"]), None);
        assert_eq!(sum_keys("RssAnon: lots kB", &["RssAnon:"]), None);
        let huge = format!("RssAnon: {0} kB\nRssAnon: {0} kB\n", u64::MAX);
        assert_eq!(sum_keys(&huge, &["RssAnon:"]), Some(u64::MAX));
    }

    #[test]
    fn our_own_memory_is_seen_both_ways() {
        let own = std::process::id() as i32;
        assert!(cheap(own, u64::MAX) > 0);
        assert!(exact(own).is_some_and(|bytes| bytes > 0));
    }
}
