//! The daemon's log: JSON lines to standard error and, if asked, to a file. A log that nobody reads never stops the daemon:
//! what does not fit is dropped and counted.

use super::clock;
use super::line::{self, Field};
use super::rotate::Rotating;
use crate::config::values::{FileLog, LogLevel};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file cannot be opened for appending.
    #[error("cannot open the log file {path}: {source}; check that its folder exists and is writable")]
    Open {
        /// The file.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Standard error cannot be duplicated.
    #[error("cannot duplicate standard error: {0}")]
    Stderr(io::Error),
}

/// The log. Shared by reference; a line costs nothing when its level is off.
pub struct Logger {
    level: AtomicU8,
    stderr: Option<OwnedFd>,
    file: Option<Mutex<Rotating>>,
    dropped: AtomicU64,
    failing: AtomicBool,
}

impl Logger {
    /// A log to standard error and optionally to a file.
    ///
    /// # Errors
    /// [`LogError`] when the file cannot be opened; a broken disk later on only drops lines.
    pub fn new(level: LogLevel, file: Option<FileLog>) -> Result<Self, LogError> {
        let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(LogError::Stderr)?;
        let mut logger = Self::to_fd(level, Some(stderr));
        if let Some(settings) = file {
            let path = settings.path.clone();
            let open = Rotating::open(settings).map_err(|source| LogError::Open { path, source })?;
            logger.file = Some(Mutex::new(open));
        }
        Ok(logger)
    }

    /// A log to a descriptor of the caller's, or to nowhere.
    pub fn to_fd(level: LogLevel, stderr: Option<OwnedFd>) -> Self {
        Self {
            level: AtomicU8::new(level as u8),
            stderr,
            file: None,
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    /// Whether lines of this level are written.
    pub fn enabled(&self, level: LogLevel) -> bool {
        level as u8 <= self.level.load(Relaxed)
    }

    /// Changes the level from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Relaxed);
    }

    /// The level in force.
    pub fn level(&self) -> LogLevel {
        of_rank(self.level.load(Relaxed))
    }

    /// Lines dropped because their reader or the disk did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Whether the last line was dropped somewhere.
    pub fn failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// Writes a line if its level is on.
    pub fn log(&self, level: LogLevel, msg: &str, fields: &[(&str, Field<'_>)]) {
        if !self.enabled(level) {
            return;
        }
        let line = line::line(clock::now_unix_ms(), level, msg, fields);
        let to_stderr = self.stderr.as_ref().is_none_or(|fd| write_now(fd, &line));
        let to_file = self.file.as_ref().is_none_or(|file| append(file, &line));
        let written = to_stderr && to_file;
        if !written {
            self.dropped.fetch_add(1, Relaxed);
        }
        self.failing.store(!written, Relaxed);
    }

    /// An error line.
    pub fn error(&self, msg: &str, fields: &[(&str, Field<'_>)]) {
        self.log(LogLevel::Error, msg, fields);
    }

    /// A warning line.
    pub fn warn(&self, msg: &str, fields: &[(&str, Field<'_>)]) {
        self.log(LogLevel::Warn, msg, fields);
    }

    /// An info line.
    pub fn info(&self, msg: &str, fields: &[(&str, Field<'_>)]) {
        self.log(LogLevel::Info, msg, fields);
    }

    /// A debug line.
    pub fn debug(&self, msg: &str, fields: &[(&str, Field<'_>)]) {
        self.log(LogLevel::Debug, msg, fields);
    }
}

fn append(file: &Mutex<Rotating>, line: &[u8]) -> bool {
    // A poisoned lock only means that another line's thread died; the file is still right.
    let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    file.append(line).is_ok()
}

/// Writes the line if that is possible at once. O_NONBLOCK would change the descriptor for everybody who shares it (the terminal,
/// the container's other processes), so ask first; a socket is asked by a flag instead.
fn write_now(fd: &OwnedFd, line: &[u8]) -> bool {
    let mut ask = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut ask, PollTimeout::ZERO) {
        Ok(1) => {}
        _ => return false,
    }
    if !ask[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT) && !r.contains(PollFlags::POLLERR)) {
        return false;
    }
    match send(fd.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(n) => n == line.len(),
        Err(nix::errno::Errno::ENOTSOCK) => nix::unistd::write(fd, line).is_ok_and(|n| n == line.len()),
        Err(_) => false,
    }
}

fn of_rank(rank: u8) -> LogLevel {
    use LogLevel::{Debug, Error, Fatal, Info, Warn};
    [Fatal, Error, Warn, Info].into_iter().find(|level| *level as u8 == rank).unwrap_or(Debug)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_stuffed_pipe_drops_and_counts_instead_of_blocking() {
        let (mut reader, writer) = io::pipe().unwrap();
        let logger = Logger::to_fd(LogLevel::Info, Some(writer.into()));
        let text = "x".repeat(3000);
        for _ in 0..200 {
            logger.info(&text, &[]);
        }
        assert!(logger.dropped() > 100, "a pipe holds 64 KiB, not 600");
        assert!(logger.failing());
        let mut some = vec![0; 1 << 14];
        reader.read_exact(&mut some).unwrap();
        let before = logger.dropped();
        logger.info("back", &[]);
        assert_eq!(logger.dropped(), before);
        assert!(!logger.failing());
    }

    #[test]
    fn a_reader_that_went_away_is_no_panic() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let logger = Logger::to_fd(LogLevel::Info, Some(writer.into()));
        logger.info("nobody", &[]);
        assert_eq!(logger.dropped(), 1);
    }

    #[test]
    fn a_stuffed_socket_drops_too() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let logger = Logger::to_fd(LogLevel::Info, Some(ours.into()));
        let text = "x".repeat(3000);
        for _ in 0..2_000 {
            logger.info(&text, &[]);
        }
        assert!(logger.dropped() > 0);
    }

    #[test]
    fn lines_below_the_level_cost_nothing_and_are_not_written() {
        let (mut reader, writer) = io::pipe().unwrap();
        let logger = Logger::to_fd(LogLevel::Warn, Some(writer.into()));
        logger.info("no", &[]);
        logger.warn("yes", &[]);
        logger.set_level(LogLevel::Debug);
        logger.debug("now", &[]);
        drop(logger);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("\"yes\"") && text.contains("\"now\""));
    }
}
