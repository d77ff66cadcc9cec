use super::super::ring::SEGMENT_COST;
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
    output.append(Stream::Stdout, Bytes::from(vec![b'x'; RING_IDLE - SEGMENT_COST]), 1);
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

fn file(name: &str, cap: u64) -> (OutputFile, std::path::PathBuf) {
    let path = std::env::temp_dir().join(format!("execd-output-{name}-{}", std::process::id()));
    (OutputFile::new(&path, cap), path)
}

#[test]
fn single_bytes_cost_little_and_stay_in_order() {
    let output = Output::new(None);
    for n in 0..9000_u32 {
        output.append(Stream::Stdout, Bytes::copy_from_slice(&n.to_le_bytes()[..1]), u64::from(n / 100));
    }
    assert!(output.in_memory() < 9000 + 4 * SEGMENT_COST);
    let expected: Vec<u8> = (0..9000_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(read_all(&output, Selection::Both, 0), (expected, 0));
}

#[test]
fn alternating_streams_are_bounded_by_what_they_cost() {
    let output = Output::new(None);
    for n in 0..20_000 {
        output.append(if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr }, Bytes::from_static(b"x"), 1);
    }
    assert!(output.in_memory() <= RING_IDLE);
    let (all, lost) = read_all(&output, Selection::Both, 0);
    assert_eq!(all.len() as u64 + lost, output.total());
    assert_eq!(lost, output.lost());
}

#[test]
fn once_closed_the_file_stands_for_the_ring() {
    let (file, path) = file("stands", 1 << 20);
    let output = Output::new(Some(file));
    output.append(Stream::Stdout, Bytes::from(vec![b'x'; 50_000]), 1);
    output.append(Stream::Stderr, Bytes::from_static(b"E"), 1);
    assert!(output.in_memory() > 50_000);
    output.close();
    assert_eq!(output.in_memory(), 0);
    assert_eq!(output.lost(), 0);
    assert_eq!(read_all(&output, Selection::Both, 49_999), (b"xE".to_vec(), 0));
    assert_eq!(read_all(&output, Selection::Stderr, 0), (b"E".to_vec(), 0));
    std::fs::remove_file(path).expect("cleanup");
    let chunk = output.read(Selection::Both, 1);
    assert_eq!((chunk.lost, chunk.next, chunk.end), (50_000, 50_001, true), "a file that is gone is a loss");
}

#[test]
fn what_the_file_does_not_hold_stays_in_memory() {
    let (file, path) = file("tail", 1000);
    let output = Output::new(Some(file));
    output.append(Stream::Stdout, Bytes::from(vec![b'x'; 600]), 1);
    output.append(Stream::Stderr, Bytes::from(vec![b'y'; 600]), 1);
    output.append(Stream::Stderr, Bytes::from(vec![b'z'; 60_000]), 1);
    output.close();
    assert!(output.in_memory() > 60_000 && output.lost() == 0);
    output.settle();
    assert!(output.in_memory() <= RING_SETTLED);
    let (all, lost) = read_all(&output, Selection::Both, 0);
    assert_eq!(all.len() as u64 + lost, output.total());
    assert_eq!(lost, output.lost());
    std::fs::remove_file(path).expect("cleanup");
}

#[test]
fn a_follower_keeps_its_bytes_beyond_the_end() {
    let output = Output::new(None);
    let id = output.follow(Selection::Both, 0);
    for _ in 0..4 {
        output.append(Stream::Stdout, Bytes::from(vec![b'x'; RING_IDLE]), 1);
    }
    output.close();
    output.settle();
    let chunk = output.read(Selection::Both, 0);
    assert_eq!((chunk.lost, chunk.next), (0, RING_IDLE as u64));
    output.unfollow(id);
    assert!(output.in_memory() <= RING_SETTLED);
    let read = chunk.next;
    assert_eq!(output.lost(), output.total() - read - (RING_SETTLED - SEGMENT_COST) as u64);
}

#[test]
fn what_comes_after_the_end_is_counted() {
    let (file, path) = file("late", 1 << 20);
    let output = Output::new(Some(file));
    output.append(Stream::Stdout, Bytes::from_static(b"early "), 1);
    output.close();
    output.append(Stream::Stdout, Bytes::from_static(b"late"), 1);
    assert_eq!(read_all(&output, Selection::Both, 0), (b"early late".to_vec(), 0));
    std::fs::remove_file(path).expect("cleanup");
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
