//! A log file that rotates by size and keeps a bounded number of bounded age. It outlives a full disk: a line that does not
//! fit is taken back whole and counted by the caller; the next one tries again.

use crate::config::values::FileLog;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Rotated files where all that are young enough are kept.
const MOST_BACKUPS: u32 = 1000;

/// The open file and its length.
pub(super) struct Rotating {
    settings: FileLog,
    file: Option<File>,
    length: u64,
}

impl Rotating {
    /// Opens or creates the file, mode 0600, and drops backups that are too old.
    ///
    /// # Errors
    /// What the kernel says when the file cannot be opened for appending.
    pub(super) fn open(settings: FileLog) -> io::Result<Self> {
        let mut this = Self { settings, file: None, length: 0 };
        this.reopen()?;
        this.drop_old(SystemTime::now());
        Ok(this)
    }

    /// Appends one whole line, rotating first when it would not fit.
    ///
    /// # Errors
    /// What the kernel says; nothing of the line stays in the file then.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + line.len() as u64 > self.settings.max_size_bytes {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = self.file.as_mut() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match file.write_all(line) {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = file.set_len(self.length);
                Err(error)
            }
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.settings.path)?;
        self.length = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let path = &self.settings.path;
        // Somebody may have taken it away.
        if path.exists() {
            // Only as many as there are: a gap takes the one before it.
            let there = (1..self.backups()).take_while(|n| backup(path, *n).exists()).last().unwrap_or(0);
            for n in (1..=there).rev() {
                let _ = std::fs::rename(backup(path, n), backup(path, n + 1));
            }
            std::fs::rename(path, backup(path, 1))?;
        }
        self.drop_old(SystemTime::now());
        self.reopen()
    }

    fn backups(&self) -> u32 {
        if self.settings.max_backups == 0 { MOST_BACKUPS } else { self.settings.max_backups.min(MOST_BACKUPS) }
    }

    fn drop_old(&self, now: SystemTime) {
        if self.settings.max_age_days == 0 {
            return;
        }
        let age = Duration::from_secs(u64::from(self.settings.max_age_days) * 86_400);
        for n in 1..=self.backups() {
            let path = backup(&self.settings.path, n);
            let Ok(modified) = path.metadata().and_then(|m| m.modified()) else {
                continue;
            };
            if now.duration_since(modified).is_ok_and(|a| a > age) {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

fn backup(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("execd-rotate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn rotates_by_size_and_keeps_the_newest() {
        let dir = folder("size");
        let path = dir.join("log");
        let mut log =
            Rotating::open(FileLog { path: path.clone(), max_size_bytes: 10, max_backups: 2, max_age_days: 0 })
                .unwrap();
        for n in 0..5 {
            log.append(format!("line-{n}\n").as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line-4\n");
        assert_eq!(std::fs::read_to_string(backup(&path, 1)).unwrap(), "line-3\n");
        assert_eq!(std::fs::read_to_string(backup(&path, 2)).unwrap(), "line-2\n");
        assert!(!backup(&path, 3).exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_a_number_all_of_them_stay() {
        let dir = folder("all");
        let path = dir.join("log");
        let settings = FileLog { path: path.clone(), max_size_bytes: 1, max_backups: 0, max_age_days: 0 };
        let mut log = Rotating::open(settings).unwrap();
        for n in 0..30 {
            log.append(format!("line-{n}\n").as_bytes()).unwrap();
        }
        let kept = (1..30).map(|n| std::fs::read_to_string(backup(&path, n)).unwrap());
        assert!(kept.eq((0..29).rev().map(|n| format!("line-{n}\n"))));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_that_was_taken_away_is_made_anew_and_no_backup_moves() {
        let dir = folder("taken");
        let path = dir.join("log");
        let settings = FileLog { path: path.clone(), max_size_bytes: 10, max_backups: 3, max_age_days: 0 };
        let mut log = Rotating::open(settings).unwrap();
        log.append(b"line-1\n").unwrap();
        log.append(b"line-2\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        log.append(b"line-3\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"line-3\n");
        assert_eq!(std::fs::read(backup(&path, 1)).unwrap(), b"line-1\n");
        assert!(!backup(&path, 2).exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_backup_past_its_age_goes() {
        let dir = folder("age");
        let path = dir.join("log");
        std::fs::write(backup(&path, 1), "old").unwrap();
        let log = Rotating::open(FileLog { path: path.clone(), max_size_bytes: 10, max_backups: 2, max_age_days: 1 })
            .unwrap();
        assert!(backup(&path, 1).exists());
        log.drop_old(SystemTime::now() + Duration::from_secs(2 * 86_400));
        assert!(!backup(&path, 1).exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_full_disk_takes_back_the_line_and_says_so() {
        let mut log = Rotating::open(FileLog {
            path: PathBuf::from("/dev/full"),
            max_size_bytes: 1 << 20,
            max_backups: 1,
            max_age_days: 0,
        })
        .unwrap();
        assert!(log.append(b"line\n").is_err());
        assert!(log.append(b"line\n").is_err());
    }
}
