//! Captured output of one execution: a bounded ring of segments in memory, in order of arrival, over a bounded file with the
//! beginning. An execution never waits for a reader; what nobody can read any more is counted.
//!
//! A cursor is a byte offset in the chosen selection (one stream, or both in order of arrival), so it survives reconnects.

use super::output_file::OutputFile;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// One of the two captured streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// standard output
    Stdout,
    /// standard error
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    const fn alone(self) -> Selection {
        match self {
            Stream::Stdout => Selection::Stdout,
            Stream::Stderr => Selection::Stderr,
        }
    }
}

/// What a reader wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// standard output only
    Stdout,
    /// standard error only
    Stderr,
    /// both, in order of arrival
    #[default]
    Both,
}

impl Selection {
    const fn takes(self, stream: Stream) -> bool {
        match (self, stream) {
            (Selection::Both, _) | (Selection::Stdout, Stream::Stdout) | (Selection::Stderr, Stream::Stderr) => true,
            (Selection::Stdout, Stream::Stderr) | (Selection::Stderr, Stream::Stdout) => false,
        }
    }
}

/// Offsets in both streams; their sum is the offset in order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// bytes of standard output before this point
    pub stdout: u64,
    /// bytes of standard error before this point
    pub stderr: u64,
}

impl Offsets {
    /// The offset in one selection.
    pub const fn of(self, selection: Selection) -> u64 {
        match selection {
            Selection::Stdout => self.stdout,
            Selection::Stderr => self.stderr,
            Selection::Both => self.stdout + self.stderr,
        }
    }

    /// After `length` more bytes of `stream`.
    pub const fn after(self, stream: Stream, length: u64) -> Offsets {
        match stream {
            Stream::Stdout => Offsets { stdout: self.stdout + length, ..self },
            Stream::Stderr => Offsets { stderr: self.stderr + length, ..self },
        }
    }
}

/// Bytes of one stream that arrived together.
#[derive(Clone, Debug)]
pub struct Segment {
    /// which stream
    pub stream: Stream,
    /// offsets of its first byte
    pub at: Offsets,
    /// arrival, unix ms
    pub time_ms: u64,
    /// content
    pub bytes: Bytes,
}

/// Answer to a read.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// content, possibly empty
    pub segments: Vec<Segment>,
    /// where to go on
    pub next: u64,
    /// bytes between the asked cursor and the first byte returned that are gone for good
    pub lost: u64,
    /// nothing more will ever come after `next`
    pub end: bool,
}

/// Ring size while nobody follows: enough to see the end of a log.
const RING_IDLE: usize = 256 << 10;
/// Ring size while somebody follows: room for a client that is held up for a moment.
const RING_FOLLOWED: usize = 2 << 20;
/// Segments in the ring: a program that writes single bytes makes one segment per read.
const MAX_SEGMENTS: usize = 8192;
/// Most bytes in one [`Chunk`].
pub const MAX_CHUNK: usize = 256 << 10;

/// Captured output.
#[derive(Debug)]
pub struct Output {
    inner: Mutex<Inner>,
    /// Moves whenever something arrives or ends.
    changed: watch::Sender<u64>,
    progressed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    ring: VecDeque<Segment>,
    ring_bytes: usize,
    end: Offsets,
    file: Option<OutputFile>,
    closed: bool,
    followers: Vec<Follower>,
    next_follower: u64,
    /// How far any reader has come in each stream.
    seen: Offsets,
    lost: u64,
    /// Most bytes that any follower took, a loss counted as one chunk at most.
    taken: u64,
    pump_waits: bool,
    last_at: Option<u64>,
}

#[derive(Debug)]
struct Follower {
    id: u64,
    selection: Selection,
    cursor: u64,
    taken: u64,
}

impl Output {
    /// Empty, with a file for the beginning if there is a state directory.
    pub fn new(file: Option<OutputFile>) -> Output {
        Output::with(Inner { file, ..Inner::default() })
    }

    /// Output of an earlier daemon's execution: what its file holds.
    pub fn restored(file: OutputFile) -> Output {
        let end = file.end();
        Output::with(Inner { file: Some(file), end, closed: true, ..Inner::default() })
    }

    fn with(inner: Inner) -> Output {
        Output { inner: Mutex::new(inner), changed: watch::Sender::new(0), progressed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was read from a pipe.
    pub fn append(&self, stream: Stream, bytes: Bytes, time_ms: u64) {
        self.lock().append(stream, bytes, time_ms);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Both pipes have ended, or nobody reads them any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.send_modify(|version| *version += 1);
    }

    /// Open again, for the next attempt.
    pub fn reopen(&self) {
        self.lock().closed = false;
    }

    /// Something to wait on; mark it seen before reading, then wait for a change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Bytes seen so far, both streams.
    pub fn total(&self) -> u64 {
        self.lock().end.of(Selection::Both)
    }

    /// Bytes that fell out of the ring before anybody read them, and that the file does not hold either.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// When the last byte came, unix ms.
    pub fn last_at(&self) -> Option<u64> {
        self.lock().last_at
    }

    /// Cursor from which at most `tail` bytes remain.
    pub fn tail_cursor(&self, selection: Selection, tail: u64) -> u64 {
        self.lock().end.of(selection).saturating_sub(tail)
    }

    /// Reads from `cursor` on, at most [`MAX_CHUNK`] bytes. A cursor past the end waits there.
    pub fn read(&self, selection: Selection, cursor: u64) -> Chunk {
        let mut inner = self.lock();
        let chunk = inner.read(selection, cursor);
        inner.note_seen(&chunk);
        chunk
    }

    /// Registers a follower: the ring grows while there is one.
    pub fn follow(&self, selection: Selection, cursor: u64) -> u64 {
        let mut inner = self.lock();
        let id = inner.next_follower;
        inner.next_follower += 1;
        inner.followers.push(Follower { id, selection, cursor, taken: 0 });
        id
    }

    /// A follower has taken everything before `cursor`.
    pub fn progress(&self, id: u64, cursor: u64) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if let Some(follower) = inner.followers.iter_mut().find(|follower| follower.id == id) {
            let step = cursor.saturating_sub(follower.cursor).min(MAX_CHUNK as u64);
            follower.cursor = cursor;
            follower.taken += step;
            inner.taken = inner.taken.max(follower.taken);
        }
        let waited_for = std::mem::take(&mut inner.pump_waits);
        drop(guard);
        if waited_for {
            self.progressed.notify_waiters();
        }
    }

    /// Bytes that the best follower has taken so far.
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Waits until some follower gets on.
    pub async fn progressed(&self) {
        let progressed = self.progressed.notified();
        self.lock().pump_waits = true;
        progressed.await;
    }

    /// A follower went away.
    pub fn unfollow(&self, id: u64) {
        self.lock().followers.retain(|follower| follower.id != id);
    }

    /// Some follower is still inside the ring but more than half of it behind: one more read could push bytes out under it.
    pub fn is_pressed(&self) -> bool {
        let inner = self.lock();
        let start = inner.ring_start();
        inner.followers.iter().any(|follower| {
            let behind = inner.end.of(follower.selection).saturating_sub(follower.cursor);
            let inside = follower.cursor >= start.of(follower.selection);
            inside && behind > (RING_FOLLOWED / 2) as u64
        })
    }
}

impl Inner {
    fn append(&mut self, stream: Stream, bytes: Bytes, time_ms: u64) {
        let at = self.end;
        self.end = at.after(stream, bytes.len() as u64);
        self.last_at = Some(time_ms);
        if let Some(file) = &mut self.file {
            file.append(stream, at, &bytes);
        }
        self.ring_bytes += bytes.len();
        self.ring.push_back(Segment { stream, at, time_ms, bytes });
        let cap = if self.followers.is_empty() { RING_IDLE } else { RING_FOLLOWED };
        while self.ring_bytes > cap || self.ring.len() > MAX_SEGMENTS {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes -= oldest.bytes.len();
            self.lost += self.unseen(&oldest);
        }
    }

    /// How many bytes of a segment that leaves the ring nobody read and the file does not hold.
    fn unseen(&self, segment: &Segment) -> u64 {
        let selection = segment.stream.alone();
        let start = segment.at.of(selection);
        let kept = self.seen.of(selection).max(self.file_end().of(selection));
        (start + segment.bytes.len() as u64).saturating_sub(start.max(kept))
    }

    fn note_seen(&mut self, chunk: &Chunk) {
        for segment in &chunk.segments {
            let after = segment.at.after(segment.stream, segment.bytes.len() as u64);
            match segment.stream {
                Stream::Stdout => self.seen.stdout = self.seen.stdout.max(after.stdout),
                Stream::Stderr => self.seen.stderr = self.seen.stderr.max(after.stderr),
            }
        }
    }

    fn ring_start(&self) -> Offsets {
        self.ring.front().map_or(self.end, |segment| segment.at)
    }

    fn file_end(&self) -> Offsets {
        self.file.as_ref().map(OutputFile::end).unwrap_or_default()
    }

    fn read(&self, selection: Selection, cursor: u64) -> Chunk {
        let end = self.end.of(selection);
        let ring_start = self.ring_start().of(selection);
        let mut chunk = Chunk { next: cursor.min(end), ..Chunk::default() };
        if cursor < ring_start {
            chunk.segments = match &self.file {
                Some(file) if cursor < file.end().of(selection) => file.read(selection, cursor, MAX_CHUNK),
                Some(_) | None => Vec::new(),
            };
            if chunk.segments.is_empty() {
                chunk.lost = ring_start - cursor;
                chunk.next = ring_start;
            }
        }
        if chunk.segments.is_empty() {
            chunk.segments = self.ring_from(selection, chunk.next);
        }
        if let Some(last) = chunk.segments.last() {
            chunk.next = last.at.of(selection) + last.bytes.len() as u64;
        }
        chunk.end = self.closed && chunk.next >= end;
        chunk
    }

    fn ring_from(&self, selection: Selection, cursor: u64) -> Vec<Segment> {
        // The offsets of a selection never decrease along the ring, so the first segment is found by halving.
        let first = self.ring.partition_point(|segment| {
            segment.at.after(segment.stream, segment.bytes.len() as u64).of(selection) <= cursor
        });
        let mut found: Vec<Segment> = Vec::new();
        let mut bytes = 0;
        for segment in self.ring.range(first..).filter(|segment| selection.takes(segment.stream)) {
            if bytes >= MAX_CHUNK {
                break;
            }
            let start = segment.at.of(selection);
            let skip = usize::try_from(cursor.saturating_sub(start)).unwrap_or(usize::MAX).min(segment.bytes.len());
            let piece = segment.bytes.slice(skip..);
            bytes += piece.len();
            found.push(Segment { at: segment.at.after(segment.stream, skip as u64), bytes: piece, ..*segment });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(chunk: &Chunk) -> Vec<u8> {
        chunk.segments.iter().flat_map(|segment| segment.bytes.to_vec()).collect()
    }

    fn read_all(output: &Output, selection: Selection, mut cursor: u64) -> (Vec<u8>, u64) {
        let (mut all, mut lost) = (Vec::new(), 0);
        loop {
            let chunk = output.read(selection, cursor);
            lost += chunk.lost;
            if chunk.segments.is_empty() {
                return (all, lost);
            }
            all.extend(text(&chunk));
            cursor = chunk.next;
        }
    }

    #[test]
    fn streams_are_kept_apart_and_in_order() {
        let output = Output::new(None);
        for (stream, bytes) in [(Stream::Stdout, "a1"), (Stream::Stderr, "E"), (Stream::Stdout, "b2")] {
            output.append(stream, Bytes::from(bytes), 1);
        }
        assert_eq!(read_all(&output, Selection::Both, 0).0, b"a1Eb2");
        assert_eq!(read_all(&output, Selection::Stdout, 0).0, b"a1b2");
        assert_eq!(read_all(&output, Selection::Stdout, 3).0, b"2");
        assert_eq!(read_all(&output, Selection::Stderr, 0).0, b"E");
        assert_eq!(text(&output.read(Selection::Both, output.tail_cursor(Selection::Both, 3))), b"Eb2");
    }

    #[test]
    fn what_falls_out_is_counted_not_hidden() {
        let output = Output::new(None);
        for _ in 0..10 {
            output.append(Stream::Stdout, Bytes::from(vec![b'x'; RING_IDLE / 4]), 1);
        }
        let (all, lost) = read_all(&output, Selection::Both, 0);
        assert_eq!(all.len() as u64 + lost, output.total());
        assert_eq!(lost, output.lost());
        assert!(all.len() <= RING_IDLE);
    }

    #[test]
    fn what_was_read_before_it_fell_out_is_not_lost() {
        let output = Output::new(None);
        let mut cursor = 0;
        for _ in 0..10 {
            output.append(Stream::Stdout, Bytes::from(vec![b'x'; RING_IDLE / 4]), 1);
            output.append(Stream::Stderr, Bytes::from_static(b"never read"), 1);
            cursor = output.read(Selection::Stdout, cursor).next;
        }
        output.append(Stream::Stdout, Bytes::from(vec![b'x'; RING_IDLE]), 1);
        assert_eq!(output.lost(), 100, "only standard error was not read");
    }

    #[test]
    fn the_end_is_only_the_end_when_closed() {
        let output = Output::new(None);
        output.append(Stream::Stdout, Bytes::from_static(b"z"), 1);
        assert!(!output.read(Selection::Both, 1).end);
        output.close();
        assert!(output.read(Selection::Both, 1).end);
        assert!(!output.read(Selection::Both, 0).segments.is_empty());
        assert!(output.read(Selection::Both, 99).end, "a cursor past the end is the end");
    }

    proptest! {
        #[test]
        fn every_cursor_gives_the_rest_of_its_stream(
            writes in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..50)), 0..40),
            cursor in 0u64..2000,
        ) {
            let output = Output::new(None);
            let (mut both, mut out) = (Vec::<u8>::new(), Vec::<u8>::new());
            for (is_out, bytes) in writes {
                both.extend(&bytes);
                if is_out { out.extend(&bytes); }
                let stream = if is_out { Stream::Stdout } else { Stream::Stderr };
                output.append(stream, Bytes::from(bytes), 1);
            }
            for (selection, expected) in [(Selection::Both, &both), (Selection::Stdout, &out)] {
                let start = (cursor as usize).min(expected.len());
                prop_assert_eq!(&read_all(&output, selection, cursor).0, &expected[start..]);
            }
        }
    }
}
