//! Flags, environment and the configuration file together: settings and agent types, or one error that says where.
//!
//! Files are read through a function that the caller gives, so that all of it can be tested without a disk.

use super::agent_types::AgentTypes;
use super::file::{Document, FileError};
use super::layers::{self, Given, Layer, Source};
use super::options::{OPTIONS, Opt};
use super::settings::{SettingError, Settings};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use thiserror::Error;

/// Read when it exists and no other file is named.
pub const DEFAULT_CONFIG: &str = "/etc/execd/config.toml";

/// Reads a whole text file; bounded by the caller's implementation to [`super::file::MAX_FILE_BYTES`] and a little.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Why the daemon cannot be configured.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The configuration file cannot be read.
    #[error("cannot read configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The configuration file is broken.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting has a wrong value.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The default agent type does not exist.
    #[error("{place}: {name} is no agent type; known are {known}")]
    UnknownDefaultType {
        /// Where the name stands.
        place: Source,
        /// The name.
        name: String,
        /// The names that would be right.
        known: String,
    },
}

/// Everything that configuration says.
#[derive(Debug)]
pub struct Loaded {
    /// The daemon's settings.
    pub settings: Settings,
    /// All agent types.
    pub agent_types: AgentTypes,
    /// The configuration file that was read.
    pub config_file: Option<String>,
    /// Each setting as `config show` lists it, secrets hidden.
    pub shown: Vec<Shown>,
    /// `EXECD_*` variables that nobody reads.
    pub ignored_variables: Vec<String>,
}

/// One line of `config show`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// The setting's key.
    pub key: String,
    /// Its text; `None` when not set; `(hidden)` for a secret.
    pub value: Option<String>,
    /// Where it came from.
    pub source: String,
}

/// Puts the layers together and checks them.
///
/// # Errors
/// [`LoadError`]; nothing was changed anywhere.
pub fn load(flags: &Layer, variables: &[(OsString, OsString)], read: ReadFile<'_>) -> Result<Loaded, LoadError> {
    let environment = layers::environment(variables);
    let named = layers::merge(&[flags, &environment.layer]).remove("config");
    let (config_file, text) = config_text(named.as_ref(), read)?;
    let (file_layer, agent_types) = match &config_file {
        Some(file) => parse_file(file, &text)?,
        None => (Layer::new(), AgentTypes::builtin()?),
    };
    let merged = layers::merge(&[flags, &environment.layer, &file_layer]);
    let settings = Settings::from_layer(&merged)?;
    check_default_type(&merged, &settings, &agent_types)?;
    Ok(Loaded {
        settings,
        agent_types,
        config_file,
        shown: OPTIONS.iter().map(|option| shown(option, &merged)).collect(),
        ignored_variables: environment.ignored,
    })
}

/// Checks one file on its own: its settings over the defaults, and its agent types.
///
/// # Errors
/// [`LoadError`] with the place of the first mistake.
pub fn check_file(file: &str, text: &str) -> Result<Loaded, LoadError> {
    let (file_layer, agent_types) = parse_file(file, text)?;
    let merged = layers::merge(&[&file_layer]);
    let settings = Settings::from_layer(&merged)?;
    check_default_type(&merged, &settings, &agent_types)?;
    let shown = OPTIONS.iter().map(|option| shown(option, &merged)).collect();
    let ignored_variables = Vec::new();
    Ok(Loaded { settings, agent_types, config_file: Some(file.to_owned()), shown, ignored_variables })
}

fn config_text(named: Option<&Given>, read: ReadFile<'_>) -> Result<(Option<String>, String), LoadError> {
    let path = named.map_or(DEFAULT_CONFIG, |given| given.text.as_str());
    match read(Path::new(path)) {
        Ok(text) => Ok((Some(path.to_owned()), text)),
        Err(error) if named.is_none() && is_absent(&error) => Ok((None, String::new())),
        Err(source) => Err(LoadError::Unreadable { path: path.to_owned(), source }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn parse_file(file: &str, text: &str) -> Result<(Layer, AgentTypes), FileError> {
    let document = Document::parse(file, text)?;
    let root = document.root();
    let layer = layers::file(file, &root)?;
    let mut types = AgentTypes::builtin()?;
    types.merge(&root)?;
    Ok((layer, types))
}

fn check_default_type(merged: &Layer, settings: &Settings, types: &AgentTypes) -> Result<(), LoadError> {
    let name = &settings.default_agent_type;
    if types.get(name).is_some() {
        return Ok(());
    }
    let place = merged.get("default-agent-type").map_or(Source::Default, |given| given.source.clone());
    let known = types.names().collect::<Vec<_>>().join(", ");
    Err(LoadError::UnknownDefaultType { place, name: name.clone(), known })
}

fn shown(option: &Opt, merged: &Layer) -> Shown {
    let given = merged.get(option.name);
    let value = given.map(|given| if option.secret { "(hidden)".to_owned() } else { given.text.clone() });
    let source = given.map_or_else(|| "not set".to_owned(), |given| given.source.to_string());
    Shown { key: option.file_key(), value, source }
}
