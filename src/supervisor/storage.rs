//! Storage that an execution adds: the tree below its work directory and the deleted files that it holds open.
//!
//! The folder is opened before the command starts and that descriptor is walked ever after: whatever the command puts in its place
//! is not looked at. What was in the folder before is walked before the start as far as that goes quickly; the rest is told by
//! `st_ctime`, so an old file that changes while that is still going on counts as added.

use super::held::{self, Held};
use super::walk::{Old, Sum, Walk};
use crate::limits::budget;
use crate::sys::time;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// One step of a look.
const SLICE: Duration = Duration::from_millis(2);
/// First look after the start.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// Longest time that counting what is already there may hold up the start: some fifty thousand files.
const BEFORE_START: Duration = Duration::from_millis(100);
/// The next attempt after a folder that could not be opened.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Looks at the storage of one execution.
#[derive(Debug)]
pub(crate) struct Storage {
    root: OwnedFd,
    allowed: u64,
    /// bytes that were there before; unknown until one walk is done
    baseline: Option<u64>,
    look: Look,
    cost: Duration,
    next_at: Duration,
    used: u64,
}

/// How far a look has come.
#[derive(Debug)]
enum Look {
    /// none under way
    Idle,
    Walking(Box<Walk>),
    /// the tree is added up
    Holding(Sum, Held),
}

impl Storage {
    /// To be called before the command starts. `fresh`: the folder is empty, nothing needs to be subtracted. `None` when the folder
    /// cannot be opened at all.
    pub(crate) fn begin(root: &Path, fresh: bool, allowed: u64) -> Option<Storage> {
        let flags = OFlag::O_CLOEXEC | OFlag::O_DIRECTORY;
        let readable = open(root, flags | OFlag::O_RDONLY, Mode::empty());
        let root = readable.or_else(|_| open(root, flags | OFlag::O_PATH, Mode::empty())).ok()?;
        let next_at = time::monotonic() + FIRST_LOOK;
        let baseline = fresh.then_some(0);
        let mut storage = Storage { root, allowed, baseline, look: Look::Idle, cost: Duration::ZERO, next_at, used: 0 };
        if !fresh {
            storage.count_what_is_there(BEFORE_START);
        }
        Some(storage)
    }

    fn count_what_is_there(&mut self, patience: Duration) {
        let Some(mut walk) = Walk::begin(self.root.as_fd(), Old::All, self.allowed) else { return };
        match walk.step(patience) {
            Some(sum) => self.baseline = Some(sum.old),
            None => {
                walk.old = Old::Before(time::of_files());
                self.look = Look::Walking(Box::new(walk));
            }
        }
    }

    /// Monotonic time of the next step.
    pub(crate) fn next_at(&self) -> Duration {
        match self.look {
            Look::Idle => self.next_at,
            Look::Walking(_) | Look::Holding(..) => Duration::ZERO,
        }
    }

    /// Works for a few milliseconds; bytes added since the start when a look is complete. `pids` are the execution's processes.
    pub(crate) fn step(&mut self, pids: impl FnOnce() -> Vec<i32>) -> Option<u64> {
        match std::mem::replace(&mut self.look, Look::Idle) {
            Look::Idle => {
                self.look = self.begin_walk();
                None
            }
            Look::Walking(mut walk) => {
                self.look = match walk.step(SLICE) {
                    None => Look::Walking(walk),
                    Some(sum) => {
                        self.cost = walk.spent;
                        // Where even this fails the device is 0, which no file has.
                        let device = fstat(&self.root).map(|stat| stat.st_dev).unwrap_or(0);
                        Look::Holding(sum, Held::begin(pids(), device))
                    }
                };
                None
            }
            Look::Holding(sum, mut held) => {
                let began = Instant::now();
                let done = held.step(held::until(SLICE));
                self.cost += began.elapsed();
                if done {
                    return Some(self.conclude(sum, held.bytes));
                }
                self.look = Look::Holding(sum, held);
                None
            }
        }
    }

    fn begin_walk(&mut self) -> Look {
        let (old, ceiling) = match self.baseline {
            Some(baseline) => (Old::None, self.allowed.saturating_add(baseline)),
            None => (Old::Before(time::of_files()), self.allowed),
        };
        match Walk::begin(self.root.as_fd(), old, ceiling) {
            Some(walk) => Look::Walking(Box::new(walk)),
            None => {
                self.next_at = time::monotonic() + TRY_AGAIN;
                Look::Idle
            }
        }
    }

    fn conclude(&mut self, sum: Sum, held: u64) -> u64 {
        let added = match self.baseline {
            Some(baseline) => sum.new.saturating_sub(baseline),
            None => {
                self.baseline = Some(sum.old);
                sum.new
            }
        };
        let used = added.saturating_add(held);
        // A walk that was kept out somewhere proves no decrease.
        self.used = if sum.partial { used.max(self.used) } else { used };
        let headroom = self.allowed.saturating_sub(self.used);
        self.next_at = time::monotonic() + budget::storage_look_in(headroom, self.cost);
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::path::PathBuf;

    const MIB: u64 = 1 << 20;

    fn fresh(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("execd-storage-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("work")).expect("mkdir");
        root
    }

    fn look(storage: &mut Storage) -> u64 {
        loop {
            if let Some(used) = storage.step(Vec::new) {
                return used;
            }
        }
    }

    #[test]
    fn only_what_was_there_before_the_start_is_subtracted() {
        let root = fresh("baseline");
        fs::write(root.join("work/before"), vec![1; MIB as usize]).expect("write");
        let mut storage = Storage::begin(&root, false, 100 * MIB).expect("begin");
        assert!(storage.baseline.is_some_and(|bytes| (MIB..2 * MIB).contains(&bytes)));
        fs::write(root.join("work/after"), vec![1; 2 * MIB as usize]).expect("write");
        assert!((2 * MIB..3 * MIB).contains(&look(&mut storage)));
        fs::remove_dir_all(&root).expect("cleanup");
    }

    #[test]
    fn a_baseline_that_takes_longer_than_the_start_leaves_out_early_files() {
        let root = fresh("late");
        for number in 0..500 {
            File::create(root.join(format!("work/{number}"))).expect("create");
        }
        fs::write(root.join("work/before"), vec![1; MIB as usize]).expect("write");
        std::thread::sleep(Duration::from_millis(30));
        let mut storage = Storage::begin(&root, true, 100 * MIB).expect("begin");
        storage.baseline = None;
        storage.count_what_is_there(Duration::ZERO);
        assert_eq!((storage.baseline, storage.next_at()), (None, Duration::ZERO));
        fs::write(root.join("work/early"), vec![1; 2 * MIB as usize]).expect("write");
        let used = look(&mut storage);
        assert!((2 * MIB..3 * MIB).contains(&used), "{used}");
        assert!(storage.baseline.is_some_and(|bytes| (MIB..2 * MIB).contains(&bytes)));
        assert!((2 * MIB..3 * MIB).contains(&look(&mut storage)));
        fs::remove_dir_all(&root).expect("cleanup");
    }

    #[test]
    fn a_folder_that_was_replaced_is_still_the_one_looked_at() {
        let root = fresh("replaced");
        let mut storage = Storage::begin(&root.join("work"), true, MIB).expect("begin");
        fs::rename(root.join("work"), root.join("hidden")).expect("mv");
        fs::create_dir(root.join("work")).expect("mkdir");
        fs::write(root.join("hidden/data"), vec![1; 2 * MIB as usize]).expect("write");
        assert!(look(&mut storage) >= 2 * MIB);
        fs::remove_dir_all(&root).expect("cleanup");
    }

    #[test]
    fn a_partial_look_proves_no_decrease() {
        let root = fresh("partial");
        let mut storage = Storage::begin(&root, true, MIB).expect("begin");
        let sum = |new, partial| Sum { old: 0, new, partial };
        let looks = [(sum(700, false), 700), (sum(300, true), 700), (sum(900, true), 900), (sum(300, false), 300)];
        for (found, expected) in looks {
            assert_eq!(storage.conclude(found, 0), expected, "{found:?}");
        }
        fs::remove_dir_all(&root).expect("cleanup");
    }
}
