//! Who answers which call, and the state behind the answers.
//!
//! A call is answered by doing it for the program. Two kinds are left to the kernel (`CONTINUE`), because they cannot be a contact
//! whatever the program's memory says by then: calls on sockets that are neither IPv4 nor IPv6, and plain messages on TCP streams, in
//! both cases only while nobody can put another socket under the same number (see [`Target::is_alone`] and `send`).

use super::address;
use super::ledger::Ledger;
use super::making::Order;
use super::passing::Passing;
use super::policy::{self, Judgement};
use super::proxy_door::Door;
use super::sockets::Made;
use super::target::{Identity, Reach, Target};
use super::waiting::Waiting;
use crate::agent_type::OnLimit;
use crate::supervisor::protocol::{Contact, NetworkRules, NetworkUsage, Verdict};
use crate::sys::seccomp::{self, Answer, Call};
use crate::sys::{socket, time};
use nix::poll::PollFlags;
use nix::unistd::{getegid, geteuid, setgroups};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Attempts of non-blocking sockets that are remembered until they are asked about again.
const MAX_UNDER_WAY: usize = 256;

/// Refused because the limit is reached: what connect(2) names for a local firewall.
pub(super) const OVER_LIMIT: i32 = libc::EPERM;
/// Refused by a rule, whatever is left of the limit.
pub(super) const FORBIDDEN: i32 = libc::EACCES;

/// What comes of a call.
#[derive(Debug)]
pub(super) enum Reply {
    /// this, now
    Now(Answer),
    /// it was answered already
    Done,
    /// it waits
    Later(Waiting),
}

/// Something for the daemon.
#[derive(Debug)]
pub(crate) enum Post {
    /// a connection to the proxy
    Connection(OwnedFd),
    /// a refusal worth telling
    Denied(Contact),
}

/// A call with its caller.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) listener: BorrowedFd<'a>,
    pub(super) call: &'a Call,
    pub(super) target: Target,
}

impl Ask<'_> {
    /// What was read belongs to the caller, and somebody waits for the answer.
    ///
    /// # Errors
    /// `EINTR`, which nobody will see.
    pub(super) fn check(&self) -> Result<(), i32> {
        if seccomp::still_waits(self.listener, self.call.id) { Ok(()) } else { Err(libc::EINTR) }
    }

    pub(super) fn argument(&self, index: usize) -> u64 {
        self.call.args[index]
    }

    pub(super) fn fd(&self) -> i32 {
        self.call.args[0] as i32
    }
}

/// The network gate of one execution.
#[derive(Debug)]
pub(crate) struct Broker {
    rules: NetworkRules,
    reach: Reach,
    identity: Option<Identity>,
    supervisor: i32,
    pub(super) ledger: Ledger,
    pub(super) made: Made,
    pub(super) passing: Passing,
    pub(super) orders: Vec<Order>,
    pub(super) waiting: Vec<Waiting>,
    /// Cookies of non-blocking sockets whose attempt has begun and whose end nobody has asked about.
    under_way: VecDeque<u64>,
    door: Option<Door>,
    connections: Vec<OwnedFd>,
}

impl Broker {
    /// `uid`, `gid`: of the execution, where they are not ours.
    pub(crate) fn new(
        rules: NetworkRules,
        door: Option<OwnedFd>,
        reach: Reach,
        supervisor: i32,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Broker {
        let (own_uid, own_gid) = (geteuid().as_raw(), getegid().as_raw());
        let (uid, gid) = (uid.unwrap_or(own_uid), gid.unwrap_or(own_gid));
        let identity = (uid != own_uid || gid != own_gid).then_some(Identity { uid, gid, own_uid, own_gid });
        if identity.is_some() {
            // What we do in its name must not reach further through groups of ours.
            let _ = setgroups(&[]);
        }
        Broker {
            ledger: Ledger::new(rules.limit),
            rules,
            reach,
            identity,
            supervisor,
            made: Made::default(),
            passing: Passing::default(),
            orders: Vec::new(),
            waiting: Vec::new(),
            under_way: VecDeque::new(),
            door: door.and_then(Door::new),
            connections: Vec::new(),
        }
    }

    /// Answers a call, now or later (`None`).
    pub(crate) fn handle(&mut self, listener: BorrowedFd<'_>, call: &Call) -> Option<Answer> {
        let target = Target { tid: call.tid, reach: self.reach, identity: self.identity };
        let ask = Ask { listener, call, target };
        let reply = match i64::from(call.nr) {
            libc::SYS_connect => self.connect(&ask),
            libc::SYS_sendto => self.send_to(&ask),
            libc::SYS_sendmsg => self.send_message(&ask),
            libc::SYS_sendmmsg => self.send_messages(&ask),
            libc::SYS_socket => self.make(&ask),
            libc::SYS_bind => self.note_bind(&ask),
            libc::SYS_listen => self.note_listen(&ask),
            _ => Err(libc::ENOSYS),
        };
        match reply {
            Ok(Reply::Now(answer)) => Some(answer),
            Ok(Reply::Done) => None,
            Ok(Reply::Later(waiting)) => self.wait(waiting),
            Err(errno) => Some(Answer::Errno(errno)),
        }
    }

    /// Judges and counts. The error is what the program sees.
    pub(super) fn admit(&mut self, to: SocketAddr, udp: bool) -> Result<Judgement, i32> {
        let port = self.door.as_ref().map(Door::port);
        let judgement = policy::judge(&self.rules, port, to, udp, is_local);
        match judgement {
            Judgement::Free | Judgement::Proxy => Ok(judgement),
            Judgement::Forbidden => {
                self.ledger.forbid(to, udp, now_ms());
                Err(FORBIDDEN)
            }
            Judgement::Counted => {
                let verdict = if udp { self.ledger.datagram(to, now_ms()) } else { self.ledger.stream(to, now_ms()) };
                if verdict == Verdict::Allowed { Ok(judgement) } else { Err(OVER_LIMIT) }
            }
        }
    }

    /// A socket was connected to the proxy's door.
    pub(super) fn greet(&mut self, socket: BorrowedFd<'_>) {
        if let Some(door) = &mut self.door {
            door.expect(socket);
            self.connections.extend(door.take());
        }
    }

    pub(super) fn note_under_way(&mut self, cookie: u64) {
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back(cookie);
    }

    /// Whether an attempt of this socket had begun; it is forgotten.
    pub(super) fn forget_under_way(&mut self, cookie: u64) -> bool {
        let index = self.under_way.iter().position(|known| *known == cookie);
        index.is_some_and(|index| self.under_way.remove(index).is_some())
    }

    /// Lets go of sockets that the execution has closed.
    pub(super) fn let_go(&mut self, at_once: bool) {
        self.made.let_go(self.supervisor, self.identity, at_once, time::monotonic());
    }

    /// Descriptors to wait for besides the listener.
    pub(crate) fn poll_fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let door = self.door.as_ref().map(|door| (door.as_fd(), PollFlags::POLLIN));
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.poll_fd()).map(|fd| (fd, PollFlags::POLLOUT));
        door.into_iter().chain(waiting).collect()
    }

    /// Monotonic time of the next duty.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        let orders = self.orders.iter().map(Order::next_at);
        self.waiting.iter().map(Waiting::next_at).chain(orders).chain(self.made.next_at()).min()
    }

    /// Goes on with whatever may have become ready or due.
    pub(crate) fn advance(&mut self, listener: BorrowedFd<'_>) {
        self.advance_orders(listener);
        self.advance_waiting(listener);
        if let Some(door) = &mut self.door {
            self.connections.extend(door.take());
        }
        if self.made.next_at().is_some_and(|at| time::monotonic() >= at) {
            self.let_go(false);
        }
    }

    /// What the daemon should know now.
    pub(crate) fn post(&mut self) -> Vec<Post> {
        let connections = self.connections.drain(..).map(Post::Connection);
        connections.chain(self.ledger.refusals().into_iter().map(Post::Denied)).collect()
    }

    /// A connection could not be posted, and ended for the program.
    pub(crate) fn note_dropped_connection(&mut self) {
        self.ledger.note_dropped_connection();
    }

    /// Figures, if they changed since they were asked for last.
    pub(crate) fn news(&mut self) -> Option<NetworkUsage> {
        self.ledger.news()
    }

    /// Requests asked for, once the limit has refused one and the type kills for it.
    pub(crate) fn breach(&self) -> Option<u64> {
        (self.rules.on_limit == OnLimit::Kill && self.ledger.is_over()).then(|| self.ledger.asked())
    }
}

/// An address of this host: one can bind to it, or the way there starts there (`ip route add local`).
fn is_local(to: SocketAddr) -> bool {
    let (domain, scope) = match to {
        SocketAddr::V4(_) => (libc::AF_INET, 0),
        SocketAddr::V6(to) => (libc::AF_INET6, to.scope_id()),
    };
    let bytes = address::any_port(to.ip(), scope);
    let probe = || socket::create(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
    // Only "not an address of mine" says so; a link-local address without an interface may be one.
    let bound = probe().and_then(|probe| socket::bind(probe.as_fd(), &bytes));
    let binds = !bound.is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL));
    let starts_there = || {
        let mut to_discard = bytes.clone();
        to_discard[3] = 9;
        let probe = probe().ok()?;
        socket::connect(probe.as_fd(), &to_discard).ok()?;
        Some(address::known(&socket::own_address(probe.as_fd()).ok()?)?.ip() == to.ip())
    };
    binds || starts_there().unwrap_or(false)
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_host_are_local() {
        assert!(is_local("127.0.0.1:44772".parse().unwrap()));
        assert!(!is_local("203.0.113.77:44772".parse().unwrap()));
    }
}
