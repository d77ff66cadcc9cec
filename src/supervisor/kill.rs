//! Ending every process of a tree, however it forks meanwhile.

use super::tree::{self, Snapshot};
use crate::cgroup::group::Group;
use crate::sys::process::kill;

/// TERM to all, and CONT, so that stopped processes get to see it.
pub(crate) fn terminate(root: i32, group: Option<&Group>) {
    for pid in everyone(root, group) {
        let _ = kill(pid, libc::SIGTERM);
        let _ = kill(pid, libc::SIGCONT);
    }
}

/// A signal to all.
pub(crate) fn signal(root: i32, group: Option<&Group>, signal: i32) {
    for pid in everyone(root, group) {
        let _ = kill(pid, signal);
    }
}

/// KILL to all. The group does it at once; the walk finds whoever the group does not hold.
///
/// Call again until nobody is left: the supervisor as subreaper knows that by `ECHILD`.
pub(crate) fn kill_all(root: i32, group: Option<&Group>) {
    if let Some(group) = group {
        group.kill();
    }
    kill_tree(root, |_| true);
}

/// KILL to everybody below `root` that `choose` picks among its direct children, descendants included.
///
/// A fork bomb forks faster than one pass kills, so everybody is stopped first, until a pass finds nobody new; a stopped
/// process cannot fork. Stopping has no effect on the outcome: KILL works on stopped processes.
pub(crate) fn kill_tree(root: i32, choose: impl Fn(i32) -> bool) {
    const PASSES: usize = 32;
    let mut stopped = std::collections::HashSet::new();
    for _ in 0..PASSES {
        let Ok(found) = tree::below(root, &choose) else { break };
        let fresh: Vec<i32> = found.into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            let _ = kill(pid, libc::SIGSTOP);
            stopped.insert(pid);
        }
    }
    for pid in stopped {
        // The pid cannot have been reused: a process of our tree stays a zombie until its parent, stopped or us, waits for it.
        let _ = kill(pid, libc::SIGKILL);
    }
}

fn everyone(root: i32, group: Option<&Group>) -> Vec<i32> {
    let mut pids: Vec<i32> = Snapshot::take(root).map(|s| s.living().map(|p| p.pid).collect()).unwrap_or_default();
    if let Some(group) = group {
        pids.extend(group.members().into_iter().filter(|pid| tree::relation(*pid, root) == Some(true)));
        pids.sort_unstable();
        pids.dedup();
    }
    pids
}
