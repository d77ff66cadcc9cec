//! Decisions on the calls that the filter hands over: may this process touch that one, may there be one more task; network calls go
//! on to the network gate.

use super::filter;
use super::network::Broker;
use super::tree::{self, Snapshot};
use crate::sys::seccomp::{self, Answer, Call};
use crate::sys::time;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The listener of one execution's filter, and the task count.
#[derive(Debug)]
pub(crate) struct Gate {
    listener: OwnedFd,
    supervisor: i32,
    limit: Option<u64>,
    /// Never below the real number of tasks: the last count plus every permission since.
    bound: u64,
    counted_at: Option<Instant>,
    /// Recent permissions: their tasks may not be visible yet when we count.
    granted: VecDeque<Instant>,
    /// Refused new tasks.
    pub(crate) denied: u64,
    /// Some process told the kernel to reap its children by itself, so their CPU time may be on nobody's account.
    pub(crate) child_action: bool,
    /// Makes connects for the program.
    pub(crate) network: Option<Broker>,
    /// CPU time of ours that went into answers: a program that asks without end pays for it.
    pub(crate) spent: Duration,
}

/// A permitted clone shows in /proc within this time unless its caller is kept off the CPU.
const IN_FLIGHT: Duration = Duration::from_millis(10);
/// Counting costs a pass over /proc, so a program that runs against the limit is counted at most this often.
const RECOUNT: Duration = Duration::from_millis(2);
/// Calls answered in one go before the supervisor looks at its other duties.
const BATCH: usize = 64;
/// The same for calls that take their time.
const TURN: Duration = Duration::from_millis(5);

impl Gate {
    pub(crate) fn new(listener: OwnedFd, supervisor: i32, limit: Option<u64>, network: Option<Broker>) -> Gate {
        seccomp::prefer_sync_wake_up(listener.as_fd());
        Gate {
            listener,
            supervisor,
            limit,
            bound: 1,
            counted_at: None,
            granted: VecDeque::new(),
            denied: 0,
            child_action: false,
            network,
            spent: Duration::ZERO,
        }
    }

    /// The descriptor to poll for input.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers what is waiting, at most a batch. `false` when no process uses the filter any more.
    pub(crate) fn serve(&mut self) -> bool {
        let began = Instant::now();
        for _ in 0..BATCH {
            if began.elapsed() >= TURN {
                return true;
            }
            let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0);
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            if !ready {
                return true;
            }
            if !events.contains(PollFlags::POLLIN) {
                return !events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
            }
            if self.serve_one().is_err() {
                return true;
            }
        }
        true
    }

    fn serve_one(&mut self) -> io::Result<()> {
        let before = time::own_cpu();
        let Some(call) = seccomp::receive(self.listener.as_fd())? else { return Ok(()) };
        let sent = match self.decide(&call) {
            Some(answer) => seccomp::answer(self.listener.as_fd(), call.id, answer),
            None => Ok(()),
        };
        self.spent += time::own_cpu().saturating_sub(before);
        sent
    }

    /// The descriptors that the network gate waits for.
    pub(crate) fn network_fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.network.as_ref().map(Broker::poll_fds).unwrap_or_default()
    }

    /// Monotonic time of the network gate's next duty.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.network.as_ref().and_then(Broker::next_at)
    }

    /// Goes on with network calls that wait.
    pub(crate) fn advance(&mut self) {
        let before = time::own_cpu();
        if let Some(network) = &mut self.network {
            network.advance(self.listener.as_fd());
        }
        self.spent += time::own_cpu().saturating_sub(before);
    }

    fn decide(&mut self, call: &Call) -> Option<Answer> {
        if filter::is_network(call.nr) {
            return match &mut self.network {
                Some(network) => network.handle(self.listener.as_fd(), call),
                None => Some(Answer::Errno(libc::ENOSYS)),
            };
        }
        Some(self.decide_by_registers(call))
    }

    /// Registers only: whatever is answered here, the target cannot change what the kernel then does.
    fn decide_by_registers(&mut self, call: &Call) -> Answer {
        if filter::is_child_action(call.nr) {
            self.child_action |= discards_children(call);
            return Answer::Continue;
        }
        if filter::is_new_task(call.nr) {
            return self.one_more_task();
        }
        let Some(target) = filter::target_of(call.nr, &call.args) else { return Answer::Errno(libc::EPERM) };
        let ours = if target > 0 {
            tree::relation(target, self.supervisor)
        } else {
            Snapshot::take(self.supervisor).ok().and_then(|snapshot| snapshot.owns_group(target.saturating_neg()))
        };
        // Without a target the kernel's own answer is the same, and programs wait for it.
        match ours {
            Some(true) => Answer::Continue,
            Some(false) => Answer::Errno(libc::EPERM),
            None => Answer::Errno(libc::ESRCH),
        }
    }

    fn one_more_task(&mut self) -> Answer {
        let Some(limit) = self.limit else { return Answer::Continue };
        if self.bound >= limit && self.counted_at.is_none_or(|at| at.elapsed() >= RECOUNT) {
            self.count();
        }
        if self.bound >= limit {
            self.denied += 1;
            return Answer::Errno(libc::EAGAIN);
        }
        self.bound += 1;
        self.forget_settled();
        self.granted.push_back(Instant::now());
        Answer::Continue
    }

    fn forget_settled(&mut self) {
        while self.granted.front().is_some_and(|at| at.elapsed() >= IN_FLIGHT) {
            self.granted.pop_front();
        }
    }

    fn count(&mut self) {
        self.forget_settled();
        if let Ok(snapshot) = Snapshot::take(self.supervisor) {
            self.bound = snapshot.tasks() + self.granted.len() as u64;
        }
        self.counted_at = Some(Instant::now());
    }
}

/// Whether a notified rt_sigaction makes the kernel reap children by itself: `SIG_IGN` or `SA_NOCLDWAIT` (sigaction(2)).
///
/// The structure is in the caller's memory, so a thread could change it under us; that is why this only widens what is charged
/// and never allows anything. Memory that we may not read counts as yes.
fn discards_children(call: &Call) -> bool {
    use std::os::unix::fs::FileExt;
    let mut action = [0; 16];
    let read = std::fs::File::open(format!("/proc/{}/mem", call.tid))
        .and_then(|mem| mem.read_exact_at(&mut action, call.args[1]));
    if read.is_err() {
        return true;
    }
    // struct kernel_sigaction: handler, flags, restorer, mask.
    let word = |at: usize| action[at..at + 8].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    word(0) == libc::SIG_IGN as u64 || word(8) & libc::SA_NOCLDWAIT as u64 != 0
}
