//! Ends: by the clock, by a limit, by request. TERM, grace, KILL, and KILL again for whoever was missed.

use super::Supervisor;
use crate::limits::{LimitKey, Mechanism};
use crate::supervisor::kill;
use crate::supervisor::protocol::{Breach, Report};
use crate::supervisor::state::Ending;
use crate::supervisor::watch::Watch;
use crate::sys::time;
use nix::unistd::getpid;
use std::time::Duration;

impl Supervisor<'_> {
    /// Everything that is due by the clock.
    pub(super) fn keep_time(&mut self) {
        if self.network_due() {
            self.advance_network();
        }
        let now = time::monotonic();
        if self.run.as_ref().and_then(|run| run.quiet_until).is_some_and(|at| now >= at) {
            self.end_quiet();
        }
        self.announce();
        let Some(run) = &self.run else { return };
        match run.ending {
            Ending::Killing(at) if now >= at => return self.end_now(),
            Ending::Killing(_) => return,
            Ending::Terminating(at) if now >= at => return self.end_now(),
            Ending::No if run.survivors_until.is_some_and(|at| now >= at) => return self.end_now(),
            Ending::Terminating(_) | Ending::No => {}
        }
        if !run.started {
            return;
        }
        if run.ending == Ending::No && run.watch.wall_deadline().is_some_and(|at| now >= at) {
            self.end_for_wall_time();
        }
        if let Some(Some(breach)) = self.watch(Watch::look_if_due) {
            self.end_for(breach);
        }
    }

    pub(super) fn end_for_wall_time(&mut self) {
        let Some(run) = &mut self.run else { return };
        let allowed = run.spec.limits.wall_time_ms.unwrap_or(0);
        let used = u64::try_from(run.watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        run.breach =
            run.breach.or(Some(Breach { limit: LimitKey::WallTimeMs, allowed, used, mechanism: Mechanism::Timer }));
        self.terminate();
    }

    /// A limit was reached that ends the execution at once.
    pub(super) fn end_for(&mut self, breach: Breach) {
        let Some(run) = &mut self.run else { return };
        if matches!(run.ending, Ending::Killing(_)) {
            return;
        }
        // The first reason stands: a program that burns CPU in its grace period still broke its wall limit.
        if !run.cancelled {
            run.breach = run.breach.or(Some(breach));
        }
        self.end_now();
    }

    pub(super) fn mark_cancelled(&mut self) {
        if let Some(run) = &mut self.run {
            run.cancelled |= run.breach.is_none();
        }
    }

    pub(super) fn cancel(&mut self) {
        self.mark_cancelled();
        match &self.run {
            Some(run) if run.started && run.ending == Ending::No => self.terminate(),
            Some(run) if run.started => {}
            // A stub has every signal blocked and nothing to tidy up.
            _ => self.end_now(),
        }
    }

    pub(super) fn terminate(&mut self) {
        kill::terminate(getpid().as_raw(), self.group.as_ref());
        if let Some(run) = &mut self.run {
            run.ending = Ending::Terminating(time::monotonic() + Duration::from_millis(run.spec.grace_ms));
        }
        self.report(&Report::Terminating);
    }

    pub(super) fn end_now(&mut self) {
        kill::kill_all(getpid().as_raw(), self.group.as_ref());
        match &mut self.run {
            Some(run) => run.note_kill(time::monotonic()),
            // Nobody kills a second time, so a stub that was missed must end by itself.
            None => self.child.let_go(),
        }
    }
}
