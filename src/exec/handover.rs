//! Giving a specification and its streams to a supervisor.

use super::driver::Job;
use super::network::Proxied;
use super::pipes::{self, Pipes};
use super::pool::{Pool, Supervised};
use crate::supervisor::parcel::Parcel;
use crate::supervisor::protocol::{self, Order, Shape, Spec};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// All that a supervisor needs for one attempt.
pub(super) struct Handover {
    order: Order,
    shape: Shape,
    /// the parcel's own descriptor
    beside: Option<OwnedFd>,
    pipes: Pipes,
}

/// A supervisor that has it.
pub(super) struct Handed {
    pub(super) supervised: Supervised,
    pub(super) pipes: Pipes,
}

impl Handover {
    pub(super) fn prepare(job: &Job, proxied: Option<&Proxied>) -> io::Result<Handover> {
        let pipes = pipes::open(&job.stdin)?;
        let (parcel, beside) = match proxied.zip(job.egress.as_ref()) {
            None => Parcel::pack(&job.spec)?,
            Some((proxied, egress)) => {
                let env = proxied.environment(&job.spec.env, &egress.own_variables)?;
                Parcel::pack(&Spec { env, ..job.spec.clone() })?
            }
        };
        Ok(Handover { order: Order::Start(parcel), shape: job.spec.shape(), beside, pipes })
    }

    /// Sends it. One that died in reserve is replaced once. A zygote that is behind is [`io::ErrorKind::WouldBlock`].
    pub(super) fn send(&self, pool: &Pool, proxied: Option<&Proxied>) -> io::Result<Supervised> {
        let mut fds: Vec<BorrowedFd<'_>> = self.pipes.child.iter().flatten().map(AsFd::as_fd).collect();
        fds.extend(proxied.and_then(Proxied::listener).map(AsFd::as_fd));
        fds.extend(self.beside.as_ref().map(AsFd::as_fd));
        let attempt = || -> io::Result<Supervised> {
            let supervised = pool.take(self.shape)?;
            protocol::offer(supervised.socket.as_fd(), &self.order, &fds)?;
            Ok(supervised)
        };
        attempt().or_else(|_| attempt())
    }

    /// It is with `supervised`: the child's ends are not ours any more.
    pub(super) fn done(mut self, supervised: Supervised) -> Handed {
        self.pipes.child = None;
        Handed { supervised, pipes: self.pipes }
    }

    /// Before anything else is known of the execution: what the daemon keeps of it is made while the supervisor works. `None` where that
    /// cannot be; its driver then tries, and says why not.
    pub(super) fn at_once(job: &Job, pool: &Pool) -> Option<Handed> {
        if job.egress.is_some() {
            return None;
        }
        let handover = Handover::prepare(job, None).ok()?;
        let supervised = handover.send(pool, None).ok()?;
        Some(handover.done(supervised))
    }
}
