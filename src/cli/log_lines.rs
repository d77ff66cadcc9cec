//! Which lines of output a level lets through. Pure.

use crate::config::values::{self, LogLevel};
use serde_json::Value;

/// A line longer than this is judged by its beginning and passed in pieces.
const MAX_LINE: usize = 64 << 10;

/// The two streams of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Cuts one stream into lines and keeps those of a level and worse.
#[derive(Debug)]
pub(super) struct LineFilter {
    level: LogLevel,
    source: Source,
    partial: Vec<u8>,
}

impl LineFilter {
    /// A filter for one stream.
    pub(super) fn new(level: LogLevel, source: Source) -> Self {
        Self { level, source, partial: Vec::new() }
    }

    /// Takes bytes; gives the whole lines among them that pass.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= MAX_LINE {
                self.flush(&mut passed);
            }
        }
        passed
    }

    /// The last line, which had no end.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut passed = Vec::new();
        self.flush(&mut passed);
        passed
    }

    fn flush(&mut self, passed: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.partial);
        if line_level(&line, self.source) <= self.level {
            passed.extend_from_slice(&line);
        }
    }
}

/// The level of a line: its own when it is JSON with a `level`, else error on stderr and info on stdout.
fn line_level(line: &[u8], source: Source) -> LogLevel {
    let own = line.first().filter(|byte| **byte == b'{').and_then(|_| serde_json::from_slice::<Value>(line).ok());
    own.as_ref().and_then(stated_level).unwrap_or(match source {
        Source::Stdout => LogLevel::Info,
        Source::Stderr => LogLevel::Error,
    })
}

/// The `level` member of an object.
pub(super) fn stated_level(object: &Value) -> Option<LogLevel> {
    values::log_level(object.get("level")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_keep_their_own_level() {
        let mut filter = LineFilter::new(LogLevel::Error, Source::Stdout);
        let text = b"plain\n{\"level\":\"error\",\"a\":1}\n{\"level\":\"warn\"}\n{\"level\":\"fa";
        assert_eq!(filter.take(text), b"{\"level\":\"error\",\"a\":1}\n");
        assert_eq!(filter.take(b"tal\"}"), b"");
        assert_eq!(filter.finish(), b"{\"level\":\"fatal\"}");
    }

    #[test]
    fn plain_lines_go_by_their_stream() {
        let mut out = LineFilter::new(LogLevel::Warn, Source::Stdout);
        let mut err = LineFilter::new(LogLevel::Warn, Source::Stderr);
        assert_eq!((out.take(b"a\n"), err.take(b"a\n")), (b"".to_vec(), b"a\n".to_vec()));
    }

    proptest! {
        #[test]
        fn the_lowest_level_loses_nothing(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10)) {
            let mut filter = LineFilter::new(LogLevel::Debug, Source::Stdout);
            let mut passed: Vec<u8> = parts.iter().flat_map(|part| filter.take(part)).collect();
            passed.extend(filter.finish());
            prop_assert_eq!(passed, parts.concat());
        }
    }
}
