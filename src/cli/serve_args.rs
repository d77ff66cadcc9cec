//! The flags of `serve`, with the tolerance that OpenSandbox needs: it starts its image with flags of one or two dashes,
//! with flags that we do not have, and with positional arguments. What we do not know is listed and left out; what we
//! know stays strict. Pure, and without clap: this is the way to the first answer after a start.

use crate::config::options::{self, Opt, Shape};
use std::ffi::{OsStr, OsString};

/// A command line for `serve`, sorted.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Settings in the order given.
    pub(super) settings: Vec<(&'static Opt, String)>,
    /// `-h` or `--help`, when help is asked for.
    pub(super) help: Option<&'static str>,
    /// Unknown flags and stray positional arguments.
    pub(super) ignored: Vec<String>,
    /// What follows `--`.
    pub(super) main_command: Vec<OsString>,
}

/// Sorts the arguments after the program name (and after `serve`, where it stands).
///
/// # Errors
/// A message when a known flag has no value, or one that is not UTF-8.
pub(super) fn sort(args: &[OsString]) -> Result<Sorted, String> {
    let (before, after) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    let mut sorted = Sorted { main_command: after.to_vec(), ..Sorted::default() };
    let mut rest = before.iter();
    while let Some(arg) = rest.next() {
        let shown = arg.to_string_lossy();
        match known_flag(&shown) {
            Some(Flag::Help(flag)) => sorted.help = Some(flag),
            Some(Flag::Setting { option, value: Some(_) }) if arg.to_str().is_none() => return Err(not_text(option)),
            Some(Flag::Setting { option, value: Some(value) }) => sorted.settings.push((option, value.to_owned())),
            Some(Flag::Setting { option, value: None }) if option.shape == Shape::Switch => {
                sorted.settings.push((option, "true".to_owned()));
            }
            Some(Flag::Setting { option, value: None }) => {
                sorted.settings.push((option, value(option, rest.next().map(OsString::as_os_str))?));
            }
            None => sorted.ignored.push(shown.into_owned()),
        }
    }
    Ok(sorted)
}

enum Flag<'a> {
    Help(&'static str),
    Setting { option: &'static Opt, value: Option<&'a str> },
}

fn known_flag(text: &str) -> Option<Flag<'_>> {
    match text {
        "-h" => return Some(Flag::Help("-h")),
        "--help" | "-help" => return Some(Flag::Help("--help")),
        _ => {}
    }
    let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    options::find(name).map(|option| Flag::Setting { option, value })
}

fn value(option: &Opt, next: Option<&OsStr>) -> Result<String, String> {
    let next = next.ok_or_else(|| format!("--{} needs a value: {}", option.name, option.value_name))?;
    next.to_str().map(str::to_owned).ok_or_else(|| not_text(option))
}

fn not_text(option: &Opt) -> String {
    format!("the value of --{} is not UTF-8", option.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn sorted(line: &str) -> Sorted {
        sort(&words(line)).expect(line)
    }

    fn settings(line: &Sorted) -> Vec<String> {
        line.settings.iter().map(|(option, value)| format!("{}={value}", option.name)).collect()
    }

    #[test]
    fn both_dashes_and_both_value_forms() {
        for line in ["--port 5 --init", "-port 5 -init", "--port=5 --init", "-port=5 -init=true"] {
            assert_eq!(settings(&sorted(line)), ["port=5", "init=true"], "{line}");
        }
        assert_eq!(settings(&sorted("--port -1")), ["port=-1"], "the value's own check refuses it");
    }

    #[test]
    fn what_is_unknown_is_listed() {
        let line = sorted("-port 5 tail -f /dev/null --new-flag=x --listen :1");
        assert_eq!(settings(&line), ["port=5", "listen=:1"]);
        assert_eq!(line.ignored, ["tail", "-f", "/dev/null", "--new-flag=x"]);
    }

    #[test]
    fn the_main_command_is_untouched() {
        let line = sorted("--log-level 6 -- sh -c --port");
        assert_eq!(line.main_command, words("sh -c --port"));
        assert_eq!(sorted("-- -- a").main_command, words("-- a"));
    }

    #[test]
    fn a_known_flag_needs_its_value_as_text() {
        for line in ["--port", "--port -- a"] {
            assert!(sort(&words(line)).is_err_and(|message| message.contains("--port")), "{line}");
        }
        let bytes = OsString::from_vec(b"--state-dir=\xff".to_vec());
        assert!(sort(std::slice::from_ref(&bytes)).is_err());
        assert!(sort(&["--state-dir".into(), OsString::from_vec(vec![0xff])]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_after_the_dashes_is_lost(before in proptest::collection::vec("[a-z=-]{0,8}", 0..6),
                                            after in proptest::collection::vec("[a-z-]{0,8}", 0..6)) {
            prop_assume!(before.iter().all(|arg| arg != "--"));
            let args = before.into_iter().chain(["--".to_owned()]).chain(after.clone()).map(OsString::from);
            let expected: Vec<OsString> = after.into_iter().map(OsString::from).collect();
            if let Ok(sorted) = sort(&args.collect::<Vec<_>>()) {
                prop_assert_eq!(sorted.main_command, expected);
            }
        }
    }
}
