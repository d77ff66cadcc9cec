//! The process tree below a supervisor, read from /proc.
//!
//! The supervisor is the subreaper of everything that its execution forks (prctl(2), `PR_SET_CHILD_SUBREAPER`), so "descendant
//! of the supervisor" holds through double forks, setsid and reparenting. One pass over /proc reads one line per process
//! and serves membership, CPU time, task counts and the cheap memory sum alike.

use crate::sys::clock;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// One process, from `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// process group
    pub(crate) group: i32,
    pub(crate) state: u8,
    /// own user CPU time, clock ticks
    pub(crate) user_ticks: u64,
    /// own system CPU time, clock ticks
    pub(crate) system_ticks: u64,
    /// CPU time of waited-for children, clock ticks
    pub(crate) children_ticks: u64,
    pub(crate) threads: u64,
    /// resident pages, file pages included
    pub(crate) resident_pages: u64,
}

impl Process {
    /// Ended, not yet waited for.
    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// CPU time of this process and of its waited-for children. The own part has nanoseconds while it lives; the kernel shows
    /// the rest in ticks only.
    pub(crate) fn cpu(&self, tick: Duration) -> Duration {
        let own = match self.is_zombie() {
            true => None,
            false => clock::process_cpu(self.pid).ok(),
        };
        let ticks = |n: u64| tick * u32::try_from(n).unwrap_or(u32::MAX);
        own.unwrap_or_else(|| ticks(self.user_ticks + self.system_ticks)) + ticks(self.children_ticks)
    }
}

/// Parses one stat line. The command name may hold spaces and parentheses, so fields are counted from the last `)`.
pub(crate) fn parse_stat(line: &[u8]) -> Option<Process> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
    let mut fields = std::str::from_utf8(line.get(close + 1..)?).ok()?.split_ascii_whitespace();
    // Field numbers of the man page, the state being field 3.
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?; // 5
    let mut rest = fields.skip(8); // 6..=13
    let mut number = || rest.next()?.parse::<u64>().ok();
    let (user_ticks, system_ticks) = (number()?, number()?); // 14 utime, 15 stime
    user_ticks.checked_add(system_ticks)?;
    let children_ticks = number()?.checked_add(number()?)?; // 16 cutime, 17 cstime
    let mut rest = rest.skip(2); // 18 priority, 19 nice
    let threads = rest.next()?.parse().ok()?; // 20
    let resident_pages = rest.nth(3)?.parse().ok()?; // 24, after itrealvalue, starttime, vsize
    Some(Process { pid, parent, group, state, user_ticks, system_ticks, children_ticks, threads, resident_pages })
}

/// Everything visible, and who belongs to us.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    all: Vec<Process>,
    ours: Vec<usize>,
}

impl Snapshot {
    /// Looks once. `root` is the supervisor: it is not part of its own tree.
    pub(crate) fn take(root: i32) -> io::Result<Snapshot> {
        let all = read_all()?;
        let ours = descendants(&all, root, |_| true);
        Ok(Snapshot { all, ours })
    }

    /// The tree, living processes and zombies.
    pub(crate) fn tree(&self) -> impl Iterator<Item = &Process> {
        self.ours.iter().map(|index| &self.all[*index])
    }

    /// Living processes of the tree.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Process> {
        self.tree().filter(|process| !process.is_zombie())
    }

    /// Tasks of the tree, threads included, as `pids.max` counts (zombies hold their pid too).
    pub(crate) fn tasks(&self) -> u64 {
        self.tree().map(|process| process.threads.max(1)).sum()
    }

    /// CPU time of every visible process and of all their waited-for children: what the container's counter shows, less what
    /// nobody waited for.
    pub(crate) fn cpu_of_all(&self, tick: Duration) -> Duration {
        self.all.iter().map(|process| process.cpu(tick)).sum()
    }
}

/// Living processes below `root` that descend from a direct child of its that `choose` picks, and those children.
pub(crate) fn below(root: i32, choose: impl Fn(i32) -> bool) -> io::Result<Vec<i32>> {
    let all = read_all()?;
    let found = descendants(&all, root, choose);
    Ok(found.into_iter().map(|index| &all[index]).filter(|process| !process.is_zombie()).map(|p| p.pid).collect())
}

/// Indices of all processes below the chosen children of `root`, in no particular order.
fn descendants(all: &[Process], root: i32, choose: impl Fn(i32) -> bool) -> Vec<usize> {
    let mut children: HashMap<i32, Vec<usize>> = HashMap::new();
    for (index, process) in all.iter().enumerate() {
        children.entry(process.parent).or_default().push(index);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        // Taking the list out ends any loop that a torn read could suggest.
        for index in children.remove(&pid).unwrap_or_default() {
            if pid == root && !choose(all[index].pid) {
                continue;
            }
            open.push(all[index].pid);
            found.push(index);
        }
    }
    found
}

fn read_all() -> io::Result<Vec<Process>> {
    let mut all = Vec::with_capacity(64);
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.as_bytes()[0].is_ascii_digit()) else { continue };
        // A process that ends between listing and reading is simply not there any more.
        all.extend(read_stat(pid));
    }
    Ok(all)
}

fn read_stat(pid: &str) -> Option<Process> {
    let mut buffer = [0; 512];
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut buffer).ok()?;
    parse_stat(&buffer[..length])
}

/// Whether `pid` (a process or a thread) is below `ancestor`, by following parents; `None` when there is no such process.
/// Chains longer than 256 generations count as strangers.
pub(crate) fn relation(pid: i32, ancestor: i32) -> Option<bool> {
    let mut process = read_stat(&pid.to_string())?;
    for _ in 0..256 {
        if process.parent == ancestor {
            return Some(true);
        }
        if process.parent <= 1 {
            return Some(false);
        }
        // A parent that ended meanwhile has handed its children on; the next step up is not known any more.
        let Some(parent) = read_stat(&process.parent.to_string()) else { return Some(false) };
        process = parent;
    }
    Some(false)
}

impl Snapshot {
    /// Whether a process group has members in the tree; `None` when it has none anywhere.
    pub(crate) fn owns_group(&self, group: i32) -> Option<bool> {
        if self.tree().any(|process| process.group == group) {
            return Some(true);
        }
        self.all.iter().any(|process| process.group == group).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process {
            pid,
            parent,
            group: pid,
            state: b'S',
            user_ticks: 0,
            system_ticks: 0,
            children_ticks: 0,
            threads: 1,
            resident_pages: 0,
        }
    }

    #[test]
    fn stat_lines_of_odd_names_are_read() {
        let tail = "S 7 8 9 0 -1 4194304 100 0 0 0 11 22 3 4 20 0 5 0 1234 99999 321 18446744073709551615 1 1";
        for name in ["sh", "a b", "x) S 1 (y", ") )", ""] {
            let line = format!("42 ({name}) {tail}");
            let found = parse_stat(line.as_bytes()).expect(name);
            let expected = Process {
                pid: 42,
                parent: 7,
                group: 8,
                state: b'S',
                user_ticks: 11,
                system_ticks: 22,
                children_ticks: 7,
                threads: 5,
                resident_pages: 321,
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn our_own_stat_is_read() {
        let own = read_stat("self").expect("own stat");
        assert_eq!(own.pid, std::process::id() as i32);
        assert!(own.threads >= 1 && own.resident_pages > 0);
    }

    #[test]
    fn descendants_are_found_through_every_generation() {
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 4)];
        let mut pids: Vec<i32> = descendants(&all, 2, |_| true).into_iter().map(|index| all[index].pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [3, 4, 6]);
        let chosen = descendants(&[process(3, 2), process(4, 3), process(7, 2)], 2, |pid| pid != 3);
        assert_eq!(chosen, [2], "children that are not chosen are left out with all below them");
    }

    #[test]
    fn a_torn_read_with_a_loop_ends() {
        let all = [process(2, 3), process(3, 2)];
        assert_eq!(descendants(&all, 2, |_| true).len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_stat(&line);
        }
    }
}
