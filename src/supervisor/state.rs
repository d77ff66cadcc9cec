//! What a supervisor knows of the execution that it was asked for.

use super::context::Context;
use super::gate::Gate;
use super::network::Broker;
use super::protocol::{Breach, Exit, Spec, StartFailure};
use super::watch::Watch;
use nix::unistd::getpid;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Time to the second round of KILL while some process is still there; doubles up to `KILL_AGAIN_MAX`.
const KILL_AGAIN: Duration = Duration::from_millis(5);
/// A process in uninterruptible sleep dies when it wakes; looking more often does not help.
const KILL_AGAIN_MAX: Duration = Duration::from_millis(320);

/// A command that is over before this is told of by its end alone: nobody is woken twice for it.
const QUIET: Duration = Duration::from_millis(1);

/// An execution that was asked for.
pub(super) struct Run {
    pub(super) spec: Spec,
    pub(super) watch: Watch,
    pub(super) gate: Option<Gate>,
    /// The proxy's listener, until the gate has it.
    pub(super) door: Option<OwnedFd>,
    /// Some process still uses the filter.
    pub(super) listening: bool,
    /// The stub said that its exec is next, at this monotonic time.
    pub(super) executing: Option<Duration>,
    pub(super) started: bool,
    /// The daemon knows of the start.
    pub(super) announced: bool,
    /// Until then the stub is not listened to: if all goes well it says two words, and a short command is over before they matter.
    pub(super) quiet_until: Option<Duration>,
    /// How the main process ended.
    pub(super) main: Option<Exit>,
    /// The daemon knows.
    pub(super) reported: bool,
    pub(super) failed: Option<StartFailure>,
    pub(super) breach: Option<Breach>,
    pub(super) cancelled: bool,
    /// The main process ended; the others are killed at this time.
    pub(super) survivors_until: Option<Duration>,
    pub(super) ending: Ending,
    pub(super) kill_again: Duration,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// nobody asked
    No,
    /// TERM was sent; KILL follows at this monotonic time
    Terminating(Duration),
    /// KILL was sent; sent again at this time to whoever was missed
    Killing(Duration),
}

impl Run {
    pub(super) fn new(spec: Spec, watch: Watch, door: Option<OwnedFd>) -> Run {
        Run {
            watch,
            spec,
            gate: None,
            door,
            listening: false,
            executing: None,
            started: false,
            announced: false,
            quiet_until: None,
            main: None,
            reported: false,
            failed: None,
            breach: None,
            cancelled: false,
            survivors_until: None,
            ending: Ending::No,
            kill_again: KILL_AGAIN,
        }
    }

    /// The network gate of this execution, if it has one.
    pub(super) fn network(&mut self, context: &Context) -> Option<Broker> {
        let rules = self.spec.network.clone()?;
        let reach = context.reach(self.spec.shape().other_uid);
        Some(Broker::new(rules, self.door.take(), reach, getpid().as_raw(), self.spec.uid, self.spec.gid))
    }

    /// The command is let go at `now`.
    pub(super) fn be_quiet(&mut self, now: Duration) {
        self.quiet_until = Some(now + QUIET);
    }

    /// KILL was sent to all at `now`; plans the next round for whoever was missed.
    pub(super) fn note_kill(&mut self, now: Duration) {
        self.ending = Ending::Killing(now + self.kill_again);
        self.kill_again = (self.kill_again * 2).min(KILL_AGAIN_MAX);
    }

    /// When the next step of the end is due.
    pub(super) fn ending_due(&self) -> Option<Duration> {
        match self.ending {
            Ending::No => self.survivors_until,
            Ending::Terminating(at) | Ending::Killing(at) => Some(at),
        }
    }
}
