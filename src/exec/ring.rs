//! The newest output of one execution in memory: segments in order of arrival, counted with what each costs beside its bytes. What may be
//! kept and what a loss means is decided by `output`.

use super::output::{Offsets, Segment, Selection};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What a segment costs beside its bytes: itself, and the allocator's and the reference count's share of the block that it points to.
pub(super) const SEGMENT_COST: usize = size_of::<Segment>() + 64;
/// Small neighbours of one stream become one segment up to this size, in bytes.
pub(super) const MERGED_MAX: usize = 4 << 10;
/// Neighbours further apart stay apart, so that times of arrival stay true: milliseconds.
const MERGED_WITHIN: u64 = 100;

/// Segments in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Ring {
    segments: VecDeque<Segment>,
    cost: usize,
}

impl Ring {
    /// Adds the newest; a small one joins its neighbour.
    pub(super) fn push(&mut self, segment: Segment) {
        match self.segments.back_mut() {
            Some(last) if belong_together(last, &segment) => {
                self.cost += segment.bytes.len();
                last.bytes = joined(std::mem::take(&mut last.bytes), &segment.bytes);
            }
            Some(_) | None => {
                self.cost += cost(&segment);
                self.segments.push_back(segment);
            }
        }
    }

    /// Takes the oldest away while the cost is above `cap`. One that is a large part of all that may stay is cut instead.
    pub(super) fn pop_above(&mut self, cap: usize) -> Option<Segment> {
        let excess = self.cost.saturating_sub(cap);
        let oldest = self.segments.front_mut().filter(|_| excess > 0)?;
        if oldest.bytes.len() > excess.max(cap / 4) {
            let bytes = oldest.bytes.split_to(excess);
            let cut = Segment { bytes, ..*oldest };
            oldest.at = oldest.at.after(oldest.stream, excess as u64);
            self.cost -= excess;
            return Some(cut);
        }
        self.pop()
    }

    /// Drops what lies wholly before an offset in order of arrival.
    pub(super) fn drop_before(&mut self, offset: u64) {
        while self.segments.front().is_some_and(|oldest| end(oldest).of(Selection::Both) <= offset) {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Segment> {
        let oldest = self.segments.pop_front()?;
        self.cost -= cost(&oldest);
        Some(oldest)
    }

    /// Offsets of the first byte.
    pub(super) fn start(&self) -> Option<Offsets> {
        self.segments.front().map(|segment| segment.at)
    }

    /// Bytes and overhead of everything, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// What a reader at `cursor` has yet to take, with what lies between for other readers: how much of the ring hangs on it.
    pub(super) fn cost_from(&self, selection: Selection, cursor: u64) -> usize {
        let first = self.first_after(selection, cursor);
        let bytes = match (self.segments.get(first), self.segments.back()) {
            (Some(first), Some(last)) => end(last).of(Selection::Both) - first.at.of(Selection::Both),
            (Some(_) | None, _) => 0,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add((self.segments.len() - first) * SEGMENT_COST)
    }

    /// Segments from `cursor` on until they are `max` bytes or more.
    pub(super) fn read(&self, selection: Selection, cursor: u64, max: usize) -> Vec<Segment> {
        let mut found: Vec<Segment> = Vec::new();
        let mut bytes = 0;
        let rest = self.segments.range(self.first_after(selection, cursor)..);
        for segment in rest.filter(|segment| selection.takes(segment.stream)) {
            if bytes >= max {
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

    /// Index of the first segment that ends after `cursor`. The offsets of a selection never decrease along the ring.
    fn first_after(&self, selection: Selection, cursor: u64) -> usize {
        self.segments.partition_point(|segment| end(segment).of(selection) <= cursor)
    }

    /// Moves everything into memory of its own size: a segment may hold on to the whole block that it was read into.
    pub(super) fn compact(&mut self) {
        for segment in &mut self.segments {
            segment.bytes = Bytes::copy_from_slice(&segment.bytes);
        }
        self.segments.shrink_to_fit();
    }

    /// All of them.
    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.segments.into()
    }
}

fn cost(segment: &Segment) -> usize {
    segment.bytes.len() + SEGMENT_COST
}

fn end(segment: &Segment) -> Offsets {
    segment.at.after(segment.stream, segment.bytes.len() as u64)
}

fn belong_together(last: &Segment, next: &Segment) -> bool {
    last.stream == next.stream
        && last.bytes.len() + next.bytes.len() <= MERGED_MAX
        && next.time_ms.saturating_sub(last.time_ms) <= MERGED_WITHIN
}

/// In place where no reader holds the first.
fn joined(first: Bytes, more: &[u8]) -> Bytes {
    let mut all = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    all.extend_from_slice(more);
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::output::Stream;
    use super::*;

    fn push(ring: &mut Ring, at: Offsets, stream: Stream, bytes: &'static [u8], time_ms: u64) -> Offsets {
        ring.push(Segment { stream, at, time_ms, bytes: Bytes::from_static(bytes) });
        at.after(stream, bytes.len() as u64)
    }

    #[test]
    fn neighbours_join_only_within_stream_size_and_time() {
        let large = &[b'x'; MERGED_MAX];
        let table: [(Stream, &'static [u8], u64, usize); 6] = [
            (Stream::Stdout, b"a", 0, 1),
            (Stream::Stdout, b"b", MERGED_WITHIN, 1),
            (Stream::Stderr, b"E", MERGED_WITHIN, 2),
            (Stream::Stderr, b"late", 3 * MERGED_WITHIN, 3),
            (Stream::Stderr, large, 3 * MERGED_WITHIN, 4),
            (Stream::Stderr, b"c", 3 * MERGED_WITHIN, 5),
        ];
        let (mut ring, mut at, mut all) = (Ring::default(), Offsets::default(), Vec::new());
        for (stream, bytes, time_ms, count) in table {
            at = push(&mut ring, at, stream, bytes, time_ms);
            all.extend_from_slice(bytes);
            assert_eq!(ring.segments.len(), count);
            assert_eq!(ring.cost(), all.len() + count * SEGMENT_COST);
        }
        let read = ring.read(Selection::Both, 0, usize::MAX);
        assert_eq!(read.iter().flat_map(|segment| segment.bytes.to_vec()).collect::<Vec<_>>(), all);
        assert_eq!(read[0].time_ms, 0, "the first arrival counts");
    }

    #[test]
    fn joining_leaves_what_a_reader_holds_alone() {
        let mut ring = Ring::default();
        let at = push(&mut ring, Offsets::default(), Stream::Stdout, b"ab", 0);
        let held = ring.read(Selection::Both, 1, 10);
        push(&mut ring, at, Stream::Stdout, b"cd", 0);
        assert_eq!(held[0].bytes, "b");
        assert_eq!(ring.read(Selection::Both, 1, 10)[0].bytes, "bcd");
    }

    #[test]
    fn a_large_segment_is_cut_and_small_ones_go_whole() {
        let mut ring = Ring::default();
        let at = push(&mut ring, Offsets::default(), Stream::Stdout, &[b'x'; 10_000], 0);
        push(&mut ring, at, Stream::Stderr, b"end", 0);
        let cap = 8_000;
        let gone: Vec<Segment> = std::iter::from_fn(|| ring.pop_above(cap)).collect();
        assert_eq!(ring.cost(), cap);
        assert_eq!(gone.len(), 1);
        assert_eq!(ring.start().map(|at| at.stdout), Some(gone[0].bytes.len() as u64));
        let gone: u64 = std::iter::from_fn(|| ring.pop_above(300)).map(|segment| segment.bytes.len() as u64).sum();
        assert!(ring.cost() <= 300 && gone > 0);
        assert_eq!(ring.read(Selection::Stderr, 0, 10)[0].bytes, "end");
    }

    #[test]
    fn what_hangs_on_a_reader() {
        let mut ring = Ring::default();
        let at = push(&mut ring, Offsets::default(), Stream::Stdout, b"abc", 0);
        push(&mut ring, at, Stream::Stderr, b"12345", 0);
        let all = 8 + 2 * SEGMENT_COST;
        let table = [
            (Selection::Both, 0, all),
            (Selection::Stdout, 2, all),
            (Selection::Stdout, 3, 0),
            (Selection::Stderr, 0, 5 + SEGMENT_COST),
            (Selection::Both, 8, 0),
        ];
        for (selection, cursor, expected) in table {
            assert_eq!(ring.cost_from(selection, cursor), expected, "{selection:?} {cursor}");
        }
    }
}
