//! One HTTP connection from its first byte to its last: protocol, watchdog, drain. What a request means is not known here.
//!
//! The HTTP engine is generic code, compiled where it is used. It is used here so that it can be compiled for speed
//! (`profile.release.package.execd-wire`) while the daemon around it is compiled for size.

mod bell;
mod connection;
pub mod drain;
mod early;
mod panic;
pub mod plain;
mod protocol;

pub use connection::{Io, Running, State};
pub use panic::{CatchPanic, Panicked, catch};
pub use protocol::{Answer, Answers, Ended, serve};
