//! The execd binary: blocks signals, reads the command line, and hands over to the composition root.

use execd::cli::{self, Command, Surroundings};
use execd::config::resolve::read_text;
use execd::init::signals;
use std::ffi::OsString;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    // Before anything else: a TERM that arrives during start-up must not be lost or kill us half-way.
    let watched = signals::block();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let command = match cli::parse(&argv, Surroundings { variables: &variables, read: &read_text }) {
        Ok(command) => command,
        Err(stop) => return ExitCode::from(stop.tell()),
    };
    let result = match (command, watched) {
        (Command::Serve(request), Ok(watched)) => execd::app::serve::serve(*request, watched),
        (Command::Run(request), Ok(watched)) => execd::app::run::run(*request, watched),
        (Command::Task(task), _) => {
            signals::unblock();
            Ok(cli::tasks::run(*task, &execd::app::offline_health))
        }
        (_, Err(error)) => Err(error.into()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("execd: {error:#}");
            ExitCode::from(cli::verdict::OWN_FAILURE)
        }
    }
}
