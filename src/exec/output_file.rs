//! The beginning of an execution's output on disk: records of tag, length and bytes, up to a cap.
//!
//! Writes go to the page cache and are not synced: they survive the daemon, not power loss. A full disk stops the file, which
//! is counted as loss like anything else, and never the execution.

use super::output::{Offsets, Segment, Selection, Stream};
use super::{plain_file, ring::Ring};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Record header: one tag byte and a little-endian length.
const HEADER: usize = 5;
/// First distance of index entries in bytes of file.
const STRIDE: u64 = 64 << 10;
/// Index entries; when there are more, the distance is doubled.
const MAX_INDEX: usize = 64;
/// Longest record that is believed when a file is read back.
const MAX_RECORD: u64 = 1 << 20;
/// Bytes read at once while looking for records.
const READ_AHEAD: usize = 16 << 10;

/// An output file, made with its first byte: most commands are short and silent, and a name in a folder costs more than they do. Open only
/// while it is written: a thousand finished executions must not hold a thousand descriptors.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    writer: Writer,
    cap: u64,
    /// bytes of file written
    size: u64,
    end: Offsets,
    index: Vec<(Offsets, u64)>,
    stride: u64,
}

#[derive(Debug)]
enum Writer {
    /// nothing was written yet
    Ready,
    Open(File),
    /// it ended, making or writing it failed, or the cap was reached: nothing may follow, or offsets would lie
    Over,
}

impl OutputFile {
    /// One that is yet to be written, 0600, holding at most `cap` bytes of output.
    pub fn new(path: &Path, cap: u64) -> OutputFile {
        OutputFile { writer: Writer::Ready, cap, ..OutputFile::empty(path) }
    }

    /// Looks through one of an earlier daemon. A torn last record is left out.
    ///
    /// # Errors
    /// The file is not there or not a regular one.
    pub fn open(path: &Path) -> io::Result<OutputFile> {
        let file = plain_file::open(path)?;
        let length = file.metadata()?.len();
        let mut read = OutputFile::empty(path);
        let mut records = Records::from(&file, 0, length)?;
        while let Some((stream, size)) = records.header() {
            if records.skip(size).is_none() {
                break;
            }
            read.end = read.end.after(stream, size);
            read.size = records.position;
            read.index_if_due();
        }
        Ok(read)
    }

    fn empty(path: &Path) -> OutputFile {
        let end = Offsets::default();
        let writer = Writer::Over;
        OutputFile { path: path.to_owned(), writer, cap: 0, size: 0, end, index: vec![(end, 0)], stride: STRIDE }
    }

    /// Nothing more will be written: gives the descriptor back.
    pub fn finish(&mut self) {
        self.writer = Writer::Over;
        self.index.shrink_to_fit();
    }

    /// Offsets after the last byte held.
    pub fn end(&self) -> Offsets {
        self.end
    }

    /// Appends what fits. `at` must be the end so far: after a gap nothing is taken any more.
    pub fn append(&mut self, stream: Stream, at: Offsets, bytes: &[u8]) {
        let room = self.cap.saturating_sub(self.end.of(Selection::Both));
        let length = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let fits = at == self.end && (length == 0 || self.write(stream, &bytes[..length]).is_ok());
        if !fits || length < bytes.len() {
            self.finish();
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if let Writer::Ready = self.writer {
            self.writer = Writer::Open(plain_file::create(&self.path)?);
        }
        let Writer::Open(file) = &self.writer else { return Err(io::ErrorKind::WriteZero.into()) };
        let mut record = Vec::with_capacity(HEADER + bytes.len());
        record.push(tag(stream));
        record.extend((bytes.len() as u32).to_le_bytes());
        record.extend(bytes);
        file.write_all_at(&record, self.size)?;
        self.size += record.len() as u64;
        self.end = self.end.after(stream, bytes.len() as u64);
        self.index_if_due();
        Ok(())
    }

    fn index_if_due(&mut self) {
        if self.index.last().is_some_and(|(_, position)| self.size - position < self.stride) {
            return;
        }
        self.index.push((self.end, self.size));
        if self.index.len() > MAX_INDEX {
            let mut nth = 0;
            self.index.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// Segments from `cursor` on, at most about `max` bytes with their overhead; nothing where the file is gone or damaged.
    /// Arrival times are not kept on disk.
    pub fn read(&self, selection: Selection, cursor: u64, max: usize) -> Vec<Segment> {
        let read = |file: &File| self.read_from(file, selection, cursor, max);
        match &self.writer {
            Writer::Open(file) => read(file),
            Writer::Ready | Writer::Over => plain_file::open(&self.path).and_then(|file| read(&file)),
        }
        .unwrap_or_default()
    }

    fn read_from(&self, file: &File, selection: Selection, cursor: u64, max: usize) -> io::Result<Vec<Segment>> {
        let known = self.index.partition_point(|(offsets, _)| offsets.of(selection) <= cursor).saturating_sub(1);
        let Some(&(mut at, position)) = self.index.get(known) else { return Ok(Vec::new()) };
        let mut records = Records::from(file, position, self.size)?;
        // Small records come out as few segments.
        let mut found = Ring::default();
        while found.cost() < max {
            let Some((stream, length)) = records.header() else { break };
            let next = at.after(stream, length);
            if next.of(selection) > cursor.max(at.of(selection)) {
                let skip = cursor.saturating_sub(at.of(selection));
                let Some(bytes) = records.skip(skip).and_then(|()| records.take(length - skip)) else { break };
                found.push(Segment { stream, at: at.after(stream, skip), time_ms: 0, bytes });
            } else if records.skip(length).is_none() {
                break;
            }
            at = next;
        }
        Ok(found.into_segments())
    }
}

/// A walk over the records of a file. Nothing that it meets is believed: an execution may have written into the file.
struct Records<'a> {
    reader: BufReader<&'a File>,
    position: u64,
    end: u64,
}

impl<'a> Records<'a> {
    fn from(file: &'a File, position: u64, end: u64) -> io::Result<Records<'a>> {
        let mut reader = BufReader::with_capacity(READ_AHEAD, file);
        reader.seek(SeekFrom::Start(position))?;
        Ok(Records { reader, position, end })
    }

    fn advance(&mut self, bytes: u64) -> Option<()> {
        let next = self.position.checked_add(bytes).filter(|next| *next <= self.end)?;
        self.position = next;
        Some(())
    }

    fn header(&mut self) -> Option<(Stream, u64)> {
        self.advance(HEADER as u64)?;
        let mut header = [0; HEADER];
        self.reader.read_exact(&mut header).ok()?;
        let [tag, length @ ..] = header;
        let stream = match tag {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let length = u64::from(u32::from_le_bytes(length));
        (length <= MAX_RECORD).then_some((stream, length))
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.advance(bytes)?;
        self.reader.seek_relative(i64::try_from(bytes).ok()?).ok()
    }

    fn take(&mut self, bytes: u64) -> Option<Bytes> {
        self.advance(bytes)?;
        let mut taken = vec![0; usize::try_from(bytes).ok()?];
        self.reader.read_exact(&mut taken).ok()?;
        Some(Bytes::from(taken))
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
        let mut file = OutputFile::new(&path, 10);
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

    #[test]
    fn a_finished_file_holds_no_descriptor_and_is_read_anew() {
        let path = path("finished");
        let mut file = OutputFile::new(&path, 100);
        file.append(Stream::Stdout, Offsets::default(), b"abc");
        file.finish();
        assert!(matches!(file.writer, Writer::Over));
        file.append(Stream::Stdout, file.end(), b"not any more");
        assert_eq!(content(&file, Selection::Both, 1), b"bc");
        assert!(matches!(OutputFile::open(&path).expect("open").writer, Writer::Over));
        std::fs::remove_file(&path).expect("remove");
        assert!(file.read(Selection::Both, 0, 100).is_empty());
        std::os::unix::fs::symlink("/proc/self/environ", &path).expect("link");
        assert!(file.read(Selection::Both, 0, 100).is_empty(), "a link is not followed");
        assert!(OutputFile::open(&path).is_err());
        std::fs::remove_file(path).expect("cleanup");
    }

    #[test]
    fn a_large_file_has_a_small_index_and_every_place_is_found() {
        let path = path("index");
        let mut file = OutputFile::new(&path, u64::MAX);
        let mut record = vec![0; 50_000];
        for n in 0..400_u64 {
            record[..8].copy_from_slice(&n.to_le_bytes());
            let stream = if n % 3 == 0 { Stream::Stderr } else { Stream::Stdout };
            file.append(stream, file.end(), &record);
        }
        for file in [&file, &OutputFile::open(&path).expect("open")] {
            assert!(file.index.len() <= MAX_INDEX);
            for n in (0..400_u64).step_by(7) {
                let found = file.read(Selection::Both, n * 50_000, 1);
                assert_eq!(found[0].bytes[..8], n.to_le_bytes());
                assert_eq!(found[0].at.of(Selection::Both), n * 50_000);
            }
            assert_eq!(file.read(Selection::Stderr, 50_000, 1)[0].bytes[..8], 3_u64.to_le_bytes());
        }
        std::fs::remove_file(path).expect("cleanup");
    }

    #[test]
    fn small_records_come_out_as_few_segments() {
        let path = path("small");
        let mut file = OutputFile::new(&path, u64::MAX);
        for _ in 0..3000 {
            file.append(Stream::Stdout, file.end(), b"x");
        }
        let found = file.read(Selection::Both, 0, 1 << 20);
        assert_eq!((found.len(), found[0].bytes.len()), (1, 3000));
        for n in 0..3000 {
            file.append(if n % 2 == 0 { Stream::Stderr } else { Stream::Stdout }, file.end(), b"y");
        }
        assert!(file.read(Selection::Both, 0, 64 << 10).len() < 600, "the overhead of segments counts");
        assert_eq!(content(&file, Selection::Stderr, 0).len(), 1500);
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
