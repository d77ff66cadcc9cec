//! One direction of a tunnel: bytes from a socket to another, until the end of the first is passed on.
//!
//! While little passes it holds no buffer between two readings; much goes through a pipe, without a copy into the daemon (splice(2)).

use super::connect_head::ConnectHead;
use super::egress::Egress;
use super::hello;
use super::stream::SMALL_READ;
use bytes::{Buf, BytesMut};
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A direction that has carried this much is worth a pipe.
const LARGE: u64 = 256 * 1024;
/// Asked of a pipe at once; it takes what it has room for.
const MOST: usize = 1 << 20;
/// Room of a pipe where the kernel grants it, in bytes.
const ROOM: i32 = 1 << 20;

/// A direction.
#[derive(Default)]
pub(super) struct Way {
    /// read and not yet written
    held: BytesMut,
    /// what is held may not be passed on before it is clear what it is
    unclear: bool,
    pipe: Option<Pipe>,
    /// bytes that came
    passed: u64,
    /// the end came
    ended: bool,
    /// the end was passed on
    over: bool,
}

struct Pipe {
    inlet: OwnedFd,
    outlet: OwnedFd,
    /// bytes inside
    filled: usize,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (outlet, inlet) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Users have a budget of pipe memory; the usual 64 KiB do as well.
        let _ = fcntl(&inlet, FcntlArg::F_SETPIPE_SZ(ROOM));
        Ok(Pipe { inlet, outlet, filled: 0 })
    }
}

impl Way {
    /// A direction whose first bytes came already and are to be looked at.
    pub(super) fn inspected(first: BytesMut) -> Way {
        Way { passed: first.len() as u64, held: first, unclear: true, ..Way::default() }
    }

    /// Bytes that came so far and may be passed on.
    pub(super) fn passed(&self) -> u64 {
        if self.unclear { 0 } else { self.passed }
    }

    /// Carries what can be carried now; ready when the end was passed on.
    ///
    /// # Errors
    /// What a socket says; `PermissionDenied` when the first bytes ask for what is not allowed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        rules: (&Egress, &ConnectHead),
    ) -> Poll<io::Result<()>> {
        while !self.over {
            if self.unclear && hello::may_pass(rules.0, rules.1, &self.held, self.ended)? {
                self.unclear = false;
            }
            if !self.unclear && self.is_holding() {
                ready!(to.poll_write_ready(cx))?;
                match to.try_io(Interest::WRITABLE, || self.write(to)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => result?,
                }
            } else if self.ended {
                // A peer that is gone needs no end.
                let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
                self.over = true;
            } else {
                ready!(from.poll_read_ready(cx))?;
                match from.try_io(Interest::READABLE, || self.read(from)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => result?,
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_holding(&self) -> bool {
        !self.held.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.filled > 0)
    }

    fn read(&mut self, from: &TcpStream) -> io::Result<()> {
        if self.passed >= LARGE && self.pipe.is_none() && self.held.is_empty() {
            // Without descriptors for a pipe it stays with copies.
            self.pipe = Pipe::new().ok();
        }
        let came = match &mut self.pipe {
            Some(pipe) => {
                pipe.filled = splice(from, None, &pipe.inlet, None, MOST, FLAGS)?;
                pipe.filled
            }
            None => {
                let before = self.held.len();
                self.held.resize(before + SMALL_READ, 0);
                let result = nix::unistd::read(from, &mut self.held[before..]);
                self.held.truncate(before + result.unwrap_or(0));
                result?
            }
        };
        self.ended = came == 0;
        self.passed += came as u64;
        Ok(())
    }

    fn write(&mut self, to: &TcpStream) -> io::Result<()> {
        if self.held.is_empty() {
            if let Some(pipe) = &mut self.pipe {
                pipe.filled -= splice(&pipe.outlet, None, to, None, pipe.filled, FLAGS)?.min(pipe.filled);
            }
            return Ok(());
        }
        let written = nix::sys::socket::send(to.as_raw_fd(), &self.held, nix::sys::socket::MsgFlags::MSG_NOSIGNAL)?;
        self.held.advance(written);
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        Ok(())
    }
}

const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_MOVE.union(SpliceFFlags::SPLICE_F_NONBLOCK);
