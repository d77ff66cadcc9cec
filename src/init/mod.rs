//! PID 1 and companion: who we are here, the main command, signals, the only wait of the daemon, the orderly end.
//!
//! Executions are not waited for here: each supervisor owns its own. What arrives here are the main command, the zygote, and
//! orphans that were reparented to us.

pub mod main_command;
pub mod mounts;
pub mod reaper;
pub mod role;
pub mod signals;
pub mod termination;
