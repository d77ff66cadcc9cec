//! Types of single settings, each with its strict reader from text. Pure.

use crate::units;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest token; it must fit a request header beside the others.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// The access token. Never shown: `Debug` hides it, and it is not serializable.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Checks a token's text; surrounding white space (a file's last newline) is dropped.
    ///
    /// # Errors
    /// A message, without the token in it, when it is empty, too long, or could not be sent in a header.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty; leave it out to run without a token".to_owned());
        }
        if text.len() > MAX_TOKEN_BYTES {
            return Err(format!("is longer than {MAX_TOKEN_BYTES} bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be printable ASCII without spaces, as it travels in a header".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself, for comparing and sending.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// A user for executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id; the uid's number when not given.
    pub gid: u32,
}

/// Log lines below this are not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what ends the daemon.
    Fatal,
    /// What failed.
    Error,
    /// What was unexpected and survived.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
}

impl LogLevel {
    /// The word in log lines.
    pub const fn word(self) -> &'static str {
        match self {
            LogLevel::Fatal => "fatal",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// How a microVM ends when the main command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmExit {
    /// Power off.
    PowerOff,
    /// Reboot, which ends a Firecracker VM.
    Reboot,
    /// Halt and leave the machine on.
    Halt,
}

/// The log file and its rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLog {
    /// The file that is written; rotated ones are `PATH.1` (newest) … `PATH.N`.
    pub path: std::path::PathBuf,
    /// Size in bytes at which the file is rotated; at least one line is always written.
    pub max_size_bytes: u64,
    /// Rotated files to keep, 1000 at most; 0 keeps all that are young enough.
    pub max_backups: u32,
    /// Days to keep rotated files; 0 keeps them whatever their age.
    pub max_age_days: u32,
}

/// Reads an address to listen on: `:PORT`, `IP:PORT`, `[IPv6]:PORT`, `localhost:PORT`.
///
/// # Errors
/// A message when it is none of these; other names are refused, because looking them up may block.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let bad = || format!("{text:?} is not an address; write for example [::]:44772, 127.0.0.1:44772 or :44772");
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let port = self::port(port).map_err(|_| bad())?;
    match host {
        "" | "*" => Ok(any_address(port)),
        "localhost" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        _ => Err(bad()),
    }
}

/// All addresses, v6 and v4.
pub const fn any_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port (0 to 65535)"))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} must be true or false")),
    }
}

pub(super) fn count(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a whole number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(bad)
}

/// Reads a duration, at most a day: longer ones are mistakes in every setting that there is.
///
/// # Errors
/// A message when it is no duration or longer than a day.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    const DAY_MS: u64 = 86_400_000;
    match units::parse_duration_ms(text).map_err(|e| e.to_string())? {
        ms if ms > DAY_MS => Err(format!("{text:?} is longer than a day")),
        ms => Ok(std::time::Duration::from_millis(ms)),
    }
}

/// Reads `UID[:GID]`; the group is the user's number when it is not given.
///
/// # Errors
/// A message when it is not one or two numbers; names are refused, because a scratch image has no user database.
pub fn user(text: &str) -> Result<User, String> {
    let id = |part: &str| match part.parse::<u32>() {
        Ok(id) if id != u32::MAX && part.bytes().all(|b| b.is_ascii_digit()) => Ok(id),
        Ok(_) | Err(_) => Err(format!("{text:?} is not UID or UID:GID in numbers")),
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    Ok(User { uid: id(uid)?, gid: id(gid)? })
}

/// Reads a level by word, or by OpenSandbox's number: 0–2 fatal, 3 error, 4 warn, 5–6 info, 7 debug.
///
/// # Errors
/// A message when it is neither.
pub fn log_level(text: &str) -> Result<LogLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "0" | "1" | "2" | "fatal" => Ok(LogLevel::Fatal),
        "3" | "error" => Ok(LogLevel::Error),
        "4" | "warn" | "warning" => Ok(LogLevel::Warn),
        "5" | "6" | "info" => Ok(LogLevel::Info),
        "7" | "debug" | "trace" => Ok(LogLevel::Debug),
        _ => Err(format!("{text:?} must be fatal, error, warn, info, debug or 0 to 7")),
    }
}

pub(super) fn vm_exit(text: &str) -> Result<VmExit, String> {
    match text {
        "poweroff" => Ok(VmExit::PowerOff),
        "reboot" => Ok(VmExit::Reboot),
        "halt" => Ok(VmExit::Halt),
        _ => Err(format!("{text:?} must be poweroff, reboot or halt")),
    }
}

/// Exit codes of the main command that are reported as another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitMap(Vec<(u8, u8)>);

impl ExitMap {
    /// Reads `FROM:TO` pairs separated by commas.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(u8, u8)> = Vec::new();
        for pair in entries(text) {
            let bad = || format!("{pair:?} is not FROM:TO with exit codes from 0 to 255");
            let (from, to) = pair.split_once(':').ok_or_else(bad)?;
            let from = from.parse().map_err(|_| bad())?;
            if pairs.iter().any(|(known, _)| *known == from) {
                return Err(format!("maps exit code {from} twice"));
            }
            pairs.push((from, to.parse().map_err(|_| bad())?));
        }
        Ok(Self(pairs))
    }

    /// The code to report.
    pub fn apply(&self, code: u8) -> u8 {
        self.0.iter().find(|(from, _)| *from == code).map_or(code, |(_, to)| *to)
    }
}

/// The entries of a list setting.
pub(super) fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            (":9090", "[::]:9090"),
            ("*:9090", "[::]:9090"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:80", "127.0.0.1:80"),
        ] {
            assert_eq!(address(text).map(|a| a.to_string()), Ok(expected.to_owned()));
        }
        for bad in ["", "80", ":", ":65536", "host:80", "::1:80:", "http://[::]:80", "1.2.3.4"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users() {
        assert_eq!(user("65534"), Ok(User { uid: 65_534, gid: 65_534 }));
        assert_eq!(user("1:2"), Ok(User { uid: 1, gid: 2 }));
        for bad in ["", ":", "1:", "root", "-1", "+1", "4294967295", "1:2:3"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_stay_hidden() {
        let token = Token::new(" s3cret\n").expect("a token");
        assert_eq!(token.expose(), "s3cret");
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        for bad in ["", "\n", "a b", "schlüssel", "a\u{7}b", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(Token::new(bad).is_err_and(|message| bad.trim().is_empty() || !message.contains(bad)));
        }
    }

    #[test]
    fn exit_maps() {
        let map = ExitMap::parse("143:0, 130:1").expect("right");
        assert_eq!([map.apply(143), map.apply(130), map.apply(7)], [0, 1, 7]);
        for bad in ["143", "256:0", "1:2,1:3", "a:b", "1:-1"] {
            assert!(ExitMap::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_and_counts() {
        assert_eq!(log_level("6"), Ok(LogLevel::Info));
        assert_eq!(log_level("WARN"), Ok(LogLevel::Warn));
        assert!(log_level("8").is_err());
        assert!(LogLevel::Error < LogLevel::Debug);
        assert!(count("0", 1..=5).is_err() && count("5", 1..=5).is_ok() && count("x", 1..=5).is_err());
        assert!(duration("25h").is_err() && duration("10").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in "\\PC{0,30}") {
            let _ = (address(&text), user(&text), log_level(&text), ExitMap::parse(&text), duration(&text));
            let _ = (switch(&text), vm_exit(&text), Token::new(&text).is_ok());
        }
    }
}
