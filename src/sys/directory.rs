//! Reading a directory a few names at a time, with a position that can be returned to.
//!
//! readdir(3) as `std` and `nix` wrap it cannot tell its position, so whoever wants to go on later has to keep either the
//! descriptor or all names.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of entries fetched at once: about a hundred short names.
const BUFFER: usize = 4096;

/// An open directory and how far it has been read.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    buffer: Box<[u8; BUFFER]>,
    at: usize,
    end: usize,
    position: i64,
}

impl Directory {
    /// Reads the directory `fd` on from `position`: 0, or what [`Directory::position`] said of the same directory.
    pub fn new(fd: OwnedFd, position: i64) -> io::Result<Directory> {
        // SAFETY: lseek takes integers; `fd` is open.
        if unsafe { libc::lseek(fd.as_raw_fd(), position, libc::SEEK_SET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Directory { fd, buffer: Box::new([0; BUFFER]), at: 0, end: 0, position })
    }

    /// Where the name that comes next is. Means nothing outside this directory.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The next name, `.` and `..` left out; `None` at the end. An error of the kernel (the directory was removed, say) is an end.
    pub fn next_name(&mut self) -> Option<CString> {
        loop {
            if self.at >= self.end {
                self.fill()?;
            }
            let Some(entry) = Entry::parse(self.buffer.get(self.at..self.end)?) else {
                // Not seen from any kernel; going on would loop.
                self.end = self.at;
                return None;
            };
            self.at += entry.length;
            self.position = entry.next;
            if !matches!(entry.name, b"." | b"..") {
                return CString::new(entry.name).ok();
            }
        }
    }

    fn fill(&mut self) -> Option<()> {
        // SAFETY: the kernel writes at most BUFFER bytes into our buffer of that size.
        let length =
            unsafe { libc::syscall(libc::SYS_getdents64, self.fd.as_raw_fd(), self.buffer.as_mut_ptr(), BUFFER) };
        self.at = 0;
        self.end = usize::try_from(length).unwrap_or(0).min(BUFFER);
        (self.end > 0).then_some(())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One `linux_dirent64` (getdents64(2)): inode, position of the next entry, length of this one, type, name.
struct Entry<'a> {
    next: i64,
    length: usize,
    name: &'a [u8],
}

impl Entry<'_> {
    const NAME: usize = 19;

    fn parse(bytes: &[u8]) -> Option<Entry<'_>> {
        let next = i64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
        let length = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
        let padded = bytes.get(Self::NAME..length)?;
        let name = padded.split(|byte| *byte == 0).next()?;
        Some(Entry { next, length, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::fs::{self, File};

    #[test]
    fn reading_goes_on_where_it_was_left() {
        let root = std::env::temp_dir().join(format!("execd-directory-{}", std::process::id()));
        fs::create_dir_all(&root).expect("mkdir");
        for number in 0..500 {
            File::create(root.join(format!("name-{number}"))).expect("create");
        }
        let open = |position| Directory::new(File::open(&root).expect("open").into(), position).expect("read");
        let mut names = BTreeSet::new();
        let mut directory = open(0);
        let mut count = 0;
        while let Some(name) = directory.next_name() {
            names.insert(name);
            count += 1;
            if count % 7 == 0 {
                directory = open(directory.position());
            }
        }
        fs::remove_dir_all(&root).expect("cleanup");
        assert_eq!((names.len(), count), (500, 500));
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic_and_always_an_advance(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(entry) = Entry::parse(&bytes) {
                prop_assert!(entry.length >= Entry::NAME && entry.length <= bytes.len());
            }
        }
    }
}
