//! The flags of `execd run` to a checked [`RunRequest`]. Pure.

use super::command::{JsonTarget, RunRequest};
use super::parse::{Stop, Surroundings};
use crate::config::options;
use crate::config::overrides::tighten;
use crate::config::{layers, values};
use crate::limits::Limits;
use crate::network::rule::Rule;
use crate::units;
use clap::ArgMatches;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Reads the matches of `run`.
pub(super) fn read(matches: &ArgMatches, around: Surroundings<'_>) -> Result<RunRequest, Stop> {
    let config = matches.get_one::<String>("config").cloned();
    let flags = config.and_then(|file| options::find("config").map(|option| (option, file)));
    let loaded = around.load(&layers::flags(flags))?;
    let name = matches.get_one::<String>("agent-type").unwrap_or(&loaded.settings.default_agent_type);
    let Some(agent_type) = loaded.agent_types.get(name).cloned() else {
        let known = loaded.agent_types.names().collect::<Vec<_>>().join(", ");
        return Err(Stop::usage(format!("--agent-type: {name:?} is no agent type; known are {known}")));
    };
    let limits = tighten(&agent_type, &limits(matches)?).map_err(Stop::usage)?;
    Ok(RunRequest {
        agent_type,
        agent_types: loaded.agent_types,
        limits,
        allow_domains: each(matches, "allow-domain", |text| Rule::parse(text).map(|rule| rule.to_string()))?,
        env: variables(matches)?,
        cwd: matches.get_one::<PathBuf>("cwd").cloned(),
        user: one(matches, "user", values::user)?,
        json: matches.get_one::<PathBuf>("json").map(|path| json_target(path)),
        argv: matches.get_many::<OsString>("command").unwrap_or_default().cloned().collect(),
        settings: loaded.settings,
    })
}

fn limits(matches: &ArgMatches) -> Result<Limits, Stop> {
    let bytes = |text: &str| units::parse_bytes(text).map_err(|e| e.to_string());
    let time = |text: &str| units::parse_duration_ms(text).map_err(|e| e.to_string());
    let count = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a whole number"));
    let cores = |text: &str| text.parse::<f64>().map_err(|_| format!("{text:?} is not a number of cores"));
    Ok(Limits {
        memory_bytes: one(matches, "memory", bytes)?,
        cpu_time_ms: one(matches, "cpu-time", time)?,
        wall_time_ms: one(matches, "wall-time", time)?,
        network_requests: one(matches, "network-requests", count)?,
        storage_bytes: one(matches, "storage", bytes)?,
        pids: one(matches, "pids", count)?,
        open_files: one(matches, "open-files", count)?,
        file_size_bytes: one(matches, "file-size", bytes)?,
        cpu_cores: one(matches, "cpu-cores", cores)?,
    })
}

fn one<T>(matches: &ArgMatches, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Stop> {
    let text = matches.get_one::<String>(name);
    text.map(|text| read(text)).transpose().map_err(|message| Stop::usage(format!("--{name}: {message}")))
}

fn each<T>(matches: &ArgMatches, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Stop> {
    let texts = matches.get_many::<String>(name).unwrap_or_default();
    let list: Result<Vec<T>, String> = texts.map(|text| read(text)).collect();
    list.map_err(|message| Stop::usage(format!("--{name}: {message}")))
}

fn variables(matches: &ArgMatches) -> Result<Vec<(OsString, OsString)>, Stop> {
    let given = matches.get_many::<OsString>("env").unwrap_or_default();
    given
        .map(|pair| {
            let bytes = pair.as_bytes();
            let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
            let at = at.ok_or_else(|| Stop::usage(format!("--env: {pair:?} is not NAME=VALUE")))?;
            Ok((OsStr::from_bytes(&bytes[..at]).to_owned(), OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
        })
        .collect()
}

fn json_target(path: &Path) -> JsonTarget {
    if path == Path::new("-") { JsonTarget::Stdout } else { JsonTarget::File(path.to_owned()) }
}
