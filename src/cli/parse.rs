//! Command line and environment to a checked [`Command`]. Pure: files are read through the function that is given.

use super::args;
use super::command::{AgentTypesShown, Asked, Command, Doctor, Filter, Kill, Logs, ServeRequest, Target, Task, Top};
use super::pages;
use super::run_args;
use super::serve_args;
use super::terminal;
use crate::config::layers::{self, Layer};
use crate::config::load::{self, LoadError, Loaded, ReadFile};
use crate::config::options::{OPTIONS, Opt};
use crate::config::{resolve, values};
use clap::ArgMatches;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Wrong usage (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;
/// Broken configuration (`EX_CONFIG` of sysexits.h).
pub const BROKEN_CONFIG: u8 = 78;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The invocation ends here: help was asked for, or something was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What to print; to standard output when the code is 0, else to standard error.
    pub text: String,
    /// Exit code.
    pub code: u8,
}

impl Stop {
    /// Prints it where it belongs and gives the exit code. A reader that went away has seen what it wanted.
    pub fn tell(&self) -> u8 {
        if self.code == 0 {
            let _ = terminal::print(&self.text);
        } else {
            terminal::complain(self.text.trim_end());
        }
        self.code
    }

    /// Wrong usage, in one sentence.
    pub(super) fn usage(message: impl std::fmt::Display) -> Self {
        Self { text: format!("execd: {message}"), code: USAGE }
    }

    fn config(error: &LoadError) -> Self {
        Self { text: format!("execd: {error}"), code: BROKEN_CONFIG }
    }
}

/// The environment of an invocation.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// All variables.
    pub variables: &'a [(OsString, OsString)],
    /// Reads a configuration file.
    pub read: ReadFile<'a>,
}

impl Surroundings<'_> {
    pub(super) fn load(self, flags: &Layer) -> Result<Loaded, Stop> {
        load::load(flags, self.variables, self.read).map_err(|error| Stop::config(&error))
    }

    fn variable(self, name: &str) -> Option<PathBuf> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| PathBuf::from(value))
    }
}

/// Reads a whole command line, program name included.
///
/// # Errors
/// [`Stop`] with what to print and the exit code: help and version (0), usage (64; 125 for `run`), configuration (78).
pub fn parse(argv: &[OsString], around: Surroundings<'_>) -> Result<Command, Stop> {
    let given = argv.get(1..).unwrap_or_default();
    let (json_first, rest) = match given.split_first() {
        Some((first, rest)) if first == "--json" => (true, rest),
        Some(_) | None => (false, given),
    };
    match rest.first().and_then(|word| word.to_str()) {
        Some("serve") => serve(&rest[1..], around),
        Some("-V" | "--version" | "-h" | "--help") => Err(stop(args::root().try_get_matches_from(argv), USAGE)),
        Some(word) if SUBCOMMANDS.contains(&word) => {
            let mut line: Vec<OsString> = vec!["execd".into(), word.into()];
            line.extend(json_first.then(|| "--json".into()));
            line.extend_from_slice(&rest[1..]);
            subcommand(&line, word == "run", around)
        }
        Some(_) | None => serve(given, around),
    }
}

/// The subcommands beside `serve`, so that a start of the daemon does not build clap's whole tree to look for one.
const SUBCOMMANDS: [&str; 13] = [
    "run",
    "health",
    "doctor",
    "ps",
    "logs",
    "kill",
    "top",
    "agent-types",
    "config",
    "install",
    "completions",
    "man",
    "help",
];

/// What clap says instead of matches. A success here would be a flag that is help and is not.
fn stop(parsed: Result<ArgMatches, clap::Error>, usage: u8) -> Stop {
    match parsed {
        Ok(_) => Stop::usage("nothing to do; see execd --help"),
        Err(error) => {
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            Stop { text: error.render().to_string(), code: if shown { 0 } else { usage } }
        }
    }
}

fn serve(given: &[OsString], around: Surroundings<'_>) -> Result<Command, Stop> {
    let sorted = serve_args::sort(given).map_err(Stop::usage)?;
    if let Some(help) = sorted.help {
        return Err(stop(args::root().try_get_matches_from(["execd", "serve", help]), USAGE));
    }
    let loaded = around.load(&layers::flags(sorted.settings))?;
    Ok(Command::Serve(Box::new(ServeRequest {
        settings: loaded.settings,
        agent_types: loaded.agent_types,
        config_file: loaded.config_file,
        main_command: sorted.main_command,
        ignored_arguments: sorted.ignored,
        ignored_variables: loaded.ignored_variables,
        xdg_state_home: around.variable("XDG_STATE_HOME"),
    })))
}

/// The settings among the matches of a subcommand.
fn flags(matches: &ArgMatches) -> Layer {
    let of = |option: &'static Opt| {
        let values = matches.try_get_many::<String>(option.name).ok().flatten().unwrap_or_default();
        values.map(move |text| (option, text.clone()))
    };
    layers::flags(OPTIONS.iter().flat_map(of))
}

fn subcommand(line: &[OsString], is_run: bool, around: Surroundings<'_>) -> Result<Command, Stop> {
    let usage = if is_run { super::verdict::OWN_FAILURE } else { USAGE };
    let matches = args::root().try_get_matches_from(line).map_err(|error| stop(Err(error), usage))?;
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Stop::usage("nothing to do; see execd --help"));
    };
    if name == "run" {
        let own = |stop: Stop| Stop { code: usage, ..stop };
        return run_args::read(matches, around).map(|request| Command::Run(Box::new(request))).map_err(own);
    }
    task(name, matches, around).map(|task| Command::Task(Box::new(task)))
}

fn task(name: &str, matches: &ArgMatches, around: Surroundings<'_>) -> Result<Task, Stop> {
    Ok(match name {
        "health" => Task::Health(asked(matches, around, |_| Ok(()))?),
        "doctor" => Task::Doctor(asked(matches, around, |_| {
            Ok(Doctor { offline: matches.get_flag("offline"), wide: matches.get_flag("wide") })
        })?),
        "ps" => Task::Ps(asked(matches, around, |_| {
            Ok(Filter {
                all: matches.get_flag("all"),
                status: text(matches, "status"),
                agent_type: text(matches, "agent-type"),
                task_id: text(matches, "task-id"),
            })
        })?),
        "logs" => Task::Logs(asked(matches, around, |_| logs(matches))?),
        "kill" => Task::Kill(asked(matches, around, |_| kill(matches))?),
        "top" => Task::Top(asked(matches, around, |_| top(matches))?),
        "agent-types" => Task::AgentTypes(Box::new(asked(matches, around, |loaded| {
            Ok(AgentTypesShown { local: loaded.agent_types, name: text(matches, "name") })
        })?)),
        "config" => config(matches, around)?,
        "install" => Task::Install { dir: path(matches, "dir")?, json: matches.get_flag("json") },
        "completions" => Task::Print(pages::completions(&text(matches, "shell").unwrap_or_default())?),
        "man" => Task::Print(pages::manual(text(matches, "page").as_deref())?),
        other => return Err(Stop::usage(format!("{other} is no subcommand; see execd --help"))),
    })
}

fn asked<T>(
    matches: &ArgMatches,
    around: Surroundings<'_>,
    what: impl FnOnce(Loaded) -> Result<T, Stop>,
) -> Result<Asked<T>, Stop> {
    let loaded = daemon_settings(matches, around)?;
    let listen_known = loaded.shown.iter().any(|shown| {
        matches!(shown.key.as_str(), "listen" | "port") && !matches!(shown.source.as_str(), "default" | "not set")
    });
    let timeout = text(matches, "timeout").map(|text| duration(&text, "--timeout")).transpose()?;
    let xdg = around.variable("XDG_STATE_HOME");
    let settings = &loaded.settings;
    let target = Target {
        url: text(matches, "url"),
        token: settings.token.clone(),
        listen: listen_known.then_some(settings.listen),
        state_dirs: settings.state_dir.clone().map_or_else(|| resolve::usual_places(xdg.as_deref()), |dir| vec![dir]),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
    };
    Ok(Asked { target, json: matches.get_flag("json"), what: what(loaded)? })
}

/// What the daemon itself would read here. A file that broke after the daemon had read it must not blind its health check.
fn daemon_settings(matches: &ArgMatches, around: Surroundings<'_>) -> Result<Loaded, Stop> {
    let flags = flags(matches);
    around.load(&flags).or_else(|stop| {
        if flags.contains_key("config") {
            return Err(stop);
        }
        let absent = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let blind: Vec<_> = around.variables.iter().filter(|(name, _)| name != "EXECD_CONFIG").cloned().collect();
        Surroundings { variables: &blind, read: &absent }.load(&flags).map_err(|_| stop)
    })
}

fn logs(matches: &ArgMatches) -> Result<Logs, Stop> {
    let level = text(matches, "level").map(|text| values::log_level(&text)).transpose();
    let level = level.map_err(|message| Stop::usage(format!("--level: {message}")))?;
    let request = Logs { id: text(matches, "id"), follow: matches.get_flag("follow"), level };
    if request.id.is_none() && !request.follow {
        return Err(Stop::usage("logs needs the ID of an execution, or --follow for the daemon's events"));
    }
    Ok(request)
}

fn kill(matches: &ArgMatches) -> Result<Kill, Stop> {
    let signal = text(matches, "signal").map(|text| signal_name(&text)).transpose()?;
    let ids = matches.get_many::<String>("id").unwrap_or_default().cloned().collect();
    Ok(Kill { ids, signal })
}

/// `SIGINT` from `SIGINT`, `INT`, `int` or `2`.
fn signal_name(text: &str) -> Result<String, Stop> {
    use nix::sys::signal::Signal;
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let by_number = || text.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok());
    let signal = full.parse::<Signal>().ok().or_else(by_number);
    signal
        .map(|signal| signal.as_str().to_owned())
        .ok_or_else(|| Stop::usage(format!("--signal: {text:?} is no signal; write for example SIGINT or 2")))
}

fn top(matches: &ArgMatches) -> Result<Top, Stop> {
    let interval = text(matches, "interval").map(|text| duration(&text, "--interval")).transpose()?;
    let interval = interval.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(100));
    Ok(Top { interval, once: matches.get_flag("once") })
}

fn config(matches: &ArgMatches, around: Surroundings<'_>) -> Result<Task, Stop> {
    match matches.subcommand() {
        Some(("check", matches)) => {
            Ok(Task::ConfigCheck { file: path(matches, "file")?, json: matches.get_flag("json") })
        }
        Some(("show", matches)) => {
            let loaded = Box::new(around.load(&flags(matches))?);
            Ok(Task::ConfigShow { loaded, json: matches.get_flag("json") })
        }
        Some(_) | None => Err(Stop::usage("config needs check or show")),
    }
}

fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.try_get_one::<String>(name).ok().flatten().cloned()
}

fn path(matches: &ArgMatches, name: &str) -> Result<PathBuf, Stop> {
    matches.get_one::<PathBuf>(name).cloned().ok_or_else(|| Stop::usage(format!("{name} is missing")))
}

fn duration(text: &str, flag: &str) -> Result<Duration, Stop> {
    let duration = values::duration(text).map_err(|message| Stop::usage(format!("{flag}: {message}")))?;
    if duration.is_zero() { Err(Stop::usage(format!("{flag}: must be above 0"))) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_of_subcommands_is_the_tree() {
        let tree = args::root();
        let names: BTreeSet<_> = tree.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
        assert_eq!(names, SUBCOMMANDS.into_iter().chain(["serve"]).collect());
    }
}
