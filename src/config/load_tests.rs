//! Precedence and refusals of the whole configuration, without a disk.

use super::layers::{self, Layer};
use super::load::{LoadError, Loaded, load};
use super::options;
use super::settings::TokenSource;
use super::values::{LogLevel, VmExit};
use proptest::prelude::*;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

fn flags(given: &[(&'static str, &str)]) -> Layer {
    layers::flags(given.iter().map(|(name, text)| (options::find(name).expect(name), (*text).to_owned())))
}

fn variables(given: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    given.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn try_load(flag: &[(&'static str, &str)], env: &[(&str, &str)], file: Option<&str>) -> Result<Loaded, LoadError> {
    let read = |path: &Path| match file {
        Some(text) if path == Path::new("/etc/execd/config.toml") => Ok(text.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    load(&flags(flag), &variables(env), &read)
}

fn loaded(flag: &[(&'static str, &str)], env: &[(&str, &str)], file: Option<&str>) -> Loaded {
    try_load(flag, env, file).expect("right settings")
}

fn refusal(flag: &[(&'static str, &str)], env: &[(&str, &str)], file: Option<&str>) -> String {
    try_load(flag, env, file).expect_err("wrong settings").to_string()
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = loaded(&[], &[], None).settings;
    assert_eq!(settings.listen.to_string(), "[::]:44772");
    assert_eq!(settings.token, TokenSource::None);
    assert_eq!((settings.max_executions, settings.default_agent_type.as_str()), (64, "DEFAULT"));
    assert_eq!((settings.log_level, settings.vm_exit), (LogLevel::Info, VmExit::PowerOff));
    assert_eq!((settings.file_log, settings.metrics_addr, settings.guard_metrics), (None, None, false));
    assert_eq!(settings.termination_log.as_deref(), Some(Path::new("/dev/termination-log")));
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = Some("log_level = 'error'\nmax_executions = 3\nmax_connections = 4\n");
    let env = [("EXECD_LOG_LEVEL", "warn"), ("EXECD_MAX_EXECUTIONS", "2")];
    let settings = loaded(&[("log-level", "7")], &env, file).settings;
    assert_eq!(settings.log_level, LogLevel::Debug);
    assert_eq!((settings.max_executions, settings.max_connections), (2, 4));
}

#[test]
fn a_stronger_layer_decides_both_spellings() {
    let file = Some("listen = '127.0.0.1:1'\naccess_token_file = '/t'\n");
    let settings = loaded(&[("port", "5")], &[("EXECD_ACCESS_TOKEN", "abc")], file).settings;
    assert_eq!(settings.listen.to_string(), "[::]:5");
    assert!(matches!(settings.token, TokenSource::Given(token) if token.expose() == "abc"));
    assert!(refusal(&[("port", "5"), ("listen", ":6")], &[], None).starts_with("--port: "));
    assert!(refusal(&[("access-token", "a"), ("access-token-file", "f")], &[], None).contains("one of them"));
}

#[test]
fn service_links_and_execution_variables_are_not_settings() {
    let env = [
        ("EXECD_PORT", "tcp://10.0.0.1:44772"),
        ("EXECD_PORT_44772_TCP", "tcp://10.0.0.1:44772"),
        ("EXECD_SERVICE_HOST", "10.0.0.1"),
        ("EXECD_AGENT_TYPE", "VALIDATION"),
        ("EXECD_TASK_ID", "t"),
        ("EXECD_EXECUTION_ID", "e"),
        ("EXECD_LISTEN", ""),
        ("EXECD_LISTN", ":1"),
        ("PATH", "/bin"),
    ];
    let loaded = loaded(&[], &env, None);
    assert_eq!(loaded.settings.listen.to_string(), "[::]:44772");
    assert_eq!(loaded.settings.default_agent_type, "DEFAULT");
    assert_eq!(loaded.ignored_variables, ["EXECD_LISTN"]);
}

#[test]
fn names_of_opensandbox_are_aliases() {
    let env = [
        ("EXECD_API_GRACE_SHUTDOWN", "1.5s"),
        ("EXECD_LOG_FILE", "/var/log/x.log"),
        ("EXECD_ENVS", "/etc/envs"),
        ("JUPYTER_HOST", "http://127.0.0.1:8888"),
        ("JUPYTER_TOKEN", "jt"),
        ("EXECD_PORT", "1234"),
        ("EXECD_INIT", "whatever it means there"),
    ];
    let settings = loaded(&[("log-max-size", "7")], &env, None).settings;
    assert_eq!(settings.graceful_shutdown_timeout, Duration::from_millis(1500));
    assert_eq!(settings.file_log.as_ref().map(|log| (log.max_size_bytes, log.max_backups)), Some((7_000_000, 10)));
    assert_eq!(settings.envs_file.as_deref(), Some(Path::new("/etc/envs")));
    assert_eq!(settings.jupyter.host.as_deref(), Some("http://127.0.0.1:8888"));
    assert_eq!(settings.listen.port(), 1234);
    let both = [("EXECD_GRACEFUL_SHUTDOWN_TIMEOUT", "3s"), ("EXECD_API_GRACE_SHUTDOWN", "1s")];
    assert_eq!(loaded(&[], &both, None).settings.graceful_shutdown_timeout, Duration::from_secs(3));
}

#[test]
fn the_file_log_has_the_asked_defaults() {
    let log = loaded(&[("enable-file-log", "true")], &[], None).settings.file_log.expect("on");
    assert_eq!(log.path, Path::new("/var/log/sandbox-controller/controller.log"));
    assert_eq!((log.max_size_bytes, log.max_backups, log.max_age_days), (100_000_000, 10, 30));
}

#[test]
fn lists_come_from_every_layer() {
    let file = Some("allow_host = ['A.example', 'b.example']\nremap_exit = '143:0'\n");
    let settings = loaded(&[], &[("EXECD_ALLOW_ORIGIN", "https://a.example, https://b.example")], file).settings;
    assert_eq!(settings.allow_hosts, ["a.example", "b.example"]);
    assert_eq!(settings.allow_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(settings.remap_exit.apply(143), 0);
    let repeated = loaded(&[("allow-host", "x"), ("allow-host", "y")], &[], file).settings;
    assert_eq!(repeated.allow_hosts, ["x", "y"]);
}

#[test]
fn a_wrong_value_names_its_place() {
    for (flag, env, file, start) in [
        (&[("listen", "here")][..], &[][..], None, "--listen: "),
        (&[], &[("EXECD_MAX_EXECUTIONS", "0")], None, "EXECD_MAX_EXECUTIONS: "),
        (&[], &[], Some("\n log_level = 'loud'\n"), "/etc/execd/config.toml:2:14: log_level: "),
        (&[], &[], Some("typo = 1\n"), "/etc/execd/config.toml:1:1: typo: "),
        (&[], &[], Some("listen = [1]\n"), "/etc/execd/config.toml:1:10: listen: "),
        (
            &[],
            &[],
            Some("[agent_types.X]\nmemory_bytes = -5\n"),
            "/etc/execd/config.toml:2:16: agent_types.X.memory_bytes: ",
        ),
        (&[], &[], Some("default_agent_type = 'NOPE'\n"), "/etc/execd/config.toml:1:22: NOPE is no agent type"),
        (&[("default-agent-type", "NOPE")], &[], None, "--default-agent-type: NOPE is no agent type"),
        (&[("config", "/missing.toml")], &[], None, "cannot read configuration file /missing.toml: "),
        (&[("log-max-size", "0")], &[], None, "--log-max-size: "),
    ] {
        let message = refusal(flag, env, file);
        assert!(message.starts_with(start), "{start} <> {message}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let loaded = loaded(&[("access-token", "hunter2")], &[("JUPYTER_TOKEN", "hunter2")], None);
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!refusal(&[("access-token", "hunter 2")], &[], None).contains("hunter"));
}

#[test]
fn a_type_of_the_file_may_be_the_default() {
    let file = Some("default_agent_type = 'mine'\n[agent_types.Mine]\npids = 5\n");
    let loaded = loaded(&[], &[], file);
    assert_eq!(loaded.settings.default_agent_type, "MINE");
    assert_eq!(loaded.agent_types.get("mine").and_then(|kind| kind.limits.pids), Some(5));
}

proptest! {
    #[test]
    fn any_flag_text_is_answered_without_panic(text in "\\PC{0,30}", which in 0_usize..options::OPTIONS.len()) {
        let _ = try_load(&[(options::OPTIONS[which].name, &text)], &[], Some("pids = 1"));
    }
}
