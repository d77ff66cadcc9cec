//! The reader of executions' output.

use super::log_lines::{LineFilter, Source};
use crate::config::values::LogLevel;

/// What of one stream, in these pieces, passes a level.
pub fn filtered<'a>(level: LogLevel, stderr: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut filter = LineFilter::new(level, if stderr { Source::Stderr } else { Source::Stdout });
    let mut passed: Vec<u8> = pieces.into_iter().flat_map(|piece| filter.take(piece)).collect();
    passed.extend(filter.finish());
    passed
}
