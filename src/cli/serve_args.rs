//! The tolerance of bare `serve`: OpenSandbox starts its image with flags of one or two dashes, with flags that we do not
//! have, and with positional arguments. What we do not know is counted and left out; what we know stays strict. Pure.

use crate::config::options::{self, Opt, Shape};
use std::ffi::OsString;

/// A command line for `serve`, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Known flags, with two dashes, for the strict parser.
    pub(super) known: Vec<OsString>,
    /// Unknown flags and stray positional arguments.
    pub(super) ignored: Vec<String>,
    /// What follows `--`.
    pub(super) main_command: Vec<OsString>,
}

/// Sorts the arguments after the program name (and after `serve`, where it stands).
pub(super) fn sort(args: &[OsString]) -> Sorted {
    let (before, after) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    let mut sorted = Sorted { main_command: after.to_vec(), ..Sorted::default() };
    let mut rest = before.iter();
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str() else {
            sorted.ignored.push(arg.to_string_lossy().into_owned());
            continue;
        };
        match known_flag(text) {
            Some(Flag::Help(flag)) => sorted.known.push(flag.into()),
            Some(Flag::Setting { option, value: Some(value) }) => {
                sorted.known.push(format!("--{}={value}", option.name).into());
            }
            Some(Flag::Setting { option, value: None }) if option.shape == Shape::Switch => {
                sorted.known.push(format!("--{}", option.name).into());
            }
            // The value joins its flag, so that a value like `-1` reaches the strict parser as what it is.
            Some(Flag::Setting { option, value: None }) => sorted.known.push(match rest.next() {
                Some(value) => joined(option, value),
                None => format!("--{}", option.name).into(),
            }),
            None => sorted.ignored.push(text.to_owned()),
        }
    }
    sorted
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

fn joined(option: &Opt, value: &OsString) -> OsString {
    let mut flag = OsString::from(format!("--{}=", option.name));
    flag.push(value);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(line: &str) -> Sorted {
        sort(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn both_dashes_and_both_value_forms() {
        for line in ["--port 5 --init", "-port 5 -init", "--port=5 --init", "-port=5 -init"] {
            assert_eq!(sorted(line).known, words("--port=5 --init"), "{line}");
        }
    }

    #[test]
    fn what_is_unknown_is_listed() {
        let line = sorted("-port 5 tail -f /dev/null --new-flag=x --listen :1");
        assert_eq!(line.known, words("--port=5 --listen=:1"));
        assert_eq!(line.ignored, ["tail", "-f", "/dev/null", "--new-flag=x"]);
    }

    #[test]
    fn the_main_command_is_untouched() {
        let line = sorted("--log-level 6 -- sh -c --port");
        assert_eq!(line.main_command, words("sh -c --port"));
        assert_eq!(sorted("-- -- a").main_command, words("-- a"));
        assert_eq!(sorted("--port -- a").known, words("--port"));
    }

    proptest! {
        #[test]
        fn nothing_after_the_dashes_is_lost(before in proptest::collection::vec("[a-z=-]{0,8}", 0..6),
                                            after in proptest::collection::vec("[a-z-]{0,8}", 0..6)) {
            prop_assume!(before.iter().all(|arg| arg != "--"));
            let args: Vec<OsString> = before.into_iter().chain(["--".to_owned()]).chain(after.clone()).map(OsString::from).collect();
            let expected: Vec<OsString> = after.into_iter().map(OsString::from).collect();
            prop_assert_eq!(sort(&args).main_command, expected);
        }
    }
}
