//! The command line as clap sees it: names, placeholders and help texts. What they mean is in `parse`.

use crate::config::options::{OPTIONS, Opt, Shape};
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

const ROOT_HELP: &str = "\
Without a subcommand execd serves: `execd --port 44772 -- sleep infinity` is
`execd serve --port 44772 -- sleep infinity`.

Exit codes: 0 done, 1 the daemon said no or is unhealthy, 2 no daemon reached,
64 wrong usage, 78 broken configuration, 125 `run` itself failed.

Examples:
  execd -- python3 agent.py                     PID 1 of a sandbox
  execd run --agent-type VALIDATION -- make test
  execd doctor                                  what is enforced here, and how
  execd logs -f ID";

/// The whole tree, for parsing, help, completions and manual pages.
pub(super) fn root() -> Command {
    Command::new("execd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs AI-agent executions under limits that hold, as PID 1 or companion")
        .override_usage("execd [serve] [SETTINGS] [-- CMD...]\n       execd <COMMAND> [OPTIONS]")
        .after_help(ROOT_HELP)
        .subcommand_required(true)
        .max_term_width(100)
        .subcommands([serve(), run(), health(), doctor(), ps(), logs(), kill(), top()])
        .subcommands([agent_types(), config(), install(), completions(), man()])
}

fn serve() -> Command {
    let args = OPTIONS.iter().map(setting);
    Command::new("serve")
        .about("Serve the API, and be init where execd is PID 1 (the default)")
        .long_about(
            "Serve the API, and be init where execd is PID 1. What follows -- is the main command: it gets signals and\n\
             the terminal, and its end is the end of the daemon, with its exit code.\n\n\
             Every flag is also a variable (EXECD_LOG_LEVEL) and a key of the configuration file (log_level).\n\
             Precedence: flag, variable, file, default. Unknown flags are ignored with a warning.",
        )
        .next_line_help(true)
        .args(args)
        .arg(Arg::new("main").value_name("CMD").num_args(0..).last(true).help("Main command with its arguments"))
}

fn setting(option: &'static Opt) -> Arg {
    let default = option.default.filter(|_| option.shape != Shape::Switch);
    let help =
        default.map_or_else(|| option.help.to_owned(), |default| format!("{} [default: {default}]", option.help));
    let heading = if option.compat { "OpenSandbox compatibility" } else { "Settings" };
    let arg = Arg::new(option.name).long(option.name).value_name(option.value_name).help(help).help_heading(heading);
    match option.shape {
        Shape::Value => arg.action(ArgAction::Set).overrides_with(option.name),
        Shape::List => arg.action(ArgAction::Append),
        Shape::Switch => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .overrides_with(option.name),
    }
}

fn run() -> Command {
    let value = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(placeholder).help(help)
    };
    let limit =
        |name, placeholder, help| value(name, placeholder, help).help_heading("Limits (tighten the agent type's)");
    Command::new("run")
        .about("Run one command under an agent type's limits, without a daemon")
        .after_help(
            "Exit code: the command's own, 128+n for signal n, 126 not executable, 127 not found, 124 wall time,\n\
             137 memory, 152 CPU time, 153 storage, 154 network or processes when the type kills, 143 cancelled,\n\
             125 execd's own failure.\n\n\
             Example: execd run --agent-type VALIDATION --memory 256MiB --wall-time 2m -- make test",
        )
        .arg(value("agent-type", "TYPE", "Agent type; see `execd agent-types`").short('t'))
        .arg(limit("memory", "SIZE", "Unreclaimable memory of all processes, e.g. 64MiB"))
        .arg(limit("cpu-time", "TIME", "CPU time of all processes, e.g. 30s"))
        .arg(limit("wall-time", "TIME", "Time on the clock, e.g. 5m"))
        .arg(limit("network-requests", "N", "Outbound requests; 0 allows none"))
        .arg(limit("storage", "SIZE", "Bytes added below the work directory"))
        .arg(limit("pids", "N", "Processes and threads at once"))
        .arg(limit("open-files", "N", "Open files per process"))
        .arg(limit("file-size", "SIZE", "Largest single file"))
        .arg(limit("cpu-cores", "N", "CPU rate in cores, e.g. 0.5"))
        .arg(
            value("allow-domain", "DOMAIN", "Let the egress proxy reach this domain; repeatable")
                .action(ArgAction::Append),
        )
        .arg(
            value("env", "K=V", "Set a variable of the command; repeatable")
                .short('e')
                .action(ArgAction::Append)
                .value_parser(ValueParser::os_string()),
        )
        .arg(
            value("cwd", "DIR", "Work directory [default: a private one, removed at the end]")
                .value_parser(ValueParser::path_buf()),
        )
        .arg(value("user", "UID[:GID]", "Run as this user"))
        .arg(value("config", "FILE", "Configuration file with agent types"))
        .arg(
            value("json", "FILE", "Write the final object as JSON; - or nothing is standard output")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("-")
                .value_parser(ValueParser::path_buf()),
        )
        .arg(
            Arg::new("command")
                .value_name("CMD")
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .value_parser(ValueParser::os_string())
                .help("Command with its arguments"),
        )
}

/// What every subcommand that asks a daemon takes.
fn client(command: Command) -> Command {
    let target = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(placeholder).help(help).help_heading("Daemon")
    };
    command
        .arg(json())
        .arg(target("url", "URL", "Where the daemon is [default: found by itself]"))
        .arg(target("access-token", "TOKEN", "Token; EXECD_ACCESS_TOKEN is safer").alias("token"))
        .arg(target("access-token-file", "FILE", "File with the token").alias("token-file"))
        .arg(target("state-dir", "DIR", "State directory of the daemon, where it notes its port"))
        .arg(target("config", "FILE", "The daemon's configuration file"))
        .arg(target("timeout", "TIME", "Longest wait for an answer [default: 5s]"))
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON")
}

fn id(help: &'static str) -> Arg {
    Arg::new("id").value_name("ID").help(help)
}

fn health() -> Command {
    client(Command::new("health"))
        .about("Ask the daemon whether it is well")
        .after_help("Exit code: 0 healthy or degraded, 1 unhealthy, 2 not reachable. For HEALTHCHECK and exec probes.")
}

fn doctor() -> Command {
    client(Command::new("doctor"))
        .about("Show what is enforced here, by which mechanism and how strongly")
        .arg(
            Arg::new("offline")
                .long("offline")
                .action(ArgAction::SetTrue)
                .help("Look at this machine without a daemon"),
        )
        .arg(Arg::new("wide").long("wide").action(ArgAction::SetTrue).help("Do not cut the explanations"))
}

fn ps() -> Command {
    client(Command::new("ps"))
        .about("List executions")
        .arg(Arg::new("all").long("all").short('a').action(ArgAction::SetTrue).help("Finished ones too"))
        .arg(Arg::new("status").long("status").value_name("STATUS").help("Only this status, e.g. running"))
        .arg(Arg::new("agent-type").long("agent-type").short('t').value_name("TYPE").help("Only this agent type"))
        .arg(Arg::new("task-id").long("task-id").value_name("TASK").help("Only this task"))
}

fn logs() -> Command {
    client(Command::new("logs"))
        .about("Print the output of an execution, or the daemon's events without an ID")
        .arg(Arg::new("follow").long("follow").short('f').action(ArgAction::SetTrue).help("Go on until it ends"))
        .arg(
            Arg::new("level")
                .long("level")
                .value_name("LEVEL")
                .help("Only this level and worse: fatal, error, warn, info, debug"),
        )
        .after_help(
            "A line of output that is JSON with a `level` has that level; other lines of stderr count as error,\n\
             of stdout as info.",
        )
        .arg(id("Execution; without it, the daemon's events (with --follow)"))
}

fn kill() -> Command {
    client(Command::new("kill"))
        .about("Cancel executions, or send them a signal")
        .arg(
            Arg::new("signal")
                .long("signal")
                .short('s')
                .value_name("SIGNAL")
                .help("Send this and do not cancel, e.g. SIGINT or 2"),
        )
        .arg(id("Executions").num_args(1..).required(true))
}

fn top() -> Command {
    client(Command::new("top"))
        .about("Watch executions and what the sandbox uses; q leaves")
        .arg(Arg::new("interval").long("interval").value_name("TIME").help("Time between frames [default: 1s]"))
        .arg(Arg::new("once").long("once").action(ArgAction::SetTrue).help("Print one frame and end"))
}

fn agent_types() -> Command {
    client(Command::new("agent-types"))
        .about("List agent types and their limits")
        .long_about("List agent types and their limits: those of the configuration here, or with --url the daemon's.")
        .arg(Arg::new("name").value_name("TYPE").help("Show all of this one"))
}

fn config() -> Command {
    let file = Arg::new("file").value_name("FILE").required(true).value_parser(ValueParser::path_buf());
    Command::new("config")
        .about("Check or show the configuration")
        .subcommand_required(true)
        .subcommand(
            Command::new("check")
                .about("Check a configuration file; complaints name line, column and key")
                .arg(json())
                .arg(file.help("File to check")),
        )
        .subcommand(
            Command::new("show")
                .about("Show every setting in force and where it comes from; takes the flags of serve")
                .arg(json())
                .args(OPTIONS.iter().map(setting)),
        )
}

fn install() -> Command {
    Command::new("install").about("Copy this binary to DIR/execd, e.g. from an init container").arg(json()).arg(
        Arg::new("dir")
            .value_name("DIR")
            .required(true)
            .value_parser(ValueParser::path_buf())
            .help("Folder; made if missing"),
    )
}

fn completions() -> Command {
    Command::new("completions").about("Print shell completions").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(["bash", "zsh", "fish"])
            .help("bash, zsh or fish"),
    )
}

fn man() -> Command {
    Command::new("man")
        .about("Print a manual page (roff), e.g. `execd man run | man -l -`")
        .arg(Arg::new("page").value_name("SUBCOMMAND").help("Page of this subcommand [default: execd itself]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        root().debug_assert();
    }

    #[test]
    fn help_fits_a_screen_and_names_every_setting() {
        let mut tree = root();
        tree.build();
        for command in tree.get_subcommands_mut() {
            let text = command.render_long_help().to_string();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(140), "{}: {widest:?}", command.get_name());
        }
        let serve = tree.find_subcommand_mut("serve").map(|serve| serve.render_help().to_string()).unwrap_or_default();
        assert!(OPTIONS.iter().all(|option| serve.contains(&format!("--{}", option.name))));
    }
}
