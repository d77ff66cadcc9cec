//! Supervisors ready to be used: one is forked ahead, so that a start costs a message and an exec.

use crate::supervisor::protocol::Fork;
use crate::supervisor::zygote::Zygote;
use crate::sys::fdpass;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The zygote and the supervisor that waits.
#[derive(Debug)]
pub struct Pool {
    zygote: Zygote,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    next_slot: u32,
    warm: Option<Supervised>,
}

/// A supervisor of ours: its socket and the number of its groups.
#[derive(Debug)]
pub struct Supervised {
    /// number of its cgroup folders
    pub slot: u32,
    /// packet socket to it
    pub socket: OwnedFd,
}

impl Pool {
    /// Starts with one in reserve.
    pub fn new(zygote: Zygote) -> Pool {
        let pool = Pool { zygote, inner: Mutex::new(Inner { next_slot: 1, warm: None }) };
        pool.refill(None);
        pool
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// pid of the zygote.
    pub fn zygote_pid(&self) -> i32 {
        self.zygote.pid
    }

    /// The one in reserve, or a new one that is still getting ready: messages wait in its socket.
    pub fn take(&self) -> io::Result<Supervised> {
        let mut inner = self.lock();
        match inner.warm.take() {
            Some(supervised) => Ok(supervised),
            None => self.fork(&mut inner, None),
        }
    }

    /// Forks a reserve if there is none; it also takes care of `spare`. A failure shows at the next `take`.
    pub fn refill(&self, spare: Option<&Path>) {
        let mut inner = self.lock();
        if inner.warm.is_none() {
            inner.warm = self.fork(&mut inner, spare).ok();
        }
    }

    /// Ends a supervisor that does not answer.
    pub fn kill(&self, slot: u32) {
        let _ = self.zygote.kill(slot);
    }

    /// Lets the reserve and the zygote go; the zygote ends when its supervisors have.
    pub fn retire(&self) {
        self.lock().warm = None;
        // A zygote that is dead already has no other end to shut down.
        let _ = nix::sys::socket::shutdown(self.zygote.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    fn fork(&self, inner: &mut Inner, spare: Option<&Path>) -> io::Result<Supervised> {
        let slot = inner.next_slot;
        inner.next_slot = slot.wrapping_add(1);
        let (ours, theirs) = fdpass::packet_pair()?;
        self.zygote.request(Fork { slot, spare: spare.map(Path::to_owned) }, theirs.as_fd())?;
        Ok(Supervised { slot, socket: ours })
    }
}
