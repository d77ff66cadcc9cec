//! Runs the subcommands that end here, and gives their exit codes.

use super::client::ClientError;
use super::command::Task;
use super::parse::{BROKEN_CONFIG, USAGE};
use super::terminal::{self, Terminal};
use super::{config_tasks, doctor, health, install, kill, logs, ps, top, types_table};
use serde_json::Value;
use std::io;
use thiserror::Error;

/// The daemon said no.
pub const REFUSED: u8 = 1;
/// No daemon was reached.
pub const NOT_REACHED: u8 = 2;

/// Why a subcommand failed.
#[derive(Debug, Error)]
pub enum TaskError {
    /// The daemon was not reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file or standard output.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with its path.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A configuration file is broken.
    #[error("{0}")]
    Config(String),
    /// Asked for something that is not there.
    #[error("{0}")]
    Unknown(String),
}

impl TaskError {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            TaskError::Client(ClientError::Unreachable { .. } | ClientError::NotFound { .. }) => NOT_REACHED,
            TaskError::Client(ClientError::Url { .. }) => USAGE,
            TaskError::Client(ClientError::Refused { .. } | ClientError::NotJson { .. }) => REFUSED,
            TaskError::Io { .. } | TaskError::Unknown(_) => REFUSED,
            TaskError::Config(_) => BROKEN_CONFIG,
        }
    }
}

/// Runs a task; complaints go to standard error. `offline` is the health object that this machine would give without a
/// daemon, for `doctor`.
pub fn run(task: Task, offline: &dyn Fn() -> Value) -> u8 {
    let terminal = Terminal::detect();
    let outcome = match task {
        Task::Health(asked) => health::run(&asked, terminal),
        Task::Doctor(asked) => doctor::run(&asked, terminal, offline),
        Task::Ps(asked) => ps::run(&asked, terminal),
        Task::Logs(asked) => logs::run(&asked),
        Task::Kill(asked) => kill::run(&asked),
        Task::Top(asked) => top::run(&asked, terminal),
        Task::AgentTypes(asked) => types_table::run(&asked, terminal),
        Task::ConfigCheck { file, json } => config_tasks::check(&file, json),
        Task::ConfigShow { loaded, json } => config_tasks::show(&loaded, json, terminal),
        Task::Install { dir, json } => install::run(&dir, json),
        Task::Print(bytes) => print_bytes(&bytes),
    };
    outcome.unwrap_or_else(|error| {
        terminal::complain(&format!("execd: {error}"));
        error.code()
    })
}

/// Prints text; a reader that went away is fine.
pub(super) fn print(text: &str) -> Result<u8, TaskError> {
    print_bytes(text.as_bytes())
}

/// Prints one JSON value, indented on a terminal's behalf by `jq`, not by us: one line, so that it can be piped.
pub(super) fn print_json(value: &Value) -> Result<u8, TaskError> {
    print(&format!("{value}\n"))
}

fn print_bytes(bytes: &[u8]) -> Result<u8, TaskError> {
    terminal::print_bytes(bytes).map(|_| 0).map_err(output_error)
}

/// A failure of standard output, e.g. a full disk behind it.
pub(super) fn output_error(source: io::Error) -> TaskError {
    TaskError::Io { what: "cannot write to standard output".to_owned(), source }
}
