//! The beginning of an execution's output on disk: records of tag, length and bytes, up to a cap.
//!
//! Writes go to the page cache and are not synced: they survive the daemon, not power loss. A full disk stops the file, which
//! is counted as loss like anything else, and never the execution.

use super::output::{Offsets, Segment, Selection, Stream};
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Record header: one tag byte and a little-endian length.
const HEADER: usize = 5;
/// Distance of index entries in bytes of file.
const STRIDE: u64 = 64 << 10;
/// Longest record that is believed when a file is read back.
const MAX_RECORD: u64 = 1 << 20;

/// An open output file.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    cap: u64,
    /// bytes of file written
    size: u64,
    end: Offsets,
    /// a write failed or the cap was reached: nothing may follow, or offsets would lie
    sealed: bool,
    index: Vec<(Offsets, u64)>,
}

impl OutputFile {
    /// Creates an empty one, 0600, holding at most `cap` bytes of output.
    pub fn create(path: &Path, cap: u64) -> io::Result<OutputFile> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let end = Offsets::default();
        Ok(OutputFile { file, cap, size: 0, end, sealed: false, index: vec![(end, 0)] })
    }

    /// Opens one of an earlier daemon. A torn last record is left out.
    pub fn open(path: &Path) -> io::Result<OutputFile> {
        let file = OpenOptions::new().read(true).open(path)?;
        let length = file.metadata()?.len();
        let start = Offsets::default();
        let mut read = OutputFile { file, cap: 0, size: 0, end: start, sealed: true, index: vec![(start, 0)] };
        while let Some((stream, size)) = read.header_at(read.size) {
            let next = read.size + HEADER as u64 + size;
            if next > length {
                break;
            }
            read.end = read.end.after(stream, size);
            read.size = next;
            read.index_if_due();
        }
        Ok(read)
    }

    /// Offsets after the last byte held.
    pub fn end(&self) -> Offsets {
        self.end
    }

    /// Appends what fits. `at` must be the end so far: after a gap nothing is taken any more.
    pub fn append(&mut self, stream: Stream, at: Offsets, bytes: &[u8]) {
        if self.sealed || at != self.end {
            self.sealed = true;
            return;
        }
        let room = self.cap.saturating_sub(self.end.of(Selection::Both));
        let length = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.sealed = length < bytes.len();
        if length == 0 {
            return;
        }
        let mut record = Vec::with_capacity(HEADER + length);
        record.push(tag(stream));
        record.extend((length as u32).to_le_bytes());
        record.extend(&bytes[..length]);
        match self.file.write_all_at(&record, self.size) {
            Ok(()) => {
                self.size += record.len() as u64;
                self.end = self.end.after(stream, length as u64);
                self.index_if_due();
            }
            Err(_) => self.sealed = true,
        }
    }

    fn index_if_due(&mut self) {
        if self.index.last().is_none_or(|(_, position)| self.size - position >= STRIDE) {
            self.index.push((self.end, self.size));
        }
    }

    fn header_at(&self, position: u64) -> Option<(Stream, u64)> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, position).ok()?;
        let [tag, length @ ..] = header;
        let stream = match tag {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let length = u64::from(u32::from_le_bytes(length));
        (length <= MAX_RECORD).then_some((stream, length))
    }

    /// Segments from `cursor` on, at most about `max` bytes. Arrival times are not kept on disk.
    pub fn read(&self, selection: Selection, cursor: u64, max: usize) -> Vec<Segment> {
        let known = self.index.partition_point(|(offsets, _)| offsets.of(selection) <= cursor).saturating_sub(1);
        let Some(&(mut at, mut position)) = self.index.get(known) else { return Vec::new() };
        let mut found = Vec::new();
        let mut taken = 0;
        while position < self.size && taken < max {
            let Some((stream, length)) = self.header_at(position) else { break };
            let next = at.after(stream, length);
            if next.of(selection) > cursor.max(at.of(selection)) {
                let skip = cursor.saturating_sub(at.of(selection));
                let mut bytes = vec![0; (length - skip) as usize];
                if self.file.read_exact_at(&mut bytes, position + HEADER as u64 + skip).is_err() {
                    break;
                }
                taken += bytes.len();
                found.push(Segment { stream, at: at.after(stream, skip), time_ms: 0, bytes: Bytes::from(bytes) });
            }
            at = next;
            position += HEADER as u64 + length;
        }
        found
    }
}

const fn tag(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("execd-out-{name}-{}", std::process::id()))
    }

    fn content(file: &OutputFile, selection: Selection, cursor: u64) -> Vec<u8> {
        let (mut all, mut cursor) = (Vec::new(), cursor);
        loop {
            let found = file.read(selection, cursor, 100);
            let Some(last) = found.last() else { return all };
            cursor = last.at.of(selection) + last.bytes.len() as u64;
            all.extend(found.iter().flat_map(|segment| segment.bytes.to_vec()));
        }
    }

    #[test]
    fn the_beginning_is_kept_up_to_the_cap_and_read_back() {
        let path = path("cap");
        let mut file = OutputFile::create(&path, 10).expect("create");
        for (stream, bytes) in [(Stream::Stdout, "abcd"), (Stream::Stderr, "EFG"), (Stream::Stdout, "hijklm")] {
            let at = file.end();
            file.append(stream, at, bytes.as_bytes());
        }
        for file in [file, OutputFile::open(&path).expect("open")] {
            assert_eq!(content(&file, Selection::Both, 0), b"abcdEFGhij");
            assert_eq!(content(&file, Selection::Stdout, 2), b"cdhij");
            assert_eq!(content(&file, Selection::Stderr, 0), b"EFG");
        }
        std::fs::remove_file(path).expect("cleanup");
    }

    proptest! {
        #[test]
        fn any_file_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cursor in any::<u64>()) {
            let path = path("fuzz");
            std::fs::write(&path, &bytes).expect("write");
            if let Ok(file) = OutputFile::open(&path) {
                let _ = file.read(Selection::Both, cursor, 1000);
            }
        }
    }
}
