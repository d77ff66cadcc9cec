//! The supervisor's life: warm, starting, running, ended. One thread, one poll, every duty in turn.

mod ending;
mod gate;
mod starting;

use super::context::Context;
use super::gate::Gate;
use super::network::Broker;
use super::protocol::{self, Exit, Fork, MainEnd, Order, Report};
use super::state::{Ending, Run};
use super::watch::{Sources, Watch};
use super::{confine, kill};
use crate::agent_type::{OnLimit, Survivors};
use crate::cgroup::group::{Alarm, Group};
use crate::limits::Mechanism;
use crate::sys::{patience, process, time};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::sys::time::TimeSpec;
use nix::unistd::{getpid, setsid};
pub(super) use starting::STREAMS;
use starting::{Asked, Child};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Runs a supervisor to its end; the result is the process's exit code. 0 promises that no child is left.
pub(crate) fn supervise(daemon: OwnedFd, context: &Context, fork: &Fork) -> i32 {
    match Supervisor::prepare(context, fork) {
        Ok(supervisor) => Supervisor { daemon: Some(daemon), ..supervisor }.serve(),
        Err(error) => {
            let failed = confine::failure("prepare a supervisor", error);
            let _ = protocol::send(daemon.as_fd(), &Report::StartFailed(failed), &[]);
            1
        }
    }
}

struct Supervisor<'a> {
    context: &'a Context,
    /// Gone when the daemon is.
    daemon: Option<OwnedFd>,
    signals: OwnedFd,
    group: Option<Group>,
    alarms: Vec<Alarm>,
    child: Child,
    /// A start that waits for its stub.
    asked: Option<Asked>,
    /// Signals that came before the command runs.
    early_signals: Vec<i32>,
    run: Option<Run>,
}

/// What outlives the main process and is to be killed stays this long at most, should the daemon not say that the output is drained.
const SURVIVORS_MAX: Duration = Duration::from_millis(400);
/// Signals kept for a command that does not run yet; more are dropped, as the kernel drops a standard signal that is pending already.
const EARLY_SIGNALS: usize = 64;
/// Between the last report and tidying up.
const TIDY_LATER: Duration = Duration::from_millis(1);
/// For the kernel to let go of the members of a group.
const REMOVAL_PATIENCE: Duration = Duration::from_millis(500);

/// Who woke us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Stub,
    Gate,
    Network,
    Daemon,
    Alarm(usize),
}

impl<'a> Supervisor<'a> {
    fn prepare(context: &'a Context, fork: &Fork) -> io::Result<Supervisor<'a>> {
        process::set_name(c"execd-super");
        setsid()?;
        // Both are per process and not inherited, or cleared, across a fork.
        prctl::set_dumpable(false)?;
        let _ = prctl::set_child_subreaper(true);
        let signals = process::block_all_and_watch(&[Signal::SIGCHLD])?;
        let group = Group::create(&context.domain, fork.slot)?;
        let child = Child::make(context, group.as_ref(), &fork.shape)?;
        // Only now: the stub must not inherit it.
        patience::prepare()?;
        Ok(Supervisor {
            context,
            daemon: None,
            signals,
            alarms: group.as_ref().map(Group::alarms).unwrap_or_default(),
            group,
            child,
            asked: None,
            early_signals: Vec::new(),
            run: None,
        })
    }

    fn serve(mut self) -> i32 {
        loop {
            let ready = self.wait();
            for source in ready {
                match source {
                    Source::Signals => drain(self.signals.as_fd()),
                    Source::Stub => self.hear_stub(),
                    Source::Gate => self.serve_gate(),
                    Source::Network => self.advance_network(),
                    Source::Daemon => self.hear_daemon(),
                    Source::Alarm(index) => self.hear_alarm(index),
                }
            }
            if self.reap() {
                return self.finish();
            }
            self.keep_time();
        }
    }

    /// Sleeps until something happens or is due. The stub comes before the children: its last word precedes its end.
    fn wait(&self) -> Vec<Source> {
        let gate = self.run.as_ref().filter(|run| run.listening).and_then(|run| run.gate.as_ref());
        let mut sources = vec![(Source::Signals, self.signals.as_fd(), PollFlags::POLLIN)];
        sources.extend(self.child.source(self.run.as_ref()));
        sources.extend(gate.map(|gate| (Source::Gate, gate.as_fd(), PollFlags::POLLIN)));
        let network = self.run.as_ref().and_then(|run| run.gate.as_ref()).map(Gate::network_fds).unwrap_or_default();
        sources.extend(network.into_iter().map(|(fd, flags)| (Source::Network, fd, flags)));
        sources.extend(self.daemon.as_ref().map(|fd| (Source::Daemon, fd.as_fd(), PollFlags::POLLIN)));
        for (index, alarm) in self.alarms.iter().enumerate() {
            let flags = if alarm.priority { PollFlags::POLLPRI } else { PollFlags::POLLIN };
            sources.push((Source::Alarm(index), alarm.fd.as_fd(), flags));
        }
        let mut fds: Vec<PollFd<'_>> = sources.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        let timeout = self.due_in().map(TimeSpec::from);
        if ppoll(&mut fds, timeout, None).is_err() {
            return Vec::new();
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        sources.iter().zip(&fds).filter(|(_, fd)| ready(fd)).map(|((source, ..), _)| *source).collect()
    }

    /// Time until the next duty; `None` sleeps until somebody calls.
    fn due_in(&self) -> Option<Duration> {
        let run = self.run.as_ref()?;
        let ending = run.ending_due();
        let watching = (run.started && !matches!(run.ending, Ending::Killing(_))).then(|| run.watch.next_at());
        let wall = run.watch.wall_deadline().filter(|_| run.started && run.ending == Ending::No);
        let network = run.gate.as_ref().and_then(Gate::next_at);
        let next = [ending, watching, wall, network, run.quiet_until].into_iter().flatten().min()?;
        Some(next.saturating_sub(time::monotonic()))
    }

    fn report(&self, report: &Report) {
        if let Some(daemon) = &self.daemon {
            // A dead daemon shows as the end of its stream, which ends the execution.
            let _ = protocol::send(daemon.as_fd(), report, &[]);
        }
    }

    fn is_started(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.started)
    }

    /// Splits the borrow: the run on one side, whatever its watch asks on the other.
    fn watch<T>(&mut self, ask: impl FnOnce(&mut Watch, &Sources<'_>) -> T) -> Option<T> {
        let run = self.run.as_mut()?;
        let sources = Sources {
            context: self.context,
            group: self.group.as_ref(),
            gate: run.gate.as_ref(),
            root: getpid().as_raw(),
        };
        Some(ask(&mut run.watch, &sources))
    }

    fn hear_daemon(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        match protocol::receive::<Order>(daemon.as_fd(), MsgFlags::MSG_DONTWAIT) {
            Ok(Some((order, fds))) => self.obey(order, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The daemon is dead: nobody will ever ask for this execution again.
            Ok(None) | Err(_) => {
                self.daemon = None;
                self.end_now();
            }
        }
    }

    fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) {
        self.end_quiet();
        match order {
            Order::Start(parcel) => self.ask_for(parcel, fds),
            Order::Release => self.release(),
            Order::Signal(signal) if self.is_started() => kill::signal(getpid().as_raw(), self.group.as_ref(), signal),
            // The stub is not to have it, but the command.
            Order::Signal(signal) if self.early_signals.len() < EARLY_SIGNALS => self.early_signals.push(signal),
            Order::Signal(_) => {}
            Order::Cancel => self.cancel(),
            Order::Kill => {
                self.mark_cancelled();
                self.end_now();
            }
            Order::Drained => {
                if self.run.as_ref().is_some_and(|run| run.survivors_until.is_some()) {
                    self.end_now();
                }
            }
            Order::NetworkBreach { used } => self.end_for_network(used, Mechanism::Proxy),
            Order::Usage => {
                if let Some(usage) = self.watch(Watch::report) {
                    self.report_network();
                    self.report(&Report::Usage(usage));
                }
            }
        }
    }

    fn hear_alarm(&mut self, index: usize) {
        if let Some(alarm) = self.alarms.get(index) {
            alarm.acknowledge();
        }
        if let Some(Some(breach)) = self.watch(Watch::evidence) {
            self.end_for(breach);
        }
        self.check_denied_tasks();
    }

    fn check_denied_tasks(&mut self) {
        let kills = self.run.as_ref().is_some_and(|run| run.spec.on_pids == OnLimit::Kill);
        if !kills {
            return;
        }
        if let Some(Some(breach)) = self.watch(Watch::pids_denied_breach) {
            self.end_for(breach);
        }
    }

    /// Reaps whoever ended. True when no child is left at all.
    fn reap(&mut self) -> bool {
        loop {
            match process::reap() {
                Ok(Some((pid, exit))) if pid == self.child.pid => self.note_main_end(exit),
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.settle_survivors();
                    return false;
                }
                Err(_) => return true,
            }
        }
    }

    fn note_main_end(&mut self, exit: process::Exit) {
        // Its last word may still be in the socket.
        self.hear_stub();
        let evidence = self.watch(Watch::evidence).flatten();
        // A stub that died before it was needed; what it forked goes with it.
        let Some(run) = &mut self.run else { return self.end_now() };
        run.breach = run.breach.or(evidence);
        run.main = Some(match exit {
            process::Exit::Code(code) => Exit::Code(code),
            process::Exit::Signal(signal) => Exit::Signal(signal),
        });
    }

    /// The main process is gone and others live: report, then do as the type says.
    fn settle_survivors(&mut self) {
        let Some(run) = &self.run else { return };
        if run.main.is_none() || run.reported {
            return;
        }
        let keeps = run.spec.survivors == Survivors::Keep && run.breach.is_none() && !run.cancelled;
        let end = run.ending == Ending::No && !keeps;
        let usage = self.watch(Watch::report).unwrap_or_default();
        self.report_main_end(usage, keeps, false);
        if let Some(run) = self.run.as_mut().filter(|_| end) {
            run.survivors_until = Some(time::monotonic() + SURVIVORS_MAX);
        }
    }

    /// True when the report says whether anybody is left; that of a failed start does not.
    fn report_main_end(&mut self, usage: protocol::Usage, survivors: bool, alone: bool) -> bool {
        if !self.run.as_ref().is_some_and(|run| run.started && run.failed.is_none()) {
            self.report_network();
        }
        let network = self.network().and_then(Broker::news);
        let pid = self.child.pid;
        let Some(run) = &mut self.run else { return false };
        run.reported = true;
        let report = match (&run.failed, run.main) {
            (Some(failed), _) => Report::StartFailed(failed.clone()),
            (None, Some(exit)) if run.started => {
                let started = (!std::mem::replace(&mut run.announced, true)).then_some(pid);
                let (breach, cancelled) = (run.breach, run.cancelled);
                Report::MainEnded(MainEnd { started, exit, breach, cancelled, survivors, alone, network, usage })
            }
            (None, Some(exit)) => {
                Report::StartFailed(confine::failure("ended before its command was executed", format!("{exit:?}")))
            }
            (None, None) => return false,
        };
        self.report(&report);
        matches!(report, Report::MainEnded(_))
    }

    fn finish(mut self) -> i32 {
        if self.run.is_none() {
            // A start may have come just now.
            self.hear_daemon();
            self.report_unstarted();
        }
        if let Some(usage) = self.watch(Watch::last_report) {
            let reported = self.run.as_ref().is_some_and(|run| run.reported);
            if reported || !self.report_main_end(usage, false, true) {
                self.report_network();
                self.report(&Report::Gone(usage));
            }
        }
        match &self.run {
            Some(_) => self.let_others_go_first(),
            // Nothing was started: the daemon must not find us ready meanwhile.
            None => self.daemon = None,
        }
        if let Some(group) = &self.group {
            group.remove(REMOVAL_PATIENCE);
        }
        0
    }

    /// Somebody may be waiting for the answer that the last report allows; taking groups and namespaces down keeps the kernel busy on
    /// every processor.
    fn let_others_go_first(&self) {
        if let Some(daemon) = &self.daemon {
            let mut fds = [PollFd::new(daemon.as_fd(), PollFlags::empty())];
            let _ = ppoll(&mut fds, Some(TimeSpec::from(TIDY_LATER)), None);
        }
    }
}

fn drain(fd: BorrowedFd<'_>) {
    let mut buffer = [0; 1024];
    while nix::unistd::read(fd, &mut buffer).is_ok_and(|length| length > 0) {}
}
