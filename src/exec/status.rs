//! The status machine of an execution and the reasons for its end. Closed enums, exhaustive matches, pure functions.

use crate::limits::LimitKey;
use crate::supervisor::protocol::{Breach, Exit};
use serde::{Deserialize, Serialize};

/// Where an execution is.
///
/// `queued → initializing → ready → running → terminating → completed | failed | terminated`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// accepted, nothing done yet, or waiting for its next attempt
    Queued,
    /// limits are being set; a command stays here until it has run for a millisecond, or has ended
    Initializing,
    /// all is set, the command waits for its start signal
    Ready,
    /// the command runs
    Running,
    /// TERM was sent, or KILL and not everybody is gone
    Terminating,
    /// exit code 0
    Completed,
    /// ended by itself with another result, or by a limit
    Failed,
    /// ended because somebody asked
    Terminated,
}

impl Status {
    /// Every status, in order of life.
    pub const ALL: [Status; 8] = [
        Status::Queued,
        Status::Initializing,
        Status::Ready,
        Status::Running,
        Status::Terminating,
        Status::Completed,
        Status::Failed,
        Status::Terminated,
    ];

    /// Nothing can change any more.
    pub const fn is_final(self) -> bool {
        match self {
            Status::Completed | Status::Failed | Status::Terminated => true,
            Status::Queued | Status::Initializing | Status::Ready | Status::Running | Status::Terminating => false,
        }
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Initializing => "initializing",
            Status::Ready => "ready",
            Status::Running => "running",
            Status::Terminating => "terminating",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Terminated => "terminated",
        }
    }
}

/// Why an execution ended. Always from evidence: a counter that moved, a kill that we sent first, a wait status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// by exit(2)
    Exit,
    /// by a signal that we did not send
    Signal,
    /// the command could not be executed
    StartFailed,
    /// memory limit
    MemoryLimit,
    /// CPU budget
    CpuTimeLimit,
    /// wall-clock limit
    WallTimeLimit,
    /// network requests, for types that kill
    NetworkLimit,
    /// tasks, for types that kill
    ProcessLimit,
    /// storage limit
    StorageLimit,
    /// daemon or supervisor died; nobody saw the end
    Lost,
    /// asked for through the API
    Cancelled,
    /// removed by the sweeper
    Cleanup,
    /// the daemon shut down
    Shutdown,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 13] = [
        Reason::Exit,
        Reason::Signal,
        Reason::StartFailed,
        Reason::MemoryLimit,
        Reason::CpuTimeLimit,
        Reason::WallTimeLimit,
        Reason::NetworkLimit,
        Reason::ProcessLimit,
        Reason::StorageLimit,
        Reason::Lost,
        Reason::Cancelled,
        Reason::Cleanup,
        Reason::Shutdown,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Exit => "exit",
            Reason::Signal => "signal",
            Reason::StartFailed => "start_failed",
            Reason::MemoryLimit => "memory_limit",
            Reason::CpuTimeLimit => "cpu_time_limit",
            Reason::WallTimeLimit => "wall_time_limit",
            Reason::NetworkLimit => "network_limit",
            Reason::ProcessLimit => "process_limit",
            Reason::StorageLimit => "storage_limit",
            Reason::Lost => "lost",
            Reason::Cancelled => "cancelled",
            Reason::Cleanup => "cleanup",
            Reason::Shutdown => "shutdown",
        }
    }

    /// Worth another attempt when the request allows some: the command may not be to blame.
    pub const fn is_retryable(self) -> bool {
        match self {
            Reason::Lost | Reason::StartFailed | Reason::WallTimeLimit => true,
            Reason::Exit
            | Reason::Signal
            | Reason::MemoryLimit
            | Reason::CpuTimeLimit
            | Reason::NetworkLimit
            | Reason::ProcessLimit
            | Reason::StorageLimit
            | Reason::Cancelled
            | Reason::Cleanup
            | Reason::Shutdown => false,
        }
    }
}

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// a client
    Cancelled,
    /// the sweeper
    Cleanup,
    /// the daemon's own end
    Shutdown,
}

impl Stop {
    /// The reason that this gives.
    pub const fn reason(self) -> Reason {
        match self {
            Stop::Cancelled => Reason::Cancelled,
            Stop::Cleanup => Reason::Cleanup,
            Stop::Shutdown => Reason::Shutdown,
        }
    }
}

/// How an attempt ended; exactly one per attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The main process was reaped.
    Ended {
        /// its wait status
        exit: Exit,
        /// the limit that ended it
        breach: Option<Breach>,
        /// somebody asked before it ended
        stop: Option<Stop>,
    },
    /// It never ran.
    StartFailed {
        /// 125, 126 or 127
        exit_code: u8,
        /// one sentence
        message: String,
        /// somebody asked meanwhile
        stop: Option<Stop>,
    },
    /// The supervisor's stream ended without a word.
    Lost {
        /// somebody asked before
        stop: Option<Stop>,
    },
}

/// Status, reason and exit figures of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// final status
    pub status: Status,
    /// why
    pub reason: Reason,
    /// exit code, where there was one
    pub exit_code: Option<i32>,
    /// signal number, where one ended it
    pub signal: Option<i32>,
}

/// Concludes. A breach comes before a stop, a stop before the exit code: a program that exits 0 on our TERM after its wall limit
/// is `failed`/`wall_time_limit` with exit code 0 beside it.
pub fn conclude(outcome: &Outcome) -> Conclusion {
    match outcome {
        Outcome::Ended { exit, breach, stop } => {
            let (exit_code, signal) = match exit {
                Exit::Code(code) => (Some(*code), None),
                Exit::Signal(signal) => (None, Some(*signal)),
            };
            let (status, reason) = match (breach, stop, exit) {
                (Some(breach), _, _) => (Status::Failed, breach_reason(breach.limit)),
                (None, Some(stop), _) => (Status::Terminated, stop.reason()),
                (None, None, Exit::Code(0)) => (Status::Completed, Reason::Exit),
                (None, None, Exit::Code(_)) => (Status::Failed, Reason::Exit),
                (None, None, Exit::Signal(_)) => (Status::Failed, Reason::Signal),
            };
            Conclusion { status, reason, exit_code, signal }
        }
        Outcome::StartFailed { stop: Some(stop), .. } | Outcome::Lost { stop: Some(stop) } => {
            Conclusion { status: Status::Terminated, reason: stop.reason(), exit_code: None, signal: None }
        }
        Outcome::StartFailed { exit_code, stop: None, .. } => Conclusion {
            status: Status::Failed,
            reason: Reason::StartFailed,
            exit_code: Some(i32::from(*exit_code)),
            signal: None,
        },
        Outcome::Lost { stop: None } => {
            Conclusion { status: Status::Failed, reason: Reason::Lost, exit_code: None, signal: None }
        }
    }
}

fn breach_reason(limit: LimitKey) -> Reason {
    match limit {
        LimitKey::MemoryBytes => Reason::MemoryLimit,
        LimitKey::CpuTimeMs => Reason::CpuTimeLimit,
        LimitKey::WallTimeMs => Reason::WallTimeLimit,
        LimitKey::NetworkRequests => Reason::NetworkLimit,
        LimitKey::Pids => Reason::ProcessLimit,
        LimitKey::StorageBytes => Reason::StorageLimit,
        // The kernel answers these with an errno or a signal; they never end an execution in our name.
        LimitKey::OpenFiles | LimitKey::FileSizeBytes | LimitKey::CpuCores => Reason::Signal,
    }
}

/// `SIGKILL` and friends; real-time signals have no name of their own.
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("SIG{signal}"),
    }
}

/// Parses `SIGTERM`, `TERM` or `15`.
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Mechanism;

    fn breach(limit: LimitKey) -> Option<Breach> {
        Some(Breach { limit, allowed: 1, used: 2, mechanism: Mechanism::Timer })
    }

    #[test]
    fn every_end_has_one_status_and_reason() {
        let ended = |exit, breach, stop| Outcome::Ended { exit, breach, stop };
        let cases = [
            (ended(Exit::Code(0), None, None), Status::Completed, Reason::Exit),
            (ended(Exit::Code(3), None, None), Status::Failed, Reason::Exit),
            (ended(Exit::Signal(9), None, None), Status::Failed, Reason::Signal),
            (ended(Exit::Code(0), breach(LimitKey::WallTimeMs), None), Status::Failed, Reason::WallTimeLimit),
            (
                ended(Exit::Signal(9), breach(LimitKey::MemoryBytes), Some(Stop::Cancelled)),
                Status::Failed,
                Reason::MemoryLimit,
            ),
            (ended(Exit::Code(0), None, Some(Stop::Cancelled)), Status::Terminated, Reason::Cancelled),
            (ended(Exit::Signal(15), None, Some(Stop::Shutdown)), Status::Terminated, Reason::Shutdown),
            (Outcome::Lost { stop: None }, Status::Failed, Reason::Lost),
            (Outcome::Lost { stop: Some(Stop::Cleanup) }, Status::Terminated, Reason::Cleanup),
        ];
        for (outcome, status, reason) in cases {
            let conclusion = conclude(&outcome);
            assert_eq!((conclusion.status, conclusion.reason), (status, reason), "{outcome:?}");
        }
    }

    #[test]
    fn a_command_that_is_not_found_has_its_exit_code() {
        let outcome = Outcome::StartFailed { exit_code: 127, message: String::new(), stop: None };
        let conclusion = conclude(&outcome);
        assert_eq!((conclusion.reason, conclusion.exit_code), (Reason::StartFailed, Some(127)));
    }

    #[test]
    fn signals_parse_by_name_and_number() {
        for (text, number) in [
            ("SIGINT", Some(2)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("64", Some(64)),
            ("0", None),
            ("SIGNOPE", None),
            ("65", None),
        ] {
            assert_eq!(parse_signal(text), number, "{text}");
        }
        assert_eq!(signal_name(11), "SIGSEGV");
    }
}
