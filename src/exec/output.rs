//! Captured output of one execution: a bounded ring of segments in memory, in order of arrival, over a bounded file with the
//! beginning. An execution never waits for a reader; what nobody can read any more is counted.
//!
//! A cursor is a byte offset in the chosen selection (one stream, or both in order of arrival), so it survives reconnects.

use super::output_file::OutputFile;
use super::ring::Ring;
use bytes::Bytes;
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
    pub(super) const fn takes(self, stream: Stream) -> bool {
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

/// Ring size while nobody follows: enough to see the end of a log. Bytes, with the overhead of segments, as the others.
const RING_IDLE: usize = 256 << 10;
/// Ring size while somebody follows: room for a client that is held up for a moment.
const RING_FOLLOWED: usize = 2 << 20;
/// Ring size of an execution that ended long ago: a thousand of them are 16 MB.
const RING_SETTLED: usize = 16 << 10;
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
    ring: Ring,
    end: Offsets,
    file: Option<OutputFile>,
    closed: bool,
    settled: bool,
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
    /// Must have every byte: whoever writes waits for it.
    complete: bool,
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

    /// Both pipes have ended, or nobody reads them any more. The file is complete and stands for what it holds.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        if let Some(file) = &mut inner.file {
            file.finish();
        }
        inner.economize();
        drop(inner);
        self.changed.send_modify(|version| *version += 1);
    }

    /// The end was long ago: only the last bytes stay in memory, once nobody follows.
    pub(super) fn settle(&self) {
        let mut inner = self.lock();
        inner.settled = true;
        inner.economize();
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
        self.add_follower(selection, cursor, false)
    }

    /// Registers a follower that the execution waits for, as it would for the reader of its own pipe.
    pub fn follow_all(&self, selection: Selection) -> u64 {
        self.add_follower(selection, 0, true)
    }

    fn add_follower(&self, selection: Selection, cursor: u64, complete: bool) -> u64 {
        let mut inner = self.lock();
        let id = inner.next_follower;
        inner.next_follower += 1;
        inner.followers.push(Follower { id, selection, cursor, taken: 0, complete });
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
        let mut inner = self.lock();
        inner.followers.retain(|follower| follower.id != id);
        inner.economize();
    }

    /// Somebody follows.
    pub fn is_followed(&self) -> bool {
        !self.lock().followers.is_empty()
    }

    /// Some follower is still inside the ring but more than half of it behind: one more read could push bytes out under it.
    pub fn is_pressed(&self) -> bool {
        let inner = self.lock();
        inner.followers.iter().any(|follower| inner.presses(follower))
    }

    /// The same, of a follower that must have every byte.
    pub fn is_held_up(&self) -> bool {
        let inner = self.lock();
        inner.followers.iter().any(|follower| follower.complete && inner.presses(follower))
    }

    /// What the ring costs, in bytes.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> usize {
        self.lock().ring.cost()
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
        self.ring.push(Segment { stream, at, time_ms, bytes });
        self.trim();
    }

    fn presses(&self, follower: &Follower) -> bool {
        let inside = follower.cursor >= self.ring_start().of(follower.selection);
        inside && self.ring.cost_from(follower.selection, follower.cursor) > RING_FOLLOWED / 2
    }

    fn trim(&mut self) {
        let cap = match (self.followers.is_empty(), self.settled) {
            (false, _) => RING_FOLLOWED,
            (true, false) => RING_IDLE,
            (true, true) => RING_SETTLED,
        };
        while let Some(oldest) = self.ring.pop_above(cap) {
            self.lost += self.unseen(&oldest);
        }
    }

    /// Once it has ended and nobody follows, what the file holds needs no memory, and what is left no more than its size.
    fn economize(&mut self) {
        if self.closed && self.followers.is_empty() {
            self.ring.drop_before(self.file_end().of(Selection::Both));
            self.trim();
            self.ring.compact();
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
        self.ring.start().unwrap_or(self.end)
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
            chunk.segments = self.ring.read(selection, chunk.next, MAX_CHUNK);
        }
        if let Some(last) = chunk.segments.last() {
            chunk.next = last.at.of(selection) + last.bytes.len() as u64;
        }
        chunk.end = self.closed && chunk.next >= end;
        chunk
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
