//! What executions may reach through the egress proxy. What the kernel refuses is the supervisor's (`supervisor/gate.rs`).
//!
//! Knows hosts, addresses and connections; never executions, agent types or telemetry.

pub mod address;
mod client_hello;
mod connect_head;
mod dial;
pub mod egress;
mod fields;
mod forward;
mod framing;
#[cfg(fuzzing)]
#[path = "../fuzzing/network.rs"]
pub mod fuzzing;
mod hello;
pub mod host;
pub mod pinned;
pub mod policy;
pub mod proxy;
mod refusal;
pub mod resolvers;
pub mod rule;
mod stream;
mod tunnel;
mod way;
