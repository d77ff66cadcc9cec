//! Rows about the network, each in a box of its own with a peer that counts what really arrives.
//!
//! | file | what it shows |
//! |---|---|
//! | `world` | the box and its peer are what they claim to be |
//! | `counting` | exactly the limit is let through, by every way that may be taken |
//! | `evasion` | each known way around, and that it fails |
//! | `races` | nothing is decided on memory or descriptors that the caller can change |
//! | `domains` | what a list of domains lets through, and no way around it |
//! | `egress` | the same with curl and TLS |
//! | `clients` | curl, Python, Node, Go, Java and C as they are |
//! | `semantics` | a program hears from the kernel what it would hear without a gate |
//! | `slow` | silent peers hold up nobody; a dead supervisor lets nothing out |
//! | `control` | the daemon's own port, and what a refusal looks like from outside |

mod clients;
mod control;
mod counting;
mod domains;
mod egress;
mod evasion;
mod races;
mod semantics;
mod slow;
mod world;

use crate::support::network::{Network, Seen};
use crate::support::{Daemon, Finished, Start, World};
use serde_json::{Value, json};

/// What an attempt over the limit gets.
const OVER: i32 = libc::EPERM;
/// What a policy refuses, whatever the limit.
const POLICY: i32 = libc::EACCES;

/// A profile that refuses pidfd_getfd leaves only sockets within reach that the supervisor made itself, and those only until they are
/// connected: what is done to others is refused.
fn only_made_sockets() -> bool {
    matches!(World::current(), World::Docker | World::DockerLocked)
}

/// `workload net PROGRAM …` under VALIDATION, whose limit is 20.
fn program<S: AsRef<str>>(words: &[S]) -> Start {
    let words: Vec<&str> = std::iter::once("net").chain(words.iter().map(AsRef::as_ref)).collect();
    Start::workload(&words)
}

/// The same without a gate.
fn native(start: &Start) -> Start {
    start.clone().set("agent_type", "DEFAULT")
}

/// A daemon with a type ROOMY, which is VALIDATION with room for a thousand requests.
fn roomy_daemon(network: &Network) -> Daemon {
    let config = network.scratch.path().join("roomy.toml");
    std::fs::write(&config, "[agent_types.ROOMY]\nextends = \"VALIDATION\"\nnetwork_requests = 1000\n").unwrap();
    Daemon::own(&["--config", &config.display().to_string()])
}

/// One program's end: what it said, what the daemon counted and what the peer saw.
struct Outcome {
    said: Value,
    end: Finished,
    seen: Seen,
}

impl Outcome {
    fn requests(&self) -> Option<u64> {
        self.end.usage("network_requests")
    }

    fn denied(&self) -> Option<u64> {
        self.end.usage("network_denied")
    }

    /// Requests and refusals, exactly.
    fn must_count(&self, requests: u64, denied: u64) -> &Outcome {
        let counted = (self.requests(), self.denied());
        assert_eq!(counted, (Some(requests), Some(denied)), "{} {:?} {:#}", self.said, self.seen, self.end.object);
        self
    }
}

/// Runs a program to its end and asks everybody.
fn run(network: &Network, daemon: &Daemon, start: &Start) -> Outcome {
    network.reset();
    let end = daemon.run(start);
    end.must_end("completed", "exit");
    Outcome { said: daemon.report(end.id()), seen: network.seen(), end }
}

/// `{"0": let_through, errno: refused}` without what did not happen.
fn tally(let_through: u64, errno: i32, refused: u64) -> Value {
    let counts = [(0, let_through), (errno, refused)];
    counts.iter().filter(|(_, count)| *count > 0).map(|(errno, count)| (errno.to_string(), json!(count))).collect()
}
