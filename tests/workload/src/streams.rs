//! Programs that use their three streams hard.

use crate::json::Object;
use crate::memory::raw_stdout;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// `y` lines as fast as they are taken, for `ms` or for ever.
pub(crate) fn yes(ms: Option<u64>) {
    let lines = b"y\n".repeat(32 << 10);
    let end = ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let mut out = raw_stdout();
    while end.is_none_or(|end| Instant::now() < end) {
        if out.write_all(&lines).is_err() {
            return;
        }
    }
}

/// Copies stdin to stdout; on stderr it says how much it was.
pub(crate) fn echo_stdin() {
    let mut buffer = vec![0u8; 64 << 10];
    let (mut bytes, mut sum) = (0u64, 0u64);
    let (mut input, mut out) = (std::io::stdin().lock(), raw_stdout());
    while let Ok(n) = input.read(&mut buffer) {
        if n == 0 || out.write_all(&buffer[..n]).is_err() {
            break;
        }
        bytes += n as u64;
        sum = buffer[..n].iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    }
    eprintln!("{}", Object::new().value("bytes", bytes).value("sum", sum).render());
}

/// `bytes` to stderr, all of them, and then `bytes` to stdout.
pub(crate) fn interleave(bytes: u64) {
    let chunk = [b'e'; 4096];
    for _ in 0..bytes / 4096 {
        let _ = std::io::stderr().write_all(&chunk);
    }
    let chunk = [b'o'; 4096];
    let mut out = raw_stdout();
    for _ in 0..bytes / 4096 {
        let _ = out.write_all(&chunk);
    }
}

/// `bytes` whose value at each offset is known (`offset % 251`), so that a gap or a repeat is seen.
pub(crate) fn pattern(bytes: u64) {
    let cycle: Vec<u8> = (0..251u32 * 256).map(|i| (i % 251) as u8).collect();
    let mut out = raw_stdout();
    let mut left = bytes as usize;
    while left > 0 {
        let n = left.min(cycle.len());
        if out.write_all(&cycle[..n]).is_err() {
            return;
        }
        left -= n;
    }
}
