//! Log levels: five names, and OpenSandbox's numbers 0–7 for the same.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How important a line is; a lower one is more important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// the daemon cannot go on (OpenSandbox 0–2)
    Fatal,
    /// something failed that should not (3)
    Error,
    /// something is weaker or slower than it should be (4)
    Warn,
    /// what an operator wants to see (5–6)
    #[default]
    Info,
    /// every request and decision (7)
    Debug,
}

/// A level that is neither a name nor 0–7.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown log level {0:?}: use fatal, error, warn, info, debug or 0-7")]
pub struct UnknownLevel(String);

impl Level {
    /// The name in log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Fatal => "fatal",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    pub(super) const fn from_rank(rank: u8) -> Level {
        match rank {
            0 => Level::Fatal,
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            _ => Level::Debug,
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "0" | "1" | "2" | "fatal" => Ok(Level::Fatal),
            "3" | "error" => Ok(Level::Error),
            "4" | "warn" | "warning" => Ok(Level::Warn),
            "5" | "6" | "info" => Ok(Level::Info),
            "7" | "debug" => Ok(Level::Debug),
            _ => Err(UnknownLevel(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_opensandbox_numbers_mean_the_same() {
        for (text, level) in [
            ("0", Level::Fatal),
            ("2", Level::Fatal),
            ("3", Level::Error),
            ("4", Level::Warn),
            ("5", Level::Info),
            ("6", Level::Info),
            ("7", Level::Debug),
            ("WARN", Level::Warn),
            ("warning", Level::Warn),
        ] {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
        assert!("8".parse::<Level>().is_err());
        assert!("".parse::<Level>().is_err());
    }

    #[test]
    fn ranks_go_there_and_back() {
        for level in [Level::Fatal, Level::Error, Level::Warn, Level::Info, Level::Debug] {
            assert_eq!(Level::from_rank(level as u8), level);
        }
    }
}
