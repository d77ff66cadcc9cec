//! The daemon's settings as data: one row per setting, from which flags, environment names, file keys, help and
//! `config show` are all made. What a value means is decided in `settings`.

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `--name VALUE` or `--name=VALUE`.
    Value,
    /// `--name`, `--name=true`, `--name=false`.
    Switch,
    /// A value that may be repeated, or written with commas.
    List,
}

/// One setting.
#[derive(Debug)]
pub struct Opt {
    /// Long flag; the file key is the same with `_` for `-`, the variable `EXECD_` and upper case.
    pub name: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// Placeholder in help texts.
    pub value_name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// The default as text; `None` when there is none.
    pub default: Option<&'static str>,
    /// Further environment names, from OpenSandbox's daemon.
    pub env_aliases: &'static [&'static str],
    /// True when the value must not be shown.
    pub secret: bool,
    /// True for settings that exist for OpenSandbox's sake only; help lists them apart.
    pub compat: bool,
}

impl Opt {
    /// The environment variable, e.g. `EXECD_LOG_LEVEL`.
    pub fn env_name(&self) -> String {
        format!("EXECD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The key in a configuration file, e.g. `log_level`.
    pub fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }
}

const fn opt(name: &'static str, value_name: &'static str, default: Option<&'static str>, help: &'static str) -> Opt {
    Opt { name, shape: Shape::Value, value_name, help, default, env_aliases: &[], secret: false, compat: false }
}

const fn switch(name: &'static str, default: &'static str, help: &'static str) -> Opt {
    Opt { shape: Shape::Switch, ..opt(name, "BOOL", Some(default), help) }
}

const fn list(name: &'static str, value_name: &'static str, help: &'static str) -> Opt {
    Opt { shape: Shape::List, ..opt(name, value_name, None, help) }
}

/// Every setting, in the order of help texts.
pub const OPTIONS: [Opt; 32] = [
    opt("listen", "ADDR", Some("[::]:44772"), "Address of the API; :PORT means all addresses, v4 and v6"),
    opt("port", "PORT", None, "The same as --listen [::]:PORT"),
    opt("config", "FILE", None, "Configuration file [default: /etc/execd/config.toml where it exists]"),
    Opt {
        secret: true,
        ..opt("access-token", "TOKEN", None, "Token that guarded routes ask for; prefer the file or EXECD_ACCESS_TOKEN")
    },
    opt("access-token-file", "FILE", None, "File with the token; surrounding white space is dropped"),
    opt(
        "state-dir",
        "DIR",
        None,
        "Where records survive a restart [default: /var/lib/execd, $XDG_STATE_HOME/execd, or memory only]",
    ),
    opt("work-root", "DIR", None, "Where private work directories are made [default: /tmp or the state directory]"),
    opt("metrics-addr", "ADDR", None, "Second listener for /metrics alone, without a token, e.g. :9090"),
    switch("guard-metrics", "false", "Ask for the token on /metrics too"),
    list("allow-host", "NAME", "Host header to accept beside addresses and localhost; may be repeated"),
    list("allow-origin", "ORIGIN", "Web origin that may call the API (CORS); may be repeated"),
    opt("default-agent-type", "TYPE", Some("DEFAULT"), "Agent type of a command that names none"),
    opt("user", "UID[:GID]", None, "Run executions as this user unless type or request say otherwise"),
    opt("max-executions", "N", Some("64"), "Executions at once; more are refused with 429"),
    opt("max-connections", "N", Some("1024"), "API connections at once; more wait in the listen queue"),
    Opt {
        env_aliases: &["EXECD_API_GRACE_SHUTDOWN"],
        ..opt(
            "graceful-shutdown-timeout",
            "TIME",
            Some("8s"),
            "How long executions may take to end on shutdown before KILL",
        )
    },
    list("remap-exit", "FROM:TO", "Report exit code FROM of the main command as TO, e.g. 143:0; may be repeated"),
    opt(
        "termination-log",
        "FILE",
        Some("/dev/termination-log"),
        "Where the last line (JSON) goes when the file exists; none for nowhere",
    ),
    opt("vm-exit", "ACTION", Some("poweroff"), "As init of a microVM, end by: poweroff, reboot (Firecracker) or halt"),
    opt("log-level", "LEVEL", Some("info"), "fatal, error, warn, info or debug; OpenSandbox's 0 to 7 also work"),
    switch("enable-file-log", "false", "Write the log to a file too, with rotation"),
    opt(
        "log-file-path",
        "FILE",
        Some("/var/log/sandbox-controller/controller.log"),
        "The log file of --enable-file-log",
    ),
    opt("log-file", "FILE", None, "The same as --enable-file-log --log-file-path FILE"),
    opt("log-max-size", "MB", Some("100"), "Rotate the log file at this many megabytes"),
    opt("log-max-backups", "N", Some("10"), "Rotated log files to keep; 0 keeps all that are young enough"),
    opt("log-max-age", "DAYS", Some("30"), "Days to keep rotated log files; 0 keeps them for ever"),
    switch("log-compress", "true", "Accepted for OpenSandbox; rotated files are not compressed"),
    Opt { compat: true, ..switch("init", "false", "Accepted for OpenSandbox; the role is found without it") },
    Opt {
        compat: true,
        env_aliases: &["EXECD_ENVS"],
        ..opt("envs-file", "FILE", None, "KEY=VALUE lines that OpenSandbox commands get as environment")
    },
    Opt {
        compat: true,
        env_aliases: &["JUPYTER_HOST"],
        ..opt("jupyter-host", "URL", None, "Jupyter server behind /code")
    },
    Opt {
        compat: true,
        secret: true,
        env_aliases: &["JUPYTER_TOKEN"],
        ..opt("jupyter-token", "TOKEN", None, "Token of the Jupyter server")
    },
    Opt {
        compat: true,
        ..opt("jupyter-idle-poll-interval", "TIME", Some("100ms"), "How often a busy Jupyter kernel is asked")
    },
];

/// Finds a setting by its flag's name, without dashes.
pub fn find(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_there_once() {
        let names: BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
        assert_eq!(names.len(), OPTIONS.len());
        let mut env: Vec<_> = OPTIONS.iter().map(Opt::env_name).collect();
        env.extend(OPTIONS.iter().flat_map(|option| option.env_aliases.iter().map(ToString::to_string)));
        assert_eq!(env.iter().collect::<BTreeSet<_>>().len(), env.len());
    }

    #[test]
    fn every_setting_is_in_the_manual() {
        let manual = include_str!("../../docs/configuration.md");
        for option in &OPTIONS {
            let row = format!(
                "| `--{}` | {} |",
                option.name,
                option.default.map_or_else(String::new, |text| format!("`{text}`"))
            );
            assert!(manual.contains(&row), "docs/configuration.md lacks {row}");
            for alias in option.env_aliases {
                assert!(manual.contains(alias), "docs/configuration.md lacks {alias}");
            }
        }
    }
}
