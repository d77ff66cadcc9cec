//! Kernel files that stay open between looks: a `pread` at offset 0 makes the kernel produce the content anew.

use super::{FileError, files, parse};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Space for the longest files: `memory.stat` and `meminfo` need 2 KiB, `net/dev` of 500 interfaces 60 KiB.
pub(crate) const BUFFER: usize = files::CAP;

/// One kernel file, opened once.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    /// This kernel or group has no such file; it is not tried again.
    Absent,
    /// To be opened at the next read: no descriptor was free, or the last read failed.
    Closed,
    Open(File),
}

impl Kept {
    pub(crate) fn open(path: PathBuf) -> Kept {
        let mut kept = Kept { path, state: State::Closed };
        kept.reopen();
        kept
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    fn reopen(&mut self) {
        self.state = match File::open(&self.path) {
            Ok(file) => State::Open(file),
            Err(source) => self.after(source),
        };
    }

    fn after(&self, source: std::io::Error) -> State {
        // A group that was removed and made again answers ENODEV on the old descriptor, and is worth another try.
        let again = source.raw_os_error() == Some(libc::ENODEV);
        let missing = FileError::Read { path: self.path.clone(), source }.is_missing();
        if missing && !again { State::Absent } else { State::Closed }
    }

    /// Reads what one `pread` gives, which is all of a cgroup file or of a short `/proc` file. A file longer than `buf` is cut
    /// after its last whole line. `None` when there is no reading it now.
    pub(crate) fn read<'b>(&mut self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        self.fill(buf, false).map(|len| content(buf, len))
    }

    /// As [`Kept::read`], to the end: files that the kernel hands out record by record (`/proc/net/dev`).
    pub(crate) fn read_all<'b>(&mut self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        self.fill(buf, true).map(|len| content(buf, len))
    }

    fn fill(&mut self, buf: &mut [u8], to_end: bool) -> Option<usize> {
        for _ in 0..2 {
            if let State::Closed = self.state {
                self.reopen();
            }
            let State::Open(file) = &self.state else { return None };
            match pread(file, buf, to_end) {
                Ok(len) => return Some(len),
                Err(e) => self.state = self.after(e),
            }
        }
        None
    }
}

fn pread(file: &File, buf: &mut [u8], to_end: bool) -> std::io::Result<usize> {
    let mut len = file.read_at(buf, 0)?;
    while to_end && len < buf.len() {
        match file.read_at(&mut buf[len..], len as u64)? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

fn content(buf: &[u8], len: usize) -> &[u8] {
    if len == buf.len() { parse::whole_lines(buf) } else { &buf[..len] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_file_and_survives_its_absence() {
        let path = std::env::temp_dir().join(format!("execd-kept-{}", std::process::id()));
        std::fs::write(&path, "1\n").unwrap();
        let mut kept = Kept::open(path.clone());
        let mut buf = [0; 8];
        assert_eq!(kept.read(&mut buf), Some(&b"1\n"[..]));
        std::fs::write(&path, "22\n").unwrap();
        assert_eq!(kept.read_all(&mut buf), Some(&b"22\n"[..]));
        std::fs::write(&path, "22\n333333333\n").unwrap();
        assert_eq!(kept.read(&mut buf), Some(&b"22\n"[..]), "cut after a whole line");
        std::fs::remove_file(&path).unwrap();
        let mut gone = Kept::open(path);
        assert!(gone.is_absent() && gone.read(&mut buf).is_none());
    }

    #[test]
    fn a_folder_in_place_of_a_file_is_no_value() {
        let mut kept = Kept::open(std::env::temp_dir());
        assert_eq!(kept.read(&mut [0; 8]), None);
    }
}
