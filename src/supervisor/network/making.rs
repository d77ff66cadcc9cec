//! Sockets that we make for the program: socket(2), and what we must know of bind(2) and listen(2) because we keep duplicates.

use super::broker::{Ask, Broker, Reply};
use super::target::{Found, Target, errno};
use crate::sys::seccomp::{self, Answer};
use crate::sys::{socket, time};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Sockets that wait at once for room, or for calls to pass; one more fails with `ENOBUFS`, as one does that has waited too long.
const MAX_ORDERS: usize = 64;
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Between two looks at the calls that pass.
const LOOK: Duration = Duration::from_millis(1);

/// A socket that a program wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    id: u64,
    target: Target,
    domain: i32,
    kind: i32,
    protocol: i32,
    look_at: Duration,
    until: Duration,
}

impl Order {
    fn is_for_datagrams(&self) -> bool {
        /// `SOCK_TYPE_MASK` (linux/net.h).
        const KIND: i32 = 0xf;
        matches!(self.domain, libc::AF_INET | libc::AF_INET6) && self.kind & KIND != libc::SOCK_STREAM
    }

    pub(super) fn next_at(&self) -> Duration {
        self.look_at
    }
}

impl Broker {
    /// socket(2).
    pub(super) fn make(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        let [domain, kind, protocol] = [0, 1, 2].map(|index| ask.argument(index) as i32);
        let now = time::monotonic();
        let (look_at, until) = (now + LOOK, now + LONGEST_WAIT);
        let order = Order { id: ask.call.id, target: ask.target, domain, kind, protocol, look_at, until };
        if !self.has_room() || (order.is_for_datagrams() && !self.passing.settle()) {
            if self.orders.len() >= MAX_ORDERS {
                return Err(libc::ENOBUFS);
            }
            self.orders.push(order);
            return Ok(Reply::Done);
        }
        self.make_now(ask.listener, &order).map(|()| Reply::Done)
    }

    /// Looks for closed sockets when there is no room for one more.
    fn has_room(&mut self) -> bool {
        if self.made.is_full() {
            self.let_go(true);
        }
        !self.made.is_full()
    }

    /// Makes a socket and hands it over, which answers the call.
    fn make_now(&mut self, listener: BorrowedFd<'_>, order: &Order) -> Result<(), i32> {
        // Made without our rights: netlink and others remember who opened them.
        let made = order.target.with_its_rights(|| {
            let kind = order.kind | libc::SOCK_CLOEXEC;
            socket::create(order.domain, kind, order.protocol).map_err(|error| errno(&error))
        })?;
        let close_on_exec = order.kind & libc::SOCK_CLOEXEC != 0;
        let copy = made.try_clone().map_err(|error| errno(&error))?;
        if !self.made.keep(copy, order.is_for_datagrams(), time::monotonic()) {
            return Err(libc::EMFILE);
        }
        seccomp::hand_over(listener, order.id, made.as_fd(), close_on_exec).map_err(|error| errno(&error))
    }

    /// Makes what was ordered, once there is room, and for datagrams once no call is passing.
    pub(super) fn advance_orders(&mut self, listener: BorrowedFd<'_>) {
        if self.orders.is_empty() {
            return;
        }
        let (now, clear) = (time::monotonic(), self.passing.settle());
        for mut order in std::mem::take(&mut self.orders) {
            let may = self.has_room() && (clear || !order.is_for_datagrams());
            let failed = match may {
                true => self.make_now(listener, &order).err(),
                false if now >= order.until => Some(libc::ENOBUFS),
                false => {
                    order.look_at = now + LOOK;
                    self.orders.push(order);
                    None
                }
            };
            if let Some(errno) = failed {
                let _ = seccomp::answer(listener, order.id, Answer::Errno(errno));
            }
        }
    }

    /// bind(2): no duplicate of a socket that is closed may hold the address.
    pub(super) fn note_bind(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        if self.made.has_bound() {
            self.let_go(true);
        }
        if let Some(inode) = self.made_by_us(ask) {
            self.made.note_bound(inode);
        }
        Ok(Reply::Now(Answer::Continue))
    }

    /// listen(2): it will not connect any more.
    pub(super) fn note_listen(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        if let Some(inode) = self.made_by_us(ask) {
            self.made.release(inode);
        }
        Ok(Reply::Now(Answer::Continue))
    }

    fn made_by_us(&self, ask: &Ask<'_>) -> Option<u64> {
        match ask.target.socket(ask.fd(), &self.made) {
            Ok(Found::Held(held)) => held.inode,
            Ok(Found::Strange(..)) | Err(_) => None,
        }
    }
}
