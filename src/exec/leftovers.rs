//! Processes of an earlier daemon's executions that are still there.
//!
//! Supervisors end their trees when the daemon dies, and groups are swept at start; this is the net below both. A process is known by
//! `EXECD_EXECUTION_ID` in the environment that it was started with. One that replaced its environment is not found.

use crate::sys::process::kill;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;

const MARK: &[u8] = b"EXECD_EXECUTION_ID=";
/// Longest environment that is searched.
const MAX_ENVIRON: u64 = 1 << 20;

/// Kills every visible process of these executions and returns how many there were.
pub(super) fn end(ids: &HashSet<String>) -> usize {
    if ids.is_empty() {
        return 0;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id() as i32;
    pids.filter(|pid| *pid != own && belongs(*pid, ids)).filter(|pid| kill(*pid, libc::SIGKILL).is_ok()).count()
}

fn belongs(pid: i32, ids: &HashSet<String>) -> bool {
    let mut environ = Vec::new();
    let read =
        File::open(format!("/proc/{pid}/environ")).and_then(|file| file.take(MAX_ENVIRON).read_to_end(&mut environ));
    // Not readable means not ours: our executions are dumpable and of our uid, or we are root.
    read.is_ok() && execution_of(&environ).is_some_and(|id| ids.contains(id))
}

pub(super) fn execution_of(environ: &[u8]) -> Option<&str> {
    let entry = environ.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(MARK))?;
    std::str::from_utf8(entry).ok()
}

#[cfg(test)]
mod tests {
    use super::execution_of;

    #[test]
    fn the_mark_is_found_as_a_whole_entry_only() {
        for (environ, id) in [
            (&b"A=1\0EXECD_EXECUTION_ID=abc\0B=2\0"[..], Some("abc")),
            (b"X=EXECD_EXECUTION_ID=abc\0", None),
            (b"", None),
            (b"EXECD_EXECUTION_ID=\xff\0", None),
        ] {
            assert_eq!(execution_of(environ), id);
        }
    }
}
