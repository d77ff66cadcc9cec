//! Supervisors ready to be used: forked ahead, one for each shape that was asked for, so that a start costs a message and an exec.

use crate::supervisor::protocol::{Fork, Shape};
use crate::supervisor::zygote::Zygote;
use crate::sys::fdpass;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shapes that have a reserve: the first ones that are expected or asked for. The built-in types have two; what has none, and each for its
/// first time, starts some milliseconds later.
const MAX_RESERVES: usize = 4;

/// The zygote and the supervisors that wait.
#[derive(Debug)]
pub struct Pool {
    zygote: Zygote,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_slot: u32,
    reserves: Vec<Reserve>,
}

#[derive(Debug)]
struct Reserve {
    shape: Shape,
    /// Until it is taken.
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

impl Inner {
    /// The reserve of a shape, a place for it being made where there is room.
    fn of(&mut self, shape: Shape) -> Option<&mut Reserve> {
        let known = self.reserves.iter().position(|reserve| reserve.shape == shape);
        if known.is_none() && self.reserves.len() < MAX_RESERVES {
            self.reserves.push(Reserve { shape, warm: None });
            return self.reserves.last_mut();
        }
        known.map(|at| &mut self.reserves[at])
    }
}

impl Pool {
    /// Starts empty.
    pub fn new(zygote: Zygote) -> Pool {
        Pool { zygote, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// pid of the zygote.
    pub fn zygote_pid(&self) -> i32 {
        self.zygote.pid
    }

    /// There will be starts of this shape, and of the ones before not for certain: they give their places up.
    pub fn expect(&self, shape: Shape) {
        let mut inner = self.lock();
        inner.reserves.retain(|reserve| reserve.shape == shape);
        inner.of(shape);
        drop(inner);
        self.refill();
    }

    /// The one in reserve, or a new one that is still getting ready: messages wait in its socket.
    pub fn take(&self, shape: Shape) -> io::Result<Supervised> {
        let mut inner = self.lock();
        match inner.of(shape).and_then(|reserve| reserve.warm.take()) {
            Some(supervised) => Ok(supervised),
            None => self.fork(&mut inner.last_slot, shape),
        }
    }

    /// See [`Zygote::note_spare`].
    pub fn note_spare(&self, path: &Path) {
        // A zygote that is behind does not learn of it, which costs an empty folder at worst.
        let _ = self.zygote.note_spare(path);
    }

    /// Forks the reserves that are missing. A failure shows at the next `take`.
    pub fn refill(&self) {
        let Inner { last_slot, reserves } = &mut *self.lock();
        for Reserve { shape, warm } in reserves.iter_mut().filter(|reserve| reserve.warm.is_none()) {
            *warm = self.fork(last_slot, *shape).ok();
        }
    }

    /// Ends a supervisor that does not answer.
    pub fn kill(&self, slot: u32) {
        let _ = self.zygote.kill(slot);
    }

    /// Lets the reserves and the zygote go; the zygote ends when its supervisors have.
    pub fn retire(&self) {
        self.lock().reserves.clear();
        // A zygote that is dead already has no other end to shut down.
        let _ = nix::sys::socket::shutdown(self.zygote.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    fn fork(&self, last_slot: &mut u32, shape: Shape) -> io::Result<Supervised> {
        let slot = last_slot.wrapping_add(1);
        *last_slot = slot;
        let (ours, theirs) = fdpass::packet_pair()?;
        self.zygote.request(Fork { slot, shape }, theirs.as_fd())?;
        Ok(Supervised { slot, socket: ours })
    }
}
