//! How tests start the real binary and talk to it, in whatever world they find themselves.
//!
//! | file | what it is for |
//! |---|---|
//! | `world` | which world this is, what it must be able to do, where the binaries are |
//! | `daemon` | a daemon of the test's own, or the one that is PID 1 here |
//! | `execution` | start requests and the objects that come back |
//! | `http`, `sse` | a client small enough to be sure of what goes over the wire |
//! | `network` | a box and a peer that counts what really reaches it |
//! | `proc` | what the kernel says about processes |
//! | `container`, `machine` | the outer side: Docker and the virtual machine that run this same test binary inside |
#![allow(dead_code, unreachable_pub, reason = "every test binary uses another part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should panic where it stands")]

pub mod container;
pub mod cpio;
pub mod daemon;
pub mod execution;
pub mod http;
pub mod machine;
pub mod network;
pub mod proc;
pub mod sse;
pub mod verdict;
pub mod world;

#[allow(unused_imports, reason = "as above")]
pub use self::{daemon::Daemon, execution::Finished, execution::Start, world::World};

use std::time::{Duration, Instant};

/// Asks `probe` every 10 ms until it answers, for at most `limit`.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value below which `percent` of the sorted samples lie.
pub fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}
