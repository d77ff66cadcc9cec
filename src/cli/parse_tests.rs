//! Whole command lines against what they ask for.

use super::command::{Asked, Command, JsonTarget, RunRequest, ServeRequest, Task};
use super::parse::{Stop, Surroundings, parse};
use crate::config::settings::TokenSource;
use proptest::prelude::*;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

fn parsed_with(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Command, Stop> {
    let argv: Vec<OsString> = std::iter::once("execd").chain(args.iter().copied()).map(OsString::from).collect();
    let variables: Vec<_> = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    let read = |_: &Path| file.map(str::to_owned).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    parse(&argv, Surroundings { variables: &variables, read: &read })
}

fn parsed(line: &str) -> Result<Command, Stop> {
    parsed_with(&words(line), &[], None)
}

fn serve(line: &str) -> ServeRequest {
    match parsed(line) {
        Ok(Command::Serve(request)) => *request,
        other => panic!("{line}: {other:?}"),
    }
}

fn run(line: &str) -> RunRequest {
    match parsed(line) {
        Ok(Command::Run(request)) => *request,
        other => panic!("{line}: {other:?}"),
    }
}

fn task(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Task {
    match parsed_with(args, env, file) {
        Ok(Command::Task(task)) => *task,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn health(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Asked<()> {
    match task(args, env, file) {
        Task::Health(asked) => asked,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn stop(line: &str) -> Stop {
    match parsed(line) {
        Err(stop) => stop,
        Ok(command) => panic!("{line}: {command:?}"),
    }
}

#[test]
fn serve_is_the_default_and_takes_a_main_command() {
    for line in ["-- sh -c x", "serve -- sh -c x"] {
        assert_eq!(serve(line).main_command, ["sh", "-c", "x"], "{line}");
    }
    assert!(serve("").main_command.is_empty());
    assert_eq!(serve("serve --listen :1 --allow-host a --allow-host b").settings.allow_hosts, ["a", "b"]);
    assert_eq!(serve("--port 1 --port 2").settings.listen.port(), 2);
    assert!(serve("--guard-metrics").settings.guard_metrics);
    assert!(serve("--enable-file-log --log-compress=false").settings.file_log.is_some());
}

#[test]
fn opensandbox_lines_start() {
    let request = serve("-port 5 -log-level 6 --graceful-shutdown-timeout=1s --odd tail -f /dev/null -- true");
    assert_eq!(request.settings.listen.port(), 5);
    assert_eq!(request.ignored_arguments, ["--odd", "tail", "-f", "/dev/null"]);
    assert_eq!(request.main_command, ["true"]);
}

#[test]
fn a_known_flag_stays_strict_in_serve() {
    assert_eq!(stop("--port abc").code, 78);
    assert_eq!(stop("--port").code, 64);
    assert_eq!(stop("serve --log-level loud").code, 78);
}

#[test]
fn subcommands_are_strict() {
    for line in [
        "ps --odd",
        "health extra",
        "kill",
        "kill x --signal SIGNO",
        "top --interval 0s",
        "logs",
        "config",
        "completions csh",
        "man nothing",
        "ps --timeout 5",
    ] {
        assert_eq!(stop(line).code, 64, "{line}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for line in ["--help", "-h", "help", "help run", "run --help", "--version", "-V", "serve --help", "-help"] {
        let stop = stop(line);
        assert_eq!(stop.code, 0, "{line}: {}", stop.text);
        assert!(stop.text.contains("execd"), "{line}");
    }
}

#[test]
fn run_carries_tightened_limits() {
    let request = run("run --agent-type validation --memory 64MiB --cpu-time 1s --network-requests 0 --pids 32 \
                       --env A=b=c --user 5:6 --allow-domain *.Example.com -- sh -c x");
    assert_eq!(request.agent_type.name, "VALIDATION");
    assert_eq!((request.limits.memory_bytes, request.limits.cpu_time_ms), (Some(64 << 20), Some(1000)));
    assert_eq!((request.limits.network_requests, request.limits.pids), (Some(0), Some(32)));
    assert_eq!(request.limits.wall_time_ms, request.agent_type.limits.wall_time_ms);
    assert_eq!(request.env, [(OsString::from("A"), OsString::from("b=c"))]);
    assert_eq!(request.allow_domains, ["*.example.com"]);
    assert_eq!(request.argv, ["sh", "-c", "x"]);
    assert_eq!(request.user.map(|user| (user.uid, user.gid)), Some((5, 6)));
}

#[test]
fn run_without_dashes_and_with_json() {
    assert_eq!(run("run true --flag").argv, ["true", "--flag"]);
    assert_eq!(run("run true").agent_type.name, "DEFAULT");
    assert_eq!(run("run --json=- -- true").json, Some(JsonTarget::Stdout));
    assert_eq!(run("run --json -- true").json, Some(JsonTarget::Stdout));
    assert_eq!(run("--json run -- true").json, Some(JsonTarget::Stdout));
    assert_eq!(run("run --json=/x -- true").json, Some(JsonTarget::File(PathBuf::from("/x"))));
}

#[test]
fn a_wrong_run_is_125_and_says_why() {
    for (line, part) in [
        ("run", "CMD"),
        ("run --odd -- true", "--odd"),
        ("run --agent-type nope -- true", "VALIDATION"),
        ("run --agent-type validation --memory 1TiB -- true", "may not be loosened"),
        ("run --memory 0 -- true", "above 0"),
        ("run --memory much -- true", "MiB"),
        ("run --cpu-cores nan -- true", "cpu_cores"),
        ("run --env =x -- true", "NAME=VALUE"),
        ("run --user root -- true", "UID"),
        ("run --allow-domain http://x -- true", "must be a name"),
    ] {
        let stop = stop(line);
        assert_eq!(stop.code, 125, "{line}");
        assert!(stop.text.contains(part), "{line}: {}", stop.text);
    }
}

#[test]
fn clients_read_what_the_daemon_reads() {
    let env = [("EXECD_LISTEN", "127.0.0.1:5"), ("EXECD_ACCESS_TOKEN", "t0k"), ("XDG_STATE_HOME", "/x")];
    let asked = health(&["health", "--json"], &env, None);
    assert!(asked.json);
    assert_eq!(asked.target.listen.map(|address| address.port()), Some(5));
    assert!(matches!(&asked.target.token, TokenSource::Given(token) if token.expose() == "t0k"));
    assert_eq!(asked.target.state_dirs, [Path::new("/var/lib/execd"), Path::new("/x/execd")]);
    let asked = health(&["health"], &[], None);
    assert_eq!(asked.target.listen, None, "the default is tried last");
}

#[test]
fn a_broken_file_stops_serve_and_not_the_health_check() {
    let broken = Some("listen = 5\n");
    let stop = parsed_with(&["serve"], &[], broken).expect_err("broken");
    assert_eq!(stop.code, 78);
    assert!(stop.text.starts_with("execd: /etc/execd/config.toml:1:10: listen: "), "{}", stop.text);
    assert!(!health(&["health"], &[], broken).json);
    assert_eq!(parsed_with(&["config", "show"], &[], broken).expect_err("broken").code, 78);
}

#[test]
fn completions_and_manuals_are_made() {
    for (line, part) in [
        ("completions bash", "_execd"),
        ("completions zsh", "#compdef execd"),
        ("completions fish", "complete -c execd"),
        ("man", ".TH execd"),
        ("man run", "execd run"),
    ] {
        let Task::Print(bytes) = task(&words(line), &[], None) else { panic!("{line}") };
        assert!(String::from_utf8_lossy(&bytes).contains(part), "{line}");
    }
}

#[test]
fn signals_by_name_and_number() {
    for (text, name) in [("SIGINT", "SIGINT"), ("int", "SIGINT"), ("9", "SIGKILL")] {
        let Task::Kill(asked) = task(&["kill", "a", "b", "-s", text], &[], None) else { panic!("{text}") };
        assert_eq!((asked.what.signal.as_deref(), asked.what.ids.len()), (Some(name), 2));
    }
}

proptest! {
    #[test]
    fn any_line_is_answered_without_panic(words in proptest::collection::vec(
        "(run|ps|serve|--|--json|-p|--port|--memory|=|[a-z0-9=:-]{0,6})", 0..7)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = parsed_with(&words, &[], None);
    }
}
