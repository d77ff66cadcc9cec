//! The daemon's ends of an execution's standard streams.

use super::output::{Output, Stream};
use super::request::Stdin;
use crate::sys::time::unix_ms;
use bytes::{Bytes, BytesMut};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
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
const BLOCK_MAX: usize = 128 << 10;
/// Longest single wait for a follower that is about to lose bytes.
const PATIENCE: Duration = Duration::from_millis(10);
/// Share of time that may be spent waiting for followers: a slow reader costs an execution at most a tenth of its speed.
const PATIENCE_SHARE: u32 = 10;

/// Both sides of the three streams.
#[derive(Debug)]
pub struct Pipes {
    /// for the child: stdin, stdout, stderr
    pub child: [OwnedFd; 3],
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
        child: [child_in, out_write, err_write],
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
    let mut block = BytesMut::new();
    let mut size = BLOCK_MIN;
    let mut patience = Patience::default();
    loop {
        if block.capacity() < size.min(BLOCK_MIN) {
            block = BytesMut::with_capacity(size);
        }
        let room = block.capacity();
        match pipe.read_buf(&mut block).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                // A full buffer asks for a larger one, so that a fast stream takes few system calls.
                if length == room {
                    size = (size * 4).min(BLOCK_MAX);
                }
                output.append(stream, block.split().freeze(), unix_ms());
            }
        }
        if output.is_pressed() {
            patience.wait_for_followers(&output).await;
        } else {
            // Readers run in the same thread: let them have what has just arrived.
            tokio::task::yield_now().await;
        }
    }
}

/// A bounded willingness to wait: an execution never blocks on a slow reader.
#[derive(Debug, Default)]
struct Patience {
    began: Option<tokio::time::Instant>,
    spent: Duration,
}

impl Patience {
    async fn wait_for_followers(&mut self, output: &Output) {
        let began = *self.began.get_or_insert_with(tokio::time::Instant::now);
        loop {
            let waited = tokio::time::Instant::now();
            let allowed = began.elapsed() / PATIENCE_SHARE + PATIENCE;
            if self.spent >= allowed || !output.is_pressed() {
                return;
            }
            let in_time = tokio::time::timeout(PATIENCE, output.progressed()).await.is_ok();
            self.spent += waited.elapsed();
            if !in_time {
                return;
            }
        }
    }
}
