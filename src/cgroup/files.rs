//! Reading and writing of kernel files, bounded, with errors that carry path, operation and value.
//!
//! Every read here has a cap, so that a file that is not what it claims to be costs a known amount of memory. Formats are in
//! [`super::parse`]; nothing here interprets more than "it did not parse".

use super::parse::{self, Limit, Psi};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes that a read of a whole file returns: more than any cgroup file but `cgroup.procs` of thousands has.
pub const CAP: usize = 64 * 1024;

/// Stack space of the typed reads. `memory.stat` is about 2 KiB, the longest file that they are made for.
const SMALL: usize = 8 * 1024;

/// What went wrong with a kernel file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Opening or reading failed.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Opening or writing failed, or the kernel took only a part.
    #[error("write {value} to {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The content is not what this file should hold.
    #[error("read {}: expected {expected}, found {found:?}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The format, in words.
        expected: &'static str,
        /// The first bytes of what was there.
        found: String,
    },
}

impl FileError {
    /// The kernel's answer, if it was one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            FileError::Read { source, .. } | FileError::Write { source, .. } => Some(source),
            FileError::Parse { .. } => None,
        }
    }

    /// The file, or the thing behind it, is not there: no such key on this kernel, PSI off, or the group was removed.
    pub fn is_missing(&self) -> bool {
        let code = self.io().and_then(io::Error::raw_os_error);
        matches!(code, Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::EOPNOTSUPP))
    }

    /// The file is there and may not be touched (permission, read-only mount).
    pub fn is_refused(&self) -> bool {
        let code = self.io().and_then(io::Error::raw_os_error);
        matches!(code, Some(libc::EACCES | libc::EPERM | libc::EROFS))
    }
}

/// Result of this room.
pub type Result<T> = std::result::Result<T, FileError>;

/// Turns "missing" into `None`; every other error stays one.
pub fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_missing() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Fills `buf` from the start of `file` until it is full or the file ends; returns the number of bytes.
fn fill(mut file: impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match file.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |source| FileError::Read { path: path.to_path_buf(), source }
}

/// Reads at most `cap` bytes. A longer file is cut after its last whole line, so that no number is read half.
pub fn read_up_to(path: &Path, cap: usize) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(read_error(path))?;
    let mut bytes = Vec::new();
    file.take(cap as u64 + 1).read_to_end(&mut bytes).map_err(read_error(path))?;
    if bytes.len() > cap {
        bytes.truncate(parse::whole_lines(&bytes[..cap]).len());
    }
    Ok(bytes)
}

/// Reads a whole file of at most [`CAP`] bytes (see [`read_up_to`]).
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, CAP)
}

/// As [`read_bytes`], as text; bytes that are not UTF-8 are replaced.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read_bytes(path)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Reads a small file to the stack and hands its bytes to `parse`; `None` from it is an error that shows the content.
fn read_small<T>(path: &Path, expected: &'static str, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<T> {
    let mut buf = [0; SMALL];
    let file = File::open(path).map_err(read_error(path))?;
    let len = fill(file, &mut buf).map_err(read_error(path))?;
    let bytes = if len == SMALL { parse::whole_lines(&buf) } else { &buf[..len] };
    parse(bytes).ok_or_else(|| FileError::Parse { path: path.to_path_buf(), expected, found: excerpt(bytes) })
}

/// The first 40 bytes, for an error message.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
}

/// Reads a file that holds one unsigned number, such as `memory.current`.
pub fn read_u64(path: &Path) -> Result<u64> {
    read_small(path, "an unsigned number", parse::number)
}

/// Reads a limit file (`memory.max`, `pids.max`, `memory.limit_in_bytes`, `cpu.cfs_quota_us`).
pub fn read_limit(path: &Path) -> Result<Limit> {
    read_small(path, "a number or max", parse::limit)
}

/// Reads the named keys of a flat-keyed file (`memory.stat`, `cpu.stat`, `memory.events`, v1 `memory.oom_control`).
/// A key that is not there is `None`, so garbage gives all `None`.
pub fn read_keyed<const N: usize>(path: &Path, keys: &[&str; N]) -> Result<[Option<u64>; N]> {
    read_small(path, "lines of key and number", |bytes| Some(parse::keyed(bytes, keys)))
}

/// Reads a pressure file (`cpu.pressure`, `/proc/pressure/memory`).
pub fn read_psi(path: &Path) -> Result<Psi> {
    read_small(path, "pressure lines", parse::psi)
}

/// Writes `value` by one `write` call to a file that must exist: kernel files take a value whole or not at all.
pub fn write(path: &Path, value: &str) -> Result<()> {
    let fail = |source| FileError::Write { path: path.to_path_buf(), value: value.to_owned(), source };
    let mut file = OpenOptions::new().write(true).open(path).map_err(fail)?;
    match file.write(value.as_bytes()).map_err(fail)? {
        n if n == value.len() => Ok(()),
        _ => Err(fail(io::Error::from(io::ErrorKind::WriteZero))),
    }
}

/// As [`write()`], for a number.
pub fn write_u64(path: &Path, value: u64) -> Result<()> {
    write(path, &value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str, content: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("execd-files-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn errors_name_path_operation_and_value() {
        let e = write_u64(Path::new("/nonexistent/memory.max"), 268_435_456).unwrap_err();
        assert!(e.to_string().starts_with("write 268435456 to /nonexistent/memory.max: No such file"), "{e}");
        assert!(e.is_missing() && !e.is_refused());
        let path = scratch("bad", b"twelve\n");
        let e = read_u64(&path).unwrap_err().to_string();
        assert!(e.ends_with("bad: expected an unsigned number, found \"twelve\\n\""), "{e}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_mebibyte_of_garbage_is_not_slurped() {
        let path = scratch("garbage", &b"x 1\n".repeat(262_144));
        assert_eq!(read_bytes(&path).unwrap().len(), CAP);
        assert_eq!(read_keyed(&path, &["x", "y"]).unwrap(), [Some(1), None]);
        assert!(read_u64(&path).is_err());
        std::fs::write(&path, vec![b'7'; 1 << 20]).unwrap();
        assert_eq!(read_bytes(&path).unwrap(), b"", "one endless line has no whole line");
        assert!(read_u64(&path).is_err(), "a number cut in the middle is no number");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn missing_is_not_an_error_when_asked_so() {
        assert!(optional(read_u64(Path::new("/nonexistent"))).unwrap().is_none());
    }

    #[test]
    fn write_replaces_the_start_and_creates_nothing() {
        let path = scratch("write", b"max\n");
        write(&path, "100").unwrap();
        assert_eq!(read_limit(&path).unwrap(), Limit::At(100));
        std::fs::remove_file(&path).unwrap();
        assert!(write(&path, "1").unwrap_err().is_missing());
        assert!(!path.exists());
    }
}
