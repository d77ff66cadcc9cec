//! Calls of blocking sockets that are under way: the program sleeps in its call, we do not.

use super::broker::{Ask, Broker};
use super::connect::{connect_as_program, finish};
use super::message::Message;
use super::target::{Held, Target};
use crate::sys::seccomp::{self, Answer};
use crate::sys::{socket, time};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Calls that wait at once; one more fails with `EAGAIN`, as connect(2) has it for resources that ran out.
const MAX_WAITING: usize = 512;
/// Attempts of non-blocking sockets that are watched at once.
const MAX_RELEASES: usize = 256;
/// How often we look whether the caller still waits, or a signal should wake it.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two attempts where no descriptor tells when there is room.
const RETRY: Duration = Duration::from_millis(10);

/// Time that one turn may take before the supervisor looks at its other duties.
const TURN: Duration = Duration::from_millis(5);

/// A message on its way.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) message: Message,
    pub(super) flags: i32,
    pub(super) sent: u64,
    pub(super) stream: bool,
    pub(super) internet: bool,
    /// The header in an array of messages that gets the count.
    pub(super) counted: Option<u64>,
}

/// What is waited for.
#[derive(Debug)]
pub(super) enum Work {
    /// the attempt to connect ends
    Connect {
        /// the address
        bytes: Vec<u8>,
        /// what the call says when its time is up
        timeout: i32,
    },
    /// room at a peer that is not on the internet
    ConnectElsewhere(Vec<u8>),
    /// room in the socket
    Send(Box<Sending>),
    /// nobody waits: our duplicate goes when the attempt ends
    Release,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    target: Target,
    held: Held,
    work: Work,
    /// `SO_SNDTIMEO`
    deadline: Option<Duration>,
    look_at: Duration,
}

impl Waiting {
    fn new(ask: &Ask<'_>, held: Held, work: Work) -> Waiting {
        let now = time::monotonic();
        let deadline = socket::send_timeout(held.socket.as_fd()).map(|timeout| now + timeout);
        let mut waiting = Waiting { id: ask.call.id, target: ask.target, held, work, deadline, look_at: now };
        waiting.look_at = now + waiting.interval();
        waiting
    }

    /// `begun`: by an earlier call.
    pub(super) fn connect(ask: &Ask<'_>, held: Held, bytes: Vec<u8>, begun: bool) -> Waiting {
        let timeout = if begun { libc::EALREADY } else { libc::EINPROGRESS };
        Waiting::new(ask, held, Work::Connect { bytes, timeout })
    }

    pub(super) fn connect_elsewhere(ask: &Ask<'_>, held: Held, bytes: Vec<u8>) -> Waiting {
        Waiting::new(ask, held, Work::ConnectElsewhere(bytes))
    }

    pub(super) fn send(ask: &Ask<'_>, held: Held, sending: Sending) -> Waiting {
        Waiting::new(ask, held, Work::Send(Box::new(sending)))
    }

    pub(super) fn release(ask: &Ask<'_>, held: Held) -> Waiting {
        // A timeout of the socket is for callers that wait; left in place it would be due for ever.
        Waiting { deadline: None, ..Waiting::new(ask, held, Work::Release) }
    }

    /// What becomes writable when the call can go on.
    pub(super) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.retries()).then(|| self.held.socket.as_fd())
    }

    /// A full peer does not show in our own descriptor.
    fn retries(&self) -> bool {
        match &self.work {
            Work::ConnectElsewhere(_) => true,
            Work::Send(sending) => !sending.internet,
            Work::Connect { .. } | Work::Release => false,
        }
    }

    fn interval(&self) -> Duration {
        if self.retries() { RETRY } else { LOOK }
    }

    /// Monotonic time of the next look.
    pub(super) fn next_at(&self) -> Duration {
        self.deadline.unwrap_or(Duration::MAX).min(self.look_at)
    }

    /// The answer, if the work is done.
    fn go_on(&mut self) -> Option<Answer> {
        let (target, held) = (&self.target, &self.held);
        let result = match &mut self.work {
            Work::Connect { bytes, .. } => finish(held.socket.as_fd(), bytes)?.map(|()| 0),
            Work::ConnectElsewhere(bytes) => match connect_as_program(target, held.socket.as_fd(), bytes) {
                Err(libc::EAGAIN) => return None,
                result => result.map(|()| 0),
            },
            Work::Send(sending) => sending.go_on(target, held, true).transpose()?,
            Work::Release => finish_release(held)?,
        };
        Some(result.map_or_else(Answer::Errno, Answer::Value))
    }

    /// The answer of a call whose time is up, or whose thread a signal should wake.
    fn give_up(&mut self, now: Duration) -> Option<Answer> {
        if let Work::Release = self.work {
            return None;
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(self.partly(match &self.work {
                Work::Connect { timeout, .. } => Answer::Errno(*timeout),
                Work::ConnectElsewhere(_) | Work::Send(_) | Work::Release => Answer::Errno(libc::EAGAIN),
            }));
        }
        // With a timeout the kernel does not restart a call (socket(7), signal(7)).
        let interrupted = if self.deadline.is_some() { Answer::Errno(libc::EINTR) } else { Answer::Interrupted };
        self.target.has_signal().then(|| self.partly(interrupted))
    }

    /// The call is over and its attempt is not: our duplicate of a socket that we made goes with the attempt.
    fn begin_release(&mut self) -> bool {
        let goes_on = self.held.inode.is_some() && finish_release(&self.held).is_none();
        if goes_on {
            self.work = Work::Release;
            self.deadline = None;
        }
        goes_on
    }

    /// What was sent already is what counts.
    fn partly(&self, otherwise: Answer) -> Answer {
        match &self.work {
            Work::Send(sending) if sending.sent > 0 => match sending.result(&self.target) {
                Ok(Some(count)) => Answer::Value(count),
                Ok(None) => otherwise,
                Err(errno) => Answer::Errno(errno),
            },
            _ => otherwise,
        }
    }
}

/// Done as soon as the attempt is not under way any more.
fn finish_release(held: &Held) -> Option<Result<i64, i32>> {
    let under_way = [socket::TCP_SYN_SENT, socket::TCP_SYN_RECV];
    let state = socket::tcp_state(held.socket.as_fd());
    (!state.is_ok_and(|state| under_way.contains(&state))).then_some(Ok(0))
}

impl Broker {
    /// Takes a call over; the answer is for the one that finds no room.
    pub(super) fn wait(&mut self, waiting: Waiting) -> Option<Answer> {
        // A duplicate that nobody waits for can also be found by looking for closed ones.
        let releases = self.waiting.iter().filter(|waiting| matches!(waiting.work, Work::Release)).count();
        let most = if matches!(waiting.work, Work::Release) { MAX_RELEASES } else { MAX_WAITING };
        let same = if matches!(waiting.work, Work::Release) { releases } else { self.waiting.len() - releases };
        if same >= most {
            return Some(Answer::Errno(libc::EAGAIN));
        }
        self.waiting.push(waiting);
        None
    }

    /// Looks at every call under way.
    pub(super) fn advance_waiting(&mut self, listener: BorrowedFd<'_>) {
        let now = time::monotonic();
        // What this turn does not come to is first in the next.
        let (mut rest, mut kept) = (Vec::new(), Vec::new());
        for mut waiting in std::mem::take(&mut self.waiting) {
            if time::monotonic().saturating_sub(now) >= TURN {
                rest.push(waiting);
                continue;
            }
            let release = matches!(waiting.work, Work::Release);
            let gone = match waiting.held.inode {
                // The program has closed it: our duplicate would go on trying.
                Some(inode) if release => !self.made.has(inode),
                // It died, or a signal took it out of the call: its number may be somebody else's now.
                _ => !release && !seccomp::still_waits(listener, waiting.id),
            };
            if gone {
                continue;
            }
            let answer = waiting.go_on();
            let due = now >= waiting.next_at();
            if let Some(answer) = answer.or_else(|| if due { waiting.give_up(now) } else { None }) {
                self.note_end_of(&waiting.held, release);
                if !release {
                    let _ = seccomp::answer(listener, waiting.id, answer);
                    if waiting.begin_release() {
                        kept.push(waiting);
                    }
                }
                continue;
            }
            if due {
                waiting.look_at = now + waiting.interval();
            }
            kept.push(waiting);
        }
        rest.append(&mut kept);
        self.waiting = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::Reach;
    use super::*;
    use crate::sys::seccomp::Call;
    use std::net::TcpListener;

    #[test]
    fn only_a_caller_that_waits_has_the_sockets_timeout() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::setsockopt(
            &own,
            nix::sys::socket::sockopt::SendTimeout,
            &nix::sys::time::TimeVal::new(0, 1000),
        )
        .unwrap();
        let call = Call { id: 1, tid: 1, nr: 0, args: [0; 6] };
        let target = Target { tid: 1, reach: Reach::Made, identity: None };
        let ask = Ask { listener: own.as_fd(), call: &call, target };
        let held = || Held { socket: own.try_clone().unwrap().into(), inode: Some(1) };
        let soon = time::monotonic() + Duration::from_millis(50);
        assert!(Waiting::connect(&ask, held(), Vec::new(), false).next_at() < soon);
        assert!(Waiting::release(&ask, held()).next_at() > soon);
    }
}
