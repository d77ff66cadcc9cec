//! The daemon's settings: from winning texts to checked values. No file, socket or clock is touched here.

use super::layers::{Layer, Source};
use super::names;
use super::values::{self, ExitMap, FileLog, LogLevel, Token, User, VmExit};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// A setting with a value that is not one, and where that value stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {message}")]
pub struct SettingError {
    /// `--listen`, `EXECD_LISTEN` or `file:line:column: listen`.
    pub place: String,
    /// The cause and the likely fix.
    pub message: String,
}

/// Where the access token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Everything is open.
    None,
    /// By flag, environment or configuration file.
    Given(Token),
    /// In a file of its own, read when the settings are resolved.
    File(PathBuf),
}

/// The Jupyter server behind OpenSandbox's `/code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jupyter {
    /// Base URL; `None` means there is none.
    pub host: Option<String>,
    /// Its token.
    pub token: Option<Token>,
    /// How often a busy kernel is asked.
    pub idle_poll_interval: Duration,
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address of the API; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The access token.
    pub token: TokenSource,
    /// The state directory that was asked for; `None` means the usual places.
    pub state_dir: Option<PathBuf>,
    /// Where private work directories are made; `None` means the usual places.
    pub work_root: Option<PathBuf>,
    /// Second listener for `/metrics` alone.
    pub metrics_addr: Option<SocketAddr>,
    /// Ask for the token on `/metrics` too.
    pub guard_metrics: bool,
    /// Host names accept beside addresses and `localhost`, in lower case, without port.
    pub allow_hosts: Vec<String>,
    /// Web origins that may call the API.
    pub allow_origins: Vec<String>,
    /// Agent type of a command that names none; upper case, not yet looked up.
    pub default_agent_type: String,
    /// User of executions unless type or request say otherwise.
    pub user: Option<User>,
    /// Executions at once, 1 to 10,000.
    pub max_executions: usize,
    /// API connections at once, 1 to 65,536.
    pub max_connections: usize,
    /// How long executions may take to end on shutdown.
    pub graceful_shutdown_timeout: Duration,
    /// Exit codes of the main command that are reported as another one.
    pub remap_exit: ExitMap,
    /// Where the termination line goes when that file exists.
    pub termination_log: Option<PathBuf>,
    /// How a microVM ends.
    pub vm_exit: VmExit,
    /// Log lines below this are not written.
    pub log_level: LogLevel,
    /// The log file, when one is wanted.
    pub file_log: Option<FileLog>,
    /// Environment file of OpenSandbox commands.
    pub envs_file: Option<PathBuf>,
    /// The Jupyter server.
    pub jupyter: Jupyter,
}

impl Settings {
    /// Checks every setting of a merged layer.
    ///
    /// # Errors
    /// The first setting, in the order of the help text, whose value is wrong.
    pub fn from_layer(layer: &Layer) -> Result<Self, SettingError> {
        let reader = Reader { layer };
        Ok(Self {
            listen: reader.listen()?,
            token: reader.token()?,
            state_dir: reader.path("state-dir")?,
            work_root: reader.path("work-root")?,
            metrics_addr: reader.optional("metrics-addr", values::address)?,
            guard_metrics: reader.required("guard-metrics", values::switch)?,
            allow_hosts: reader.list("allow-host", names::host)?,
            allow_origins: reader.list("allow-origin", names::origin)?,
            default_agent_type: reader.required("default-agent-type", names::agent_type)?,
            user: reader.optional("user", values::user)?,
            max_executions: reader.count("max-executions", 1..=10_000)?,
            max_connections: reader.count("max-connections", 1..=65_536)?,
            graceful_shutdown_timeout: reader.required("graceful-shutdown-timeout", values::duration)?,
            remap_exit: reader.optional("remap-exit", ExitMap::parse)?.unwrap_or_default(),
            termination_log: reader.path("termination-log")?.filter(|path| path.as_os_str() != "none"),
            vm_exit: reader.required("vm-exit", values::vm_exit)?,
            log_level: reader.required("log-level", values::log_level)?,
            file_log: reader.file_log()?,
            envs_file: reader.path("envs-file")?,
            jupyter: Jupyter {
                host: reader.optional("jupyter-host", |text| Ok(text.to_owned()))?,
                token: reader.optional("jupyter-token", Token::new)?,
                idle_poll_interval: reader.required("jupyter-idle-poll-interval", values::duration)?,
            },
        })
    }
}

/// Reads values out of a layer and says whose value was wrong.
struct Reader<'a> {
    layer: &'a Layer,
}

impl Reader<'_> {
    fn optional<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, SettingError> {
        let Some(given) = self.layer.get(name) else { return Ok(None) };
        read(&given.text).map(Some).map_err(|message| self.error(name, message))
    }

    fn required<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, SettingError> {
        self.optional(name, read)?.ok_or_else(|| self.error(name, "is missing".to_owned()))
    }

    fn count(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<usize, SettingError> {
        let number = self.required(name, |text| values::count(text, range.clone()))?;
        usize::try_from(number).map_err(|_| self.error(name, "is too large".to_owned()))
    }

    fn list(&self, name: &str, read: impl Fn(&str) -> Result<String, String>) -> Result<Vec<String>, SettingError> {
        const MAX_ENTRIES: usize = 256;
        let list = self.optional(name, |text| values::entries(text).map(&read).collect::<Result<Vec<_>, _>>())?;
        let list = list.unwrap_or_default();
        if list.len() > MAX_ENTRIES {
            return Err(self.error(name, format!("has more than {MAX_ENTRIES} entries")));
        }
        Ok(list)
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, SettingError> {
        self.optional(name, |text| match text {
            "" => Err("is empty; name a path".to_owned()),
            text if text.contains('\0') => Err("contains a NUL byte".to_owned()),
            text => Ok(PathBuf::from(text)),
        })
    }

    fn listen(&self) -> Result<SocketAddr, SettingError> {
        let listen = self.optional("listen", values::address)?;
        let port = self.optional("port", values::port)?.map(values::any_address);
        match (listen, port) {
            (Some(_), Some(_)) => Err(self.error("port", "says the same as listen; give one of them".to_owned())),
            (Some(address), None) | (None, Some(address)) => Ok(address),
            (None, None) => Err(self.error("listen", "is missing".to_owned())),
        }
    }

    fn token(&self) -> Result<TokenSource, SettingError> {
        let given = self.optional("access-token", Token::new)?;
        let file = self.path("access-token-file")?;
        match (given, file) {
            (Some(_), Some(_)) => {
                Err(self.error("access-token-file", "says the same as access-token; give one of them".to_owned()))
            }
            (Some(token), None) => Ok(TokenSource::Given(token)),
            (None, Some(path)) => Ok(TokenSource::File(path)),
            (None, None) => Ok(TokenSource::None),
        }
    }

    /// The log file's numbers are checked even when it is off: a typo must not wait for the day it is switched on.
    fn file_log(&self) -> Result<Option<FileLog>, SettingError> {
        const MB: u64 = 1_000_000;
        let enabled = self.required("enable-file-log", values::switch)?;
        let short = self.path("log-file")?;
        let long = self.path("log-file-path")?;
        if short.is_some() && long.is_some() {
            return Err(self.error("log-file", "says the same as log-file-path; give one of them".to_owned()));
        }
        let max_size_mb = self.required("log-max-size", |text| values::count(text, 1..=1_000_000))?;
        let up_to = |most: u64| move |text: &str| values::count(text, 0..=most).map(|n| u32::try_from(n).unwrap_or(0));
        let max_backups = self.required("log-max-backups", up_to(1000))?;
        let max_age_days = self.required("log-max-age", up_to(100_000))?;
        // Checked, and of no effect: rotated files stay as they are.
        self.required("log-compress", values::switch)?;
        let path = short.or(if enabled { long } else { None });
        Ok(path.map(|path| FileLog { path, max_size_bytes: max_size_mb * MB, max_backups, max_age_days }))
    }

    fn error(&self, name: &str, message: String) -> SettingError {
        let key = name.replace('-', "_");
        let place = match self.layer.get(name).map(|given| &given.source) {
            Some(source @ Source::File { .. }) => format!("{source}: {key}"),
            Some(source @ (Source::Flag(_) | Source::Env(_))) => source.to_string(),
            Some(Source::Default) | None => format!("--{name}"),
        };
        SettingError { place, message }
    }
}
