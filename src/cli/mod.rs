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

/// Reads this process's command line and environment. When the invocation ends with that (help, wrong usage, broken
/// configuration), the text is printed and the exit code is the error.
///
/// # Errors
/// The exit code to end with.
pub fn read_process() -> Result<Command, u8> {
    let argv: Vec<_> = std::env::args_os().collect();
    let variables: Vec<_> = std::env::vars_os().collect();
    let around = Surroundings { variables: &variables, read: &crate::config::resolve::read_text };
    parse(&argv, around).map_err(|stop| {
        if stop.code == 0 {
            // A reader that went away has seen what it wanted.
            let _ = terminal::print(&stop.text);
        } else {
            terminal::complain(stop.text.trim_end());
        }
        stop.code
    })
}
