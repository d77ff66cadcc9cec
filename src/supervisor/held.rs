//! Disk that no walk finds: deleted files that processes still hold, by a descriptor or a mapping.

use std::collections::HashSet;
use std::fs::{self, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Deleted files remembered, to count each once.
const MAX_FILES: usize = 100_000;
/// Where a process's files show. `map_files` needs `CAP_CHECKPOINT_RESTORE` to be followed (proc_pid_map_files(5)); without it only
/// descriptors count.
const FOLDERS: [&str; 2] = ["map_files", "fd"];

/// A look at every process of a tree, in small steps.
#[derive(Debug)]
pub(crate) struct Held {
    device: u64,
    pids: Vec<i32>,
    folders: Vec<&'static str>,
    reading: Option<ReadDir>,
    seen: HashSet<u64>,
    /// bytes of disk found so far, by `st_blocks`
    pub(crate) bytes: u64,
}

impl Held {
    /// Counts files of `device` only.
    pub(crate) fn begin(pids: Vec<i32>, device: u64) -> Held {
        Held { device, pids, folders: Vec::new(), reading: None, seen: HashSet::new(), bytes: 0 }
    }

    /// Works until `until`; true when done.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        let mut looks = 0u32;
        loop {
            match self.reading.as_mut().map(Iterator::next) {
                Some(Some(Ok(entry))) => self.look(fs::metadata(entry.path())),
                Some(Some(Err(_)) | None) => self.reading = None,
                None => match self.next_folder() {
                    Some(path) => self.reading = fs::read_dir(path).ok(),
                    None => return true,
                },
            }
            looks += 1;
            if looks.is_multiple_of(32) && Instant::now() >= until {
                return false;
            }
        }
    }

    fn next_folder(&mut self) -> Option<String> {
        if self.folders.is_empty() {
            self.folders.extend(FOLDERS);
        }
        let pid = self.pids.last().copied()?;
        let folder = self.folders.pop()?;
        if self.folders.is_empty() {
            self.pids.pop();
        }
        Some(format!("/proc/{pid}/{folder}"))
    }

    fn look(&mut self, file: io::Result<fs::Metadata>) {
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.reading = None;
                }
                return;
            }
        };
        let deleted = file.nlink() == 0 && file.dev() == self.device && file.is_file();
        if deleted && self.seen.len() < MAX_FILES && self.seen.insert(file.ino()) {
            self.bytes = self.bytes.saturating_add(file.blocks().saturating_mul(512));
        }
    }
}

/// The end of a slice that starts now.
pub(crate) fn until(slice: Duration) -> Instant {
    Instant::now() + slice
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn of_ourselves(device: u64) -> u64 {
        let mut held = Held::begin(vec![std::process::id() as i32], device);
        while !held.step(until(Duration::from_micros(10))) {}
        held.bytes
    }

    #[test]
    fn a_deleted_file_counts_while_it_is_open() {
        let path = std::env::temp_dir().join(format!("execd-held-{}", std::process::id()));
        fs::write(&path, vec![1; 9 << 20]).expect("write");
        let open = File::open(&path).expect("open");
        let device = open.metadata().expect("stat").dev();
        let twice = open.try_clone().expect("dup");
        fs::remove_file(&path).expect("rm");
        let bytes = of_ourselves(device);
        // Other tests of this process may hold files as well, but nothing as large.
        assert!((9 << 20..18 << 20).contains(&bytes), "{bytes}");
        drop((open, twice));
        assert!(of_ourselves(device) < 9 << 20);
    }
}
