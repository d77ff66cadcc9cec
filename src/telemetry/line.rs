//! One log line: `{"ts","level","msg",…fields}`, never longer than a pipe takes in one piece.

use super::clock;
use crate::config::values::LogLevel;

/// Longest line in bytes, newline included. `PIPE_BUF`: a pipe that poll(2) calls writable takes that much without blocking, and
/// lines of two writers never mix.
pub const LINE_MAX: usize = 4096;

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// text
    Str(&'a str),
    /// count
    U64(u64),
    /// signed number
    I64(i64),
    /// measure
    F64(f64),
    /// flag
    Bool(bool),
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(value: &'a str) -> Self {
        Field::Str(value)
    }
}

impl<'a> From<&'a String> for Field<'a> {
    fn from(value: &'a String) -> Self {
        Field::Str(value)
    }
}

macro_rules! field_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Field<'_> {
            fn from(value: $from) -> Self {
                Field::$variant(value.into())
            }
        }
    )*};
}
field_from!(u64 => U64, u32 => U64, u16 => U64, i64 => I64, i32 => I64, f64 => F64, bool => Bool);

/// Builds a line. When it would exceed [`LINE_MAX`] the fields go and the message is cut, and the line says `"truncated":true`.
pub(super) fn line(unix_ms: u64, level: LogLevel, msg: &str, fields: &[(&str, Field<'_>)]) -> Vec<u8> {
    let mut out = head(unix_ms, level, msg);
    for (key, value) in fields {
        out.push(b',');
        json_str(&mut out, key);
        out.push(b':');
        json_field(&mut out, *value);
    }
    out.extend_from_slice(b"}\n");
    if out.len() <= LINE_MAX { out } else { shortened(unix_ms, level, msg) }
}

fn shortened(unix_ms: u64, level: LogLevel, msg: &str) -> Vec<u8> {
    // An escaped byte takes at most six; with the frame this stays below LINE_MAX whatever the text is.
    let mut cut = msg.len().min(600);
    while !msg.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut out = head(unix_ms, level, &msg[..cut]);
    out.extend_from_slice(b",\"truncated\":true}\n");
    out
}

fn head(unix_ms: u64, level: LogLevel, msg: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(clock::rfc3339(unix_ms).as_bytes());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(level.word().as_bytes());
    out.extend_from_slice(b"\",\"msg\":");
    json_str(&mut out, msg);
    out
}

fn json_str(out: &mut Vec<u8>, text: &str) {
    // Writing text to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn json_field(out: &mut Vec<u8>, value: Field<'_>) {
    let _ = match value {
        Field::Str(v) => serde_json::to_writer(out, v),
        Field::U64(v) => serde_json::to_writer(out, &v),
        Field::I64(v) => serde_json::to_writer(out, &v),
        Field::F64(v) => serde_json::to_writer(out, &v),
        Field::Bool(v) => serde_json::to_writer(out, &v),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_one_json_object_with_its_fields() {
        let bytes = line(0, LogLevel::Warn, "a \"b\"\n", &[("n", 3u64.into()), ("ok", true.into()), ("s", "x".into())]);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"msg\":\"a \\\"b\\\"\\n\",\"n\":3,\"ok\":true,\"s\":\"x\"}\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_line_too_long_or_not_json(msg in "\\PC{0,5000}|[\\x00-\\x1f]{0,5000}", value in ".{0,3000}") {
            let bytes = line(1, LogLevel::Info, &msg, &[("v", value.as_str().into())]);
            prop_assert!(bytes.len() <= LINE_MAX);
            prop_assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
            let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert!(parsed["msg"].is_string());
        }
    }
}
