//! Sums over the processes that we see: a stand-in where no group of ours can be read (gVisor, hidden cgroups) and the machine's
//! figures are not ours. Shared pages count in each process, and what an unwaited process used after the last look is lost.

use super::counter::TICK_US;
use crate::cgroup::{files, parse};
use nix::unistd::{SysconfVar, sysconf};
use std::path::{Path, PathBuf};

/// Most processes that one look visits; the figures are absent where more live.
const MAX: usize = 512;

/// The processes of our PID namespace.
#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    page: u64,
    /// Ticks of all processes at the last look.
    last: u64,
    /// Ticks counted so far. It never goes back, although the sum does when a process goes without being waited for.
    counted: u64,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) cpu_us: Option<u64>,
    pub(super) resident: Option<u64>,
    pub(super) tasks: Option<u64>,
}

/// What one `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// User and system time with that of waited-for children.
    ticks: u64,
    threads: u64,
    pages: u64,
}

impl Processes {
    pub(super) fn new(root: &Path) -> Processes {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok());
        Processes { proc: root.join("proc"), page: page.unwrap_or(4096), last: 0, counted: 0 }
    }

    pub(super) fn read(&mut self) -> Sums {
        let Some(sum) = self.sum() else { return Sums::default() };
        self.counted = self.counted.saturating_add(sum.ticks.saturating_sub(self.last));
        self.last = sum.ticks;
        Sums {
            cpu_us: self.counted.checked_mul(TICK_US),
            resident: sum.pages.checked_mul(self.page),
            tasks: Some(sum.threads),
        }
    }

    /// `None` when there is no process to be seen, or too many.
    fn sum(&self) -> Option<Process> {
        let mut sum = Process::default();
        let names = std::fs::read_dir(&self.proc).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        let pids = names.filter(|name| parse::number(name.as_encoded_bytes()).is_some());
        let mut seen = 0;
        for pid in pids {
            seen += 1;
            if seen > MAX {
                return None;
            }
            // One that ended since the folder was read counts nothing.
            let stat = files::read_up_to(&self.proc.join(pid).join("stat"), 4096).ok();
            sum = stat.and_then(|stat| process(&stat)).map_or(sum, |one| sum.plus(one));
        }
        (sum.threads > 0).then_some(sum)
    }
}

impl Process {
    fn plus(self, other: Process) -> Process {
        Process {
            ticks: self.ticks.saturating_add(other.ticks),
            threads: self.threads.saturating_add(other.threads),
            pages: self.pages.saturating_add(other.pages),
        }
    }
}

/// Parses proc_pid_stat(5). The name in parentheses may hold anything, so the fields are counted from its end.
pub(super) fn process(stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    // The first word after the name is field 3, the state.
    let mut words = parse::words(&stat[end + 1..]);
    let mut ticks = parse::number(words.nth(14 - 3)?)?;
    for _ in 15..=17 {
        // cutime and cstime are signed in some kernels; a negative one is no figure.
        ticks = ticks.checked_add(parse::number(words.next()?)?)?;
    }
    let threads = parse::number(words.nth(20 - 18)?)?;
    let pages = parse::number(words.nth(24 - 21)?)?;
    Some(Process { ticks, threads, pages })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &[u8] =
        b"7 (a) b) (c) S 1 7 7 0 -1 4194560 100 200 0 0 10 20 30 40 20 0 3 0 500 1000000 250 18446744073709551615 1 1\n";

    #[test]
    fn one_process() {
        assert_eq!(process(STAT), Some(Process { ticks: 100, threads: 3, pages: 250 }));
        for bad in [&b""[..], b"7 (a) S 1 7", b"7 a S", b"7 (a) S 1 7 7 0 -1 4 1 2 0 0 1 2 -3 4 20 0 3 0 5 1 2"] {
            assert_eq!(process(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_counter_never_goes_back() {
        let root = std::env::temp_dir().join(format!("execd-processes-{}", std::process::id()));
        let write = |pid: u32, ticks: u32| {
            let dir = root.join(format!("proc/{pid}"));
            std::fs::create_dir_all(&dir).unwrap();
            let line = format!("{pid} (x) S 1 7 7 0 -1 4 1 2 0 0 {ticks} 0 0 0 20 0 2 0 5 1 3 9\n");
            std::fs::write(dir.join("stat"), line).unwrap();
        };
        let mut processes = Processes::new(&root);
        assert_eq!(processes.read(), Sums::default(), "no /proc");
        write(1, 10);
        write(2, 100);
        let seen = processes.read();
        assert_eq!((seen.cpu_us, seen.tasks), (Some(1_100_000), Some(4)));
        assert_eq!(seen.resident, Some(6 * processes.page));
        std::fs::remove_dir_all(root.join("proc/2")).unwrap();
        assert_eq!(processes.read().cpu_us, Some(1_100_000));
        write(1, 15);
        assert_eq!(processes.read().cpu_us, Some(1_150_000));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn this_process_is_among_those_seen() {
        let seen = Processes::new(Path::new("/")).read();
        assert!(seen.tasks.is_none_or(|tasks| tasks >= 1) && seen.resident.is_none_or(|bytes| bytes > 0));
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), text in "1 \\(x\\) S( -?[0-9]{1,20}){0,30}") {
            let _ = (process(&bytes), process(text.as_bytes()));
        }
    }
}
