//! The command line: subcommands, tables, exit codes.
//!
//! `parse` is pure and turns arguments and environment into a checked [`Command`]. `serve` and `run` are handed to the
//! composition root; every other subcommand runs to its end in `tasks`, mostly as a client of a running daemon. This room
//! never touches limits, processes or cgroups itself.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; `health`: healthy or degraded |
//! | 1 | the daemon said no; `health`: unhealthy |
//! | 2 | no daemon was reached |
//! | 64 | wrong usage (125 for `run`) |
//! | 78 | broken configuration (125 for `run`) |

mod args;
pub mod client;
pub mod command;
mod config_tasks;
mod discover;
pub mod doctor;
mod fields;
#[cfg(test)]
mod fixture;
mod frame;
#[cfg(fuzzing)]
#[path = "../fuzzing/cli.rs"]
pub mod fuzzing;
mod health;
pub mod http;
mod install;
mod kill;
mod log_lines;
mod logs;
mod pages;
pub mod parse;
#[cfg(test)]
mod parse_tests;
mod ps;
mod run_args;
mod serve_args;
mod session;
pub mod sse;
pub mod table;
pub mod tasks;
pub mod terminal;
mod top;
mod types_table;
pub mod verdict;

pub use command::{Command, JsonTarget, RunRequest, ServeRequest, Task};
pub use discover::NOTE;
pub use doctor::doctor_table;
pub use parse::{Stop, Surroundings, parse};
pub use tasks::run as run_task;
pub use verdict::{exit_code, verdict_line};
