//! What a command line asks for, checked. Data only.

use crate::agent_type::AgentType;
use crate::config::AgentTypes;
use crate::config::load::Loaded;
use crate::config::settings::{Settings, TokenSource};
use crate::config::values::{LogLevel, User};
use crate::limits::Limits;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One invocation of execd.
#[derive(Debug)]
pub enum Command {
    /// Run the daemon.
    Serve(Box<ServeRequest>),
    /// Run one command without a daemon.
    Run(Box<RunRequest>),
    /// Everything that runs to its end here; see [`super::tasks`].
    Task(Box<Task>),
}

/// What `serve` needs.
#[derive(Debug)]
pub struct ServeRequest {
    /// Checked settings; their files are not yet read.
    pub settings: Settings,
    /// All agent types.
    pub agent_types: AgentTypes,
    /// The configuration file that was read.
    pub config_file: Option<String>,
    /// The main command; empty when there is none.
    pub main_command: Vec<OsString>,
    /// Unknown flags and stray positional arguments: one warning and one count each.
    pub ignored_arguments: Vec<String>,
    /// `EXECD_*` variables that nobody reads: one warning each.
    pub ignored_variables: Vec<String>,
    /// `XDG_STATE_HOME`, for the usual places of records.
    pub xdg_state_home: Option<PathBuf>,
}

/// What `run` needs.
#[derive(Debug)]
pub struct RunRequest {
    /// The agent type.
    pub agent_type: AgentType,
    /// All agent types of the configuration.
    pub agent_types: AgentTypes,
    /// The type's limits after the overrides, which were checked against it; giving them as overrides again changes nothing.
    pub limits: Limits,
    /// What the egress proxy lets through, in canonical form; empty leaves it to the type.
    pub allow_domains: Vec<String>,
    /// Variables to set.
    pub env: Vec<(OsString, OsString)>,
    /// Work directory; `None` asks for a private one.
    pub cwd: Option<PathBuf>,
    /// User to run as; `None` leaves it to type and settings.
    pub user: Option<User>,
    /// Where the final object goes.
    pub json: Option<JsonTarget>,
    /// The command; never empty.
    pub argv: Vec<OsString>,
    /// Settings of environment and configuration file, e.g. where work directories are made.
    pub settings: Settings,
}

/// Where `run --json` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTarget {
    /// Standard output, after the command's own.
    Stdout,
    /// A file, replaced when it exists.
    File(PathBuf),
}

/// Which daemon a subcommand talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Named by `--url`; nothing else is tried then.
    pub url: Option<String>,
    /// Token for it.
    pub token: TokenSource,
    /// The address that the daemon would read from the same environment and file; `None` when only the default is left.
    pub listen: Option<SocketAddr>,
    /// Folders where the daemon may have noted its address.
    pub state_dirs: Vec<PathBuf>,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A subcommand with its target and its form of output.
#[derive(Debug)]
pub struct Asked<T> {
    /// Which daemon.
    pub target: Target,
    /// Print JSON.
    pub json: bool,
    /// What is asked.
    pub what: T,
}

/// Subcommands that run to their end here.
#[derive(Debug)]
pub enum Task {
    /// `health`
    Health(Asked<()>),
    /// `doctor`
    Doctor(Asked<Doctor>),
    /// `ps`
    Ps(Asked<Filter>),
    /// `logs`
    Logs(Asked<Logs>),
    /// `kill`
    Kill(Asked<Kill>),
    /// `top`
    Top(Asked<Top>),
    /// `agent-types`
    AgentTypes(Box<Asked<AgentTypesShown>>),
    /// `config check`
    ConfigCheck {
        /// The file.
        file: PathBuf,
        /// Print JSON.
        json: bool,
    },
    /// `config show`
    ConfigShow {
        /// Settings in force.
        loaded: Box<Loaded>,
        /// Print JSON.
        json: bool,
    },
    /// `install DIR`
    Install {
        /// The folder.
        dir: PathBuf,
        /// Print JSON.
        json: bool,
    },
    /// Text that needs nothing but the command tree: completions, manual pages.
    Print(Vec<u8>),
}

/// `doctor`
#[derive(Debug)]
pub struct Doctor {
    /// Do not ask a daemon.
    pub offline: bool,
    /// Do not cut explanations.
    pub wide: bool,
}

/// `ps`
#[derive(Debug, Default)]
pub struct Filter {
    /// Finished ones too.
    pub all: bool,
    /// Only this status.
    pub status: Option<String>,
    /// Only this agent type.
    pub agent_type: Option<String>,
    /// Only this task.
    pub task_id: Option<String>,
}

/// `logs`
#[derive(Debug)]
pub struct Logs {
    /// The execution; `None` is the daemon's events.
    pub id: Option<String>,
    /// Go on until it ends.
    pub follow: bool,
    /// Only this level and worse.
    pub level: Option<LogLevel>,
}

/// `kill`
#[derive(Debug)]
pub struct Kill {
    /// Executions; never empty.
    pub ids: Vec<String>,
    /// A signal's name; `None` cancels.
    pub signal: Option<String>,
}

/// `top`
#[derive(Debug)]
pub struct Top {
    /// Time between frames.
    pub interval: Duration,
    /// One frame only.
    pub once: bool,
}

/// `agent-types`
#[derive(Debug)]
pub struct AgentTypesShown {
    /// The types of this configuration, for when no URL is given.
    pub local: AgentTypes,
    /// Only this one.
    pub name: Option<String>,
}
