//! The counters of one execution's groups. They stay open: a supervisor reads them at every look, and opening costs most of a read.

use super::group::{Counters, Folders};
use super::kept::Kept;
use super::parse;
use std::cell::RefCell;
use std::path::PathBuf;

/// Space for one number, or for a few lines of key and number.
const SHORT: usize = 1024;
/// Space for `memory.stat`, which has 2 to 4 KiB.
const LONG: usize = 8 * 1024;

/// One file of a group, or nothing where the group has none of the kind.
#[derive(Debug)]
struct Gauge(Option<RefCell<Kept>>);

impl Gauge {
    fn open(dir: Option<&PathBuf>, name: &str) -> Gauge {
        Gauge(dir.map(|dir| RefCell::new(Kept::open(dir.join(name)))))
    }

    fn read<T, const SPACE: usize>(&self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut buffer = [0; SPACE];
        parse(self.0.as_ref()?.try_borrow_mut().ok()?.read(&mut buffer)?)
    }

    fn number(&self) -> Option<u64> {
        self.read::<_, SHORT>(parse::number)
    }

    fn keyed<const N: usize>(&self, keys: &[&str; N]) -> [Option<u64>; N] {
        self.read::<_, SHORT>(|bytes| Some(parse::keyed(bytes, keys))).unwrap_or([None; N])
    }
}

/// Every counter file of the groups.
#[derive(Debug)]
pub(super) struct Gauges {
    cpu_stat: Gauge,
    cpu_user: Gauge,
    cpu_system: Gauge,
    v2_memory: bool,
    memory_stat: Gauge,
    swap: Gauge,
    memory_peak: Gauge,
    /// v2 `memory.events`, v1 `memory.oom_control`
    memory_events: Gauge,
    tasks: Gauge,
    tasks_peak: Gauge,
    tasks_events: Gauge,
}

impl Gauges {
    pub(super) fn open(folders: &Folders) -> Gauges {
        let (memory, pids, v2_memory) = (folders.memory(), folders.pids(), folders.v2_memory);
        let memory_file = |v2: &str, v1: &str| Gauge::open(memory, if v2_memory { v2 } else { v1 });
        Gauges {
            cpu_stat: Gauge::open(folders.v2.as_ref(), "cpu.stat"),
            cpu_user: Gauge::open(folders.cpuacct1.as_ref(), "cpuacct.usage_user"),
            cpu_system: Gauge::open(folders.cpuacct1.as_ref(), "cpuacct.usage_sys"),
            v2_memory,
            memory_stat: Gauge::open(memory, "memory.stat"),
            swap: Gauge::open(memory.filter(|_| v2_memory), "memory.swap.current"),
            memory_peak: memory_file("memory.peak", "memory.max_usage_in_bytes"),
            memory_events: memory_file("memory.events", "memory.oom_control"),
            tasks: Gauge::open(pids, "pids.current"),
            tasks_peak: Gauge::open(pids, "pids.peak"),
            tasks_events: Gauge::open(pids, "pids.events"),
        }
    }

    /// User and system CPU time since the groups were made, µs.
    pub(super) fn cpu_us(&self) -> Option<(u64, u64)> {
        if let [Some(user), Some(system)] = self.cpu_stat.keyed(&["user_usec", "system_usec"]) {
            return Some((user, system));
        }
        Some((self.cpu_user.number()? / 1000, self.cpu_system.number()? / 1000))
    }

    /// Unreclaimable bytes now: anonymous, shmem and swap.
    pub(super) fn memory(&self) -> Option<u64> {
        let keyed = |keys| self.memory_stat.read::<_, LONG>(|bytes| Some(parse::keyed(bytes, keys)));
        if self.v2_memory {
            let [anon, shmem, _] = keyed(&["anon", "shmem", ""])?;
            return Some(anon? + shmem? + self.swap.number().unwrap_or(0));
        }
        let [rss, shmem, swap] = keyed(&["total_rss", "total_shmem", "total_swap"])?;
        Some(rss? + shmem.unwrap_or(0) + swap.unwrap_or(0))
    }

    pub(super) fn memory_charge_peak(&self) -> Option<u64> {
        self.memory_peak.number()
    }

    pub(super) fn tasks(&self) -> Option<u64> {
        self.tasks.number()
    }

    pub(super) fn tasks_peak(&self) -> Option<u64> {
        self.tasks_peak.number()
    }

    pub(super) fn tasks_denied(&self) -> Option<u64> {
        let [denied] = self.tasks_events.keyed(&["max"]);
        denied
    }

    pub(super) fn out_of_memory(&self) -> Counters {
        let [oom_kills, own_ooms] = self.memory_events.keyed(&["oom_kill", "oom"]);
        Counters { oom_kills, own_ooms: own_ooms.filter(|_| self.v2_memory) }
    }
}

/// The folder below a test's own root, with files in it.
#[cfg(test)]
pub(super) fn fake(root: &std::path::Path, files: &[(&str, &str)]) -> PathBuf {
    std::fs::create_dir_all(root).expect("folder");
    for (name, content) in files {
        std::fs::write(root.join(name), content).expect("file");
    }
    root.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("execd-gauges-{name}-{}", std::process::id()))
    }

    #[test]
    fn v2_counts_in_one_folder() {
        let files = [
            ("cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\n"),
            ("memory.stat", "anon 100\nfile 7\nshmem 20\n"),
            ("memory.swap.current", "3\n"),
            ("memory.peak", "200\n"),
            ("memory.events", "low 0\nmax 4\noom 2\noom_kill 1\n"),
            ("pids.current", "6\n"),
            ("pids.events", "max 8\n"),
        ];
        let dir = fake(&root("v2"), &files);
        let folders = Folders { v2: Some(dir.clone()), v2_memory: true, v2_pids: true, ..Folders::default() };
        let gauges = Gauges::open(&folders);
        assert_eq!(gauges.cpu_us(), Some((5, 4)));
        assert_eq!((gauges.memory(), gauges.memory_charge_peak()), (Some(123), Some(200)));
        assert_eq!(gauges.out_of_memory(), Counters { oom_kills: Some(1), own_ooms: Some(2) });
        assert_eq!((gauges.tasks(), gauges.tasks_peak(), gauges.tasks_denied()), (Some(6), None, Some(8)));
        std::fs::write(dir.join("memory.events"), "oom 2\noom_kill 5\n").expect("write");
        assert_eq!(gauges.out_of_memory().oom_kills, Some(5), "read anew");
        std::fs::remove_dir_all(dir).expect("cleanup");
    }

    #[test]
    fn v1_counts_in_a_folder_for_each_controller_and_the_unknown_is_none() {
        let memory = [
            ("memory.stat", "cache 1\ntotal_rss 100\ntotal_swap 3\n"),
            ("memory.max_usage_in_bytes", "300\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ];
        let dir = fake(&root("v1"), &memory);
        fake(&dir, &[("cpuacct.usage_user", "7000\n"), ("cpuacct.usage_sys", "2000\n")]);
        let here = || Some(dir.clone());
        let gauges = Gauges::open(&Folders { memory1: here(), cpuacct1: here(), ..Folders::default() });
        assert_eq!(gauges.cpu_us(), Some((7, 2)));
        assert_eq!((gauges.memory(), gauges.memory_charge_peak()), (Some(103), Some(300)));
        assert_eq!(gauges.out_of_memory(), Counters { oom_kills: Some(2), own_ooms: None });
        assert_eq!((gauges.tasks(), gauges.tasks_denied()), (None, None));
        std::fs::remove_dir_all(dir).expect("cleanup");
    }
}
