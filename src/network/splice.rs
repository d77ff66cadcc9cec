//! Bytes from socket to socket through a pipe, without a copy into the daemon (splice(2)).

use nix::fcntl::{OFlag, SpliceFFlags, splice};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Asked for at once; a pipe takes what it has room for.
const MOST: usize = 1 << 20;
/// Room of a pipe where the kernel grants it, in bytes.
const ROOM: i32 = 1 << 18;

/// A pipe that is empty between calls.
pub(super) struct Pipe {
    inlet: OwnedFd,
    outlet: OwnedFd,
}

impl Pipe {
    /// A new pipe.
    pub(super) fn new() -> io::Result<Pipe> {
        let (outlet, inlet) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Users have a budget of pipe memory; the usual 64 KiB do as well.
        let _ = nix::fcntl::fcntl(&inlet, nix::fcntl::FcntlArg::F_SETPIPE_SZ(ROOM));
        Ok(Pipe { inlet, outlet })
    }

    /// Moves what there is; 0 is the end of `from`.
    pub(super) async fn carry(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<usize> {
        let taken = from.async_io(Interest::READABLE, || flow(from, &self.inlet, MOST)).await?;
        let mut left = taken;
        while left > 0 {
            let passed = to.async_io(Interest::WRITABLE, || flow(&self.outlet, to, left)).await?;
            if passed == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left -= passed;
        }
        Ok(taken)
    }
}

fn flow(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, most, flags)?)
}
