//! The daemon's ends of an execution's standard streams.

use super::output::{Output, Stream};
use super::request::Stdin;
use crate::sys::time::unix_ms;
use bytes::{Bytes, BytesMut};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

/// First read buffer; output of most programs fits.
const BLOCK_MIN: usize = 4 << 10;
/// Read buffer of a program that fills the small one.
const BLOCK_MAX: usize = 256 << 10;
/// Blocks kept for another use: those that a full ring can hold, and a few.
const RETIRED_MAX: usize = 12;
/// What a pipe holds unless told otherwise (pipe(7)).
const PIPE_USUAL: usize = 64 << 10;
/// Pipe of a program that fills the usual one while somebody follows.
const PIPE_SIZE: i32 = 512 << 10;
/// Bytes per second above which a stream may be slowed down for the sake of a follower.
const FLOOR_RATE: u64 = 256 << 20;
/// Most waiting time that a stream can save up.
const CREDIT_MAX: Duration = Duration::from_millis(200);

/// Both sides of the three streams.
#[derive(Debug)]
pub struct Pipes {
    /// for the child: stdin, stdout, stderr; nothing once it has them
    pub child: Option<[OwnedFd; 3]>,
    /// where its stdin comes from, when it is a pipe
    pub stdin: Option<pipe::Sender>,
    /// its stdout
    pub stdout: pipe::Receiver,
    /// its stderr
    pub stderr: pipe::Receiver,
}

/// Makes the pipes of one attempt.
pub fn open(stdin: &Stdin) -> io::Result<Pipes> {
    let (child_in, ours_in) = match stdin {
        Stdin::Empty => (OwnedFd::from(File::open("/dev/null")?), None),
        Stdin::Bytes(_) | Stdin::Open => {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            (read, Some(pipe::Sender::from_owned_fd(write)?))
        }
    };
    let (out_read, out_write) = pipe2(OFlag::O_CLOEXEC)?;
    let (err_read, err_write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok(Pipes {
        child: Some([child_in, out_write, err_write]),
        stdin: ours_in,
        stdout: pipe::Receiver::from_owned_fd(out_read)?,
        stderr: pipe::Receiver::from_owned_fd(err_read)?,
    })
}

/// Writes everything, then closes. A reader that went away is not an error.
pub async fn feed(mut stdin: pipe::Sender, bytes: Bytes) {
    let _ = stdin.write_all(&bytes).await;
}

/// Moves one stream into the output until its end.
pub async fn pump(mut pipe: pipe::Receiver, stream: Stream, output: Arc<Output>) {
    let mut blocks = Blocks::default();
    let mut patience = Patience::default();
    let mut grown = false;
    loop {
        let block = blocks.writable();
        let room = block.capacity();
        match pipe.read_buf(block).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                patience.earn(length);
                output.append(stream, taken(block), unix_ms());
                if length == room {
                    blocks.grow();
                }
                // Only for a follower: without one the ring is small, and what a large pipe still holds of one stream would push out the last
                // words of the other.
                if !grown && length >= PIPE_USUAL && output.is_followed() {
                    grown = true;
                    // Not allowed to everybody; then reads stay short.
                    let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
                }
            }
        }
        while output.is_held_up() {
            output.progressed().await;
        }
        if output.is_pressed() {
            patience.wait_for_followers(&output).await;
        } else {
            // Readers run in the same thread: let them have what has just arrived.
            tokio::task::yield_now().await;
        }
    }
}

/// What was read into a block. A short read is copied out: each would keep a block in memory, and leave it too little room for the next.
fn taken(block: &mut BytesMut) -> Bytes {
    if block.len() >= BLOCK_MIN {
        return block.split().freeze();
    }
    let bytes = Bytes::copy_from_slice(block);
    block.clear();
    bytes
}

/// Read buffers that are used again once nobody holds a segment of them any more: fresh memory for each read would cost more in
/// page faults than the copy itself.
#[derive(Debug)]
struct Blocks {
    now: BytesMut,
    retired: VecDeque<BytesMut>,
    size: usize,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { now: BytesMut::new(), retired: VecDeque::new(), size: BLOCK_MIN }
    }
}

impl Blocks {
    /// A block with room for a read.
    fn writable(&mut self) -> &mut BytesMut {
        if self.now.capacity() < self.size.min(BLOCK_MIN) {
            let next = self.recycled().unwrap_or_else(|| BytesMut::with_capacity(self.size));
            let full = std::mem::replace(&mut self.now, next);
            if self.size == BLOCK_MAX {
                self.retired.push_back(full);
            }
            // The first one is of a smaller size and never fits: it must not stand in the way of the others.
            if self.retired.len() > RETIRED_MAX {
                self.retired.pop_front();
            }
        }
        &mut self.now
    }

    /// The oldest block, if it is free again: segments leave the ring in the order in which they came.
    fn recycled(&mut self) -> Option<BytesMut> {
        let mut oldest = self.retired.pop_front()?;
        if oldest.try_reclaim(self.size) {
            return Some(oldest);
        }
        self.retired.push_front(oldest);
        None
    }

    /// A full buffer asks for larger ones, so that a fast stream takes few system calls.
    fn grow(&mut self) {
        self.size = (self.size * 4).min(BLOCK_MAX);
    }
}

/// A bounded willingness to wait for a follower that is about to lose bytes: an execution never blocks on a slow reader.
///
/// Every byte that passes earns the time in which it passes at `FLOOR_RATE`, so waiting can slow an execution down to half of that rate and
/// no further, and a reader that stops costs it `CREDIT_MAX` once: then it falls out of the ring and is waited for no more.
#[derive(Debug)]
struct Patience {
    credit: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { credit: CREDIT_MAX / 4 }
    }
}

impl Patience {
    fn earn(&mut self, bytes: usize) {
        let earned = Duration::from_nanos(bytes as u64 * 1_000_000_000 / FLOOR_RATE);
        self.credit = (self.credit + earned).min(CREDIT_MAX);
    }

    async fn wait_for_followers(&mut self, output: &Output) {
        while output.is_pressed() && !self.credit.is_zero() {
            let began = tokio::time::Instant::now();
            let in_time = tokio::time::timeout(self.credit, output.progressed()).await.is_ok();
            self.credit = if in_time { self.credit.saturating_sub(began.elapsed()) } else { Duration::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_reads_keep_to_one_block() {
        let mut blocks = Blocks::default();
        let mut kept = Vec::new();
        let mut seen = HashSet::new();
        for n in 0..1000_usize {
            let block = blocks.writable();
            assert!(block.capacity() >= BLOCK_MIN);
            seen.insert(block.as_ptr() as usize);
            block.resize(1 + n % (BLOCK_MIN - 1), n as u8);
            kept.push(taken(block));
        }
        assert_eq!(seen.len(), 1);
        let right = |(n, bytes): (usize, &Bytes)| {
            bytes.len() == 1 + n % (BLOCK_MIN - 1) && bytes.iter().all(|byte| *byte == n as u8)
        };
        assert!(kept.iter().enumerate().all(right));
    }

    #[test]
    fn a_fast_stream_settles_on_a_few_blocks() {
        let mut blocks = Blocks::default();
        let mut ring = VecDeque::new();
        let mut seen = HashSet::new();
        for n in 0..200 {
            let block = blocks.writable();
            let room = block.capacity();
            block.resize(room, 1);
            if n >= 100 {
                seen.insert(block.as_ptr() as usize);
            }
            ring.push_back(taken(block));
            if ring.len() > 8 {
                ring.pop_front();
            }
            blocks.grow();
        }
        assert!(seen.len() <= RETIRED_MAX + 1, "{} different blocks", seen.len());
    }
}
