//! Flags, environment and file laid over one another: for each setting the text that wins, and where it came from.
//!
//! Nothing is interpreted here. Precedence: flag, environment, file, default.

use super::file::{FileError, Section};
use super::options::{OPTIONS, Opt, Shape};
use super::{agent_types, options};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// Variables that executions get; the daemon must not read them as its own flags when it runs inside one.
const EXECUTION_VARIABLES: [&str; 3] = ["EXECD_EXECUTION_ID", "EXECD_AGENT_TYPE", "EXECD_TASK_ID"];

/// Kubernetes makes these for a Service named `execd` (`EXECD_PORT` too, with a `tcp://` value).
const SERVICE_LINK_PREFIXES: [&str; 2] = ["EXECD_SERVICE_", "EXECD_PORT_"];

/// Where a setting's text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--name`
    Flag(&'static str),
    /// An environment variable.
    Env(String),
    /// A place in a configuration file.
    File {
        /// The file as it was named.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The built-in default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) => write!(f, "--{name}"),
            Source::Env(name) => f.write_str(name),
            Source::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// A setting's text and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As written; lists are joined by commas.
    pub text: String,
    /// Where from.
    pub source: Source,
}

/// One layer: setting name to text.
pub type Layer = BTreeMap<&'static str, Given>;

/// What the environment gave.
#[derive(Clone, Debug, Default)]
pub struct EnvLayer {
    /// Settings that were found.
    pub layer: Layer,
    /// `EXECD_*` names that nobody reads, for one warning each.
    pub ignored: Vec<String>,
}

/// The layer of flags that were found on a command line; a repeated list is joined, of a repeated value the last wins.
pub fn flags(found: impl IntoIterator<Item = (&'static Opt, String)>) -> Layer {
    let mut layer = Layer::new();
    for (option, text) in found {
        let given = layer
            .entry(option.name)
            .or_insert_with(|| Given { text: String::new(), source: Source::Flag(option.name) });
        if option.shape == Shape::List && !given.text.is_empty() {
            given.text.push(',');
            given.text.push_str(&text);
        } else {
            given.text = text;
        }
    }
    layer
}

/// The layer of environment variables.
///
/// Empty values and service links (`tcp://…`) count as not set. A variable that is not UTF-8 is ignored and listed.
pub fn environment(variables: &[(OsString, OsString)]) -> EnvLayer {
    let mut found = EnvLayer::default();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let option = OPTIONS.iter().find(|option| option.env_name() == name || option.env_aliases.contains(&name));
        match (option, value.to_str()) {
            (Some(_), Some(value)) if value.is_empty() || value.starts_with("tcp://") => {}
            (Some(option), Some(value)) => {
                let own_name = option.env_name() == name;
                // Our own name wins over OpenSandbox's, in whatever order they stand in the environment.
                if own_name || !found.layer.contains_key(option.name) {
                    let given = Given { text: value.to_owned(), source: Source::Env(name.to_owned()) };
                    found.layer.insert(option.name, given);
                }
            }
            (Some(_), None) => found.ignored.push(name.to_owned()),
            (None, _) if is_stray(name) => found.ignored.push(name.to_owned()),
            (None, _) => {}
        }
    }
    found.ignored.sort_unstable();
    found
}

fn is_stray(name: &str) -> bool {
    name.starts_with("EXECD_")
        && !EXECUTION_VARIABLES.contains(&name)
        && !SERVICE_LINK_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The layer of a configuration file's top level.
///
/// # Errors
/// [`FileError`] at a key that is no setting, or at a value that is no text, number, switch or list.
pub fn file(file: &str, root: &Section<'_>) -> Result<Layer, FileError> {
    let keys: Vec<String> = OPTIONS.iter().filter(|option| option.name != "config").map(Opt::file_key).collect();
    let mut known: Vec<&str> = keys.iter().map(String::as_str).collect();
    known.push(agent_types::SECTION);
    root.reject_unknown(&known)?;
    let mut layer = Layer::new();
    for (key, item) in root.items() {
        if let Some(option) = options::find(&key.replace('_', "-")) {
            let (line, column) = item.position();
            let source = Source::File { file: file.to_owned(), line, column };
            layer.insert(option.name, Given { text: item.scalar_text()?, source });
        }
    }
    Ok(layer)
}

/// The winning text of every setting that has one. `layers` go from strongest to weakest.
///
/// Settings that say the same thing in two ways (`listen` and `port`, the token and its file, the two log files) are
/// decided by the strongest layer that has either, so that a weaker layer's other spelling cannot come back.
pub fn merge(layers: &[&Layer]) -> Layer {
    const TWINS: [(&str, &str); 3] =
        [("listen", "port"), ("access-token", "access-token-file"), ("log-file", "log-file-path")];
    let mut merged = Layer::new();
    for layer in layers {
        let decided: Vec<&str> = TWINS
            .iter()
            .filter(|(a, b)| merged.contains_key(a) || merged.contains_key(b))
            .flat_map(|(a, b)| [*a, *b])
            .collect();
        for (name, given) in layer.iter() {
            if !decided.contains(name) && !merged.contains_key(name) {
                merged.insert(name, given.clone());
            }
        }
    }
    for option in &OPTIONS {
        let twin_decided = TWINS.iter().any(|(a, b)| {
            (*a == option.name || *b == option.name) && (merged.contains_key(a) || merged.contains_key(b))
        });
        if let Some(text) = option.default
            && !twin_decided
            && !merged.contains_key(option.name)
        {
            merged.insert(option.name, Given { text: text.to_owned(), source: Source::Default });
        }
    }
    merged
}
