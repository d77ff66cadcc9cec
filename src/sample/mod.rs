//! What the container has and uses, never the host's figures where a group of ours exists.
//!
//! A [`Sampler`] looks when somebody asks and never by itself: no task, no timer, no thread. It reads; it writes nothing and
//! decides nothing. How figures are shown (JSON, Prometheus, tables) is the business of `api` and `cli`.

mod bandwidth;
mod counter;
mod cpu;
mod disk;
#[cfg(fuzzing)]
#[path = "../fuzzing/sample.rs"]
pub mod fuzzing;
mod host;
mod memory;
mod pids;
mod pressure;
mod processes;
mod rates;
mod sampler;
mod seat;
mod snapshot;

pub use host::{Host, host};
pub use rates::{CpuLook, CpuRate, cpu_rate};
pub use sampler::Sampler;
pub use snapshot::{Disk, MemLimitSource, Pressure, Snapshot};
