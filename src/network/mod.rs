//! What executions may reach through the egress proxy. What the kernel refuses is the supervisor's (`supervisor/gate.rs`).
//!
//! Knows hosts, addresses and connections; never executions, agent types or telemetry.

pub mod address;
pub mod host;
pub mod policy;
pub mod resolvers;
pub mod rule;
