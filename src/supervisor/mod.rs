//! The process per execution, and the zygote that forks it.
//!
//! ```text
//! daemon (tokio) ── zygote ── supervisor ── command and all that it forks
//!    └───────── packet socket ───┘
//! ```
//!
//! A supervisor has one thread and one poll. It outlives nothing: when the daemon's end of its socket closes it kills its tree,
//! and what a dead supervisor leaves is killed by the zygote. Nothing here knows HTTP, JSON or tokio.

mod confine;
pub mod container;
pub mod context;
mod filter;
#[cfg(fuzzing)]
#[path = "../fuzzing/supervisor.rs"]
pub mod fuzzing;
mod gate;
mod held;
mod kill;
mod memory;
mod network;
pub mod parcel;
pub mod probe;
pub mod protocol;
mod run;
mod state;
mod storage;
pub mod strings;
mod stub;
mod tree;
mod walk;
mod watch;
pub mod zygote;
