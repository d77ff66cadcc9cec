//! Decisions on the calls that the filter hands over: may this process touch that one, may there be one more task.

use super::filter;
use super::tree::{self, Snapshot};
use crate::sys::seccomp::{self, Answer, Call};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    /// Some process set an action for SIGCHLD, so children may end without anybody waiting for them.
    pub(crate) child_action: bool,
}

/// A permitted clone shows in /proc within this time unless its caller is kept off the CPU.
const IN_FLIGHT: Duration = Duration::from_millis(10);
/// Counting costs a pass over /proc, so a program that runs against the limit is counted at most this often.
const RECOUNT: Duration = Duration::from_millis(2);
/// Calls answered in one go before the supervisor looks at its other duties.
const BATCH: usize = 64;

impl Gate {
    pub(crate) fn new(listener: OwnedFd, supervisor: i32, limit: Option<u64>) -> Gate {
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
        }
    }

    /// The descriptor to poll for input.
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers what is waiting, at most a batch. `false` when no process uses the filter any more.
    pub(crate) fn serve(&mut self) -> bool {
        for _ in 0..BATCH {
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
        let Some(call) = seccomp::receive(self.listener.as_fd())? else { return Ok(()) };
        let answer = self.decide(&call);
        seccomp::answer(self.listener.as_fd(), call.id, answer)
    }

    /// Registers only: whatever is answered here, the target cannot change what the kernel then does.
    fn decide(&mut self, call: &Call) -> Answer {
        if filter::is_child_action(call.nr) {
            self.child_action = true;
            return Answer::Continue;
        }
        if filter::is_new_task(call.nr) {
            return self.one_more_task();
        }
        match filter::target_of(call.nr, &call.args) {
            // A process group is named by its leader; its members are in its leader's session, so in the same tree.
            Some(target) if tree::is_below(target.saturating_abs(), self.supervisor) => Answer::Continue,
            Some(_) | None => Answer::Errno(libc::EPERM),
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
