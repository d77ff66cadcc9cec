//! Records in the state directory: one JSON file per execution, 0600 in a 0700 folder.
//!
//! Writes are handed to a short-lived thread of the runtime's pool, the newest version of a record winning, so that a slow or full
//! disk never holds up the daemon. Records survive the daemon's death, not power loss: nothing is synced.

use super::output_file::OutputFile;
use super::plain_file;
use super::view::ExecutionView;
use crate::telemetry::{Dropped, Telemetry};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest record that is read back.
const MAX_RECORD: u64 = 4 << 20;

/// The journal, or nothing where there is no state directory.
#[derive(Clone)]
pub struct Journal {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    dir: PathBuf,
    telemetry: Arc<Telemetry>,
    queue: Mutex<Queue>,
    failing: AtomicBool,
    /// Held as long as the journal lives. It closes at an exec, so that no command keeps it.
    _lock: File,
}

#[derive(Default)]
struct Queue {
    /// `None` removes the record and its output.
    waiting: BTreeMap<String, Option<Vec<u8>>>,
    writing: bool,
}

/// A record of an earlier daemon.
pub struct Restored {
    /// as it was last written
    pub view: ExecutionView,
    /// its output, if a file of it is there
    pub output: Option<OutputFile>,
}

impl Journal {
    /// Without a state directory: nothing is kept.
    pub fn in_memory() -> Journal {
        Journal { shared: None }
    }

    /// Uses `state_dir` alone, making its folders: an earlier daemon's executions are taken for lost, which another one's must never be.
    ///
    /// # Errors
    /// The folders cannot be made, or another execd uses them ([`io::ErrorKind::WouldBlock`]).
    pub fn open(state_dir: &Path, telemetry: Arc<Telemetry>) -> io::Result<Journal> {
        Journal::locked(state_dir, telemetry, File::try_lock)
    }

    /// Uses `state_dir` together with others that only add records: one-shot runs.
    ///
    /// # Errors
    /// The folders cannot be made, or a daemon uses them ([`io::ErrorKind::WouldBlock`]).
    pub fn share(state_dir: &Path, telemetry: Arc<Telemetry>) -> io::Result<Journal> {
        Journal::locked(state_dir, telemetry, File::try_lock_shared)
    }

    fn locked(
        state_dir: &Path,
        telemetry: Arc<Telemetry>,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> io::Result<Journal> {
        let dir = state_dir.join("executions");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let file = plain_file::open_lock(&state_dir.join("lock"))?;
        lock(&file).map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, in_use(state_dir)),
            TryLockError::Error(error) => error,
        })?;
        let shared = Shared { dir, telemetry, queue: Mutex::default(), failing: AtomicBool::new(false), _lock: file };
        Ok(Journal { shared: Some(Arc::new(shared)) })
    }

    /// Where records are kept.
    pub fn dir(&self) -> Option<&Path> {
        self.shared.as_ref().map(|shared| shared.dir.as_path())
    }

    /// The last write failed.
    pub fn is_failing(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.failing.load(Ordering::Relaxed))
    }

    /// An output file to be; `None` where there is no place for one.
    pub fn output(&self, id: &str, cap: u64) -> Option<OutputFile> {
        let shared = self.shared.as_ref()?;
        Some(OutputFile::new(&shared.dir.join(format!("{id}.out")), cap))
    }

    /// Writes a record, soon.
    pub fn put(&self, view: &ExecutionView) {
        let Ok(bytes) = serde_json::to_vec(view) else { return };
        self.enqueue(&view.id, Some(bytes));
    }

    /// Removes a record and its output, soon.
    pub fn remove(&self, id: &str) {
        self.enqueue(id, None);
    }

    fn enqueue(&self, id: &str, record: Option<Vec<u8>>) {
        let Some(shared) = &self.shared else { return };
        let mut queue = shared.lock();
        queue.waiting.insert(id.to_owned(), record);
        if !std::mem::replace(&mut queue.writing, true) {
            let shared = shared.clone();
            crate::task::run_blocking(move || shared.drain());
        }
    }

    /// Writes what is still waiting, here and now: for the daemon's own end.
    pub fn flush(&self) {
        if let Some(shared) = &self.shared {
            shared.drain();
        }
    }

    /// Reads every record back, oldest first.
    pub fn restore(&self) -> Vec<Restored> {
        let Some(shared) = &self.shared else { return Vec::new() };
        let entries = fs::read_dir(&shared.dir).into_iter().flatten().flatten();
        let mut records: Vec<Restored> = entries.filter_map(|entry| restore_one(&entry.path())).collect();
        records.sort_by(|a, b| a.view.id.cmp(&b.view.id));
        records
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self) {
        loop {
            let next = {
                let mut queue = self.lock();
                let next = queue.waiting.pop_first();
                queue.writing = next.is_some();
                next
            };
            match next {
                Some((id, Some(record))) => self.write(&id, &record),
                Some((id, None)) => self.erase(&id),
                None => return,
            }
        }
    }

    /// Written beside and renamed: a reader, or the next daemon, never sees half a record.
    fn write(&self, id: &str, record: &[u8]) {
        let path = self.dir.join(format!("{id}.json"));
        let beside = self.dir.join(format!("{id}.tmp"));
        let attempt = || -> io::Result<()> {
            plain_file::create(&beside)?.write_all(record)?;
            fs::rename(&beside, &path)
        };
        match attempt() {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(_) => {
                let _ = fs::remove_file(&beside);
                self.note_failure();
            }
        }
    }

    fn note_failure(&self) {
        self.failing.store(true, Ordering::Relaxed);
        self.telemetry.dropped(Dropped::Records).inc();
    }

    fn erase(&self, id: &str) {
        for end in ["json", "out", "tmp"] {
            let _ = fs::remove_file(self.dir.join(format!("{id}.{end}")));
        }
    }
}

fn in_use(state_dir: &Path) -> String {
    format!("{}: another execd uses this state directory: choose another --state-dir", state_dir.display())
}

fn restore_one(path: &Path) -> Option<Restored> {
    if path.extension()? != "json" {
        return None;
    }
    let mut record = Vec::new();
    plain_file::open(path).ok()?.take(MAX_RECORD + 1).read_to_end(&mut record).ok()?;
    // One that is too long is cut, and so not JSON any more.
    let view: ExecutionView = serde_json::from_slice(&record).ok()?;
    // The name in the file must be that of the file, or a request for one id could show another.
    (path.file_stem()?.to_str()? == view.id).then_some(())?;
    let output = OutputFile::open(&path.with_extension("out")).ok();
    Some(Restored { view, output })
}

#[cfg(test)]
mod tests {
    use super::super::output::{Offsets, Stream};
    use super::*;
    use crate::telemetry::{LogLevel, Logger};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn telemetry() -> Arc<Telemetry> {
        Arc::new(Telemetry::new(Logger::to_fd(LogLevel::Error, None), [], []))
    }

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("execd-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_folder_has_one_daemon_or_many_runs() {
        let dir = folder("lock");
        let daemon = Journal::open(&dir, telemetry()).expect("first");
        for refused in [Journal::open(&dir, telemetry()), Journal::share(&dir, telemetry())] {
            let error = refused.err().expect("taken");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert!(error.to_string().contains(&*dir.to_string_lossy()), "{error}");
        }
        let lock = fs::symlink_metadata(dir.join("lock")).expect("lock");
        assert_eq!(lock.permissions().mode() & 0o777, 0o600);
        drop(daemon);
        let runs = [Journal::share(&dir, telemetry()), Journal::share(&dir, telemetry())];
        assert!(runs.iter().all(Result::is_ok));
        assert!(Journal::open(&dir, telemetry()).is_err());
        drop(runs);
        assert!(Journal::open(&dir, telemetry()).is_ok());
        fs::remove_dir_all(dir).expect("cleanup");
    }

    #[test]
    fn planted_links_are_neither_written_through_nor_read() {
        let dir = folder("links");
        let journal = Journal::open(&dir, telemetry()).expect("open");
        let target = dir.join("precious");
        fs::write(&target, "precious").expect("target");
        for name in ["a.tmp", "a.out", "b.json"] {
            symlink(&target, dir.join("executions").join(name)).expect("link");
        }
        let shared = journal.shared.as_ref().expect("shared");
        shared.write("a", b"{}");
        journal.output("a", 10).expect("output").append(Stream::Stdout, Offsets::default(), b"x");
        assert!(!journal.is_failing());
        assert!(fs::symlink_metadata(shared.dir.join("a.out")).expect("output").is_file());
        assert_eq!(fs::read(&target).expect("target"), b"precious");
        assert_eq!(fs::read(shared.dir.join("a.json")).expect("record"), b"{}");
        assert!(journal.restore().is_empty());
        fs::remove_dir_all(dir).expect("cleanup");
    }
}
