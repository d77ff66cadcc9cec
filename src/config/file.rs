//! TOML text with positions: every complaint names file, line, column and key.
//!
//! This is a reader of text only; which keys exist is decided by the caller.

use std::borrow::Cow;
use std::ops::Range;
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Larger configuration is refused unread; real ones are a few KiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// What is wrong in a configuration file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}:{column}: {}{message}", key_prefix(.key))]
pub struct FileError {
    /// The file as it was named, or `<built-in>`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The dotted key, e.g. `agent_types.FAST.memory_bytes`; empty when the text is not TOML at all.
    pub key: String,
    /// The cause and, where there is one, the likely fix.
    pub message: String,
}

fn key_prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

/// A parsed file.
pub struct Document<'a> {
    source: Source<'a>,
    root: Spanned<DeTable<'a>>,
}

#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(self, span: Range<usize>, key: &str, message: impl Into<String>) -> FileError {
        let (line, column) = line_and_column(self.text, span.start);
        FileError { file: self.file.to_owned(), line, column, key: key.to_owned(), message: message.into() }
    }
}

impl<'a> Document<'a> {
    /// Parses TOML text; `file` is only for messages.
    ///
    /// # Errors
    /// [`FileError`] when the text is larger than [`MAX_FILE_BYTES`] or is not TOML.
    pub fn parse(file: &'a str, text: &'a str) -> Result<Self, FileError> {
        let source = Source { file, text };
        if text.len() > MAX_FILE_BYTES {
            return Err(source.error(0..0, "", format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let root = DeTable::parse(text)
            .map_err(|e| source.error(e.span().unwrap_or(0..0), "", e.message().replace('\n', "; ")))?;
        Ok(Self { source, root })
    }

    /// The top level.
    pub fn root(&self) -> Section<'_> {
        Section { source: self.source, path: String::new(), span: self.root.span(), table: self.root.get_ref() }
    }
}

/// One table of the file.
pub struct Section<'d> {
    source: Source<'d>,
    path: String,
    span: Range<usize>,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Item<'d>> {
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key)?;
        Some(Item { source: self.source, path: self.join(name.get_ref()), value })
    }

    /// Everything in the table, in the order of the file.
    pub fn items(&self) -> Vec<(String, Item<'d>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| name.span().start);
        let item = |(name, value): (&Spanned<Cow<'_, str>>, &'d Spanned<DeValue<'d>>)| {
            let path = self.join(name.get_ref());
            (name.get_ref().to_string(), Item { source: self.source, path, value })
        };
        entries.into_iter().map(item).collect()
    }

    /// Refuses keys that nobody reads: a typo must not silently drop a limit.
    ///
    /// # Errors
    /// [`FileError`] at the first key that is not in `known`.
    pub fn reject_unknown(&self, known: &[&str]) -> Result<(), FileError> {
        let unknown = self.table.iter().filter(|(name, _)| !known.contains(&name.get_ref().as_ref()));
        match unknown.min_by_key(|(name, _)| name.span().start) {
            None => Ok(()),
            Some((name, _)) => {
                let meant = nearest(name.get_ref(), known).map(|key| format!(" (did you mean {key}?)"));
                let message = format!("is not a key here{}; known are {}", meant.unwrap_or_default(), known.join(", "));
                Err(self.source.error(name.span(), &self.join(name.get_ref()), message))
            }
        }
    }

    /// A complaint about the table as a whole.
    pub fn error(&self, message: impl Into<String>) -> FileError {
        self.source.error(self.span.clone(), &self.path, message)
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// One value of the file.
pub struct Item<'d> {
    source: Source<'d>,
    path: String,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Item<'d> {
    /// A complaint about this value.
    pub fn error(&self, message: impl Into<String>) -> FileError {
        self.source.error(self.value.span(), &self.path, message)
    }

    /// The value as text, whatever scalar it is; a list is joined by commas. For settings, which are text on every layer.
    ///
    /// # Errors
    /// [`FileError`] for tables, dates and nested lists.
    pub fn scalar_text(&self) -> Result<String, FileError> {
        match self.value.get_ref() {
            DeValue::Array(_) => Ok(self.strings()?.join(",")),
            value => scalar(value).ok_or_else(|| self.wrong("a string, a number, true, false or a list of strings")),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// [`FileError`] for any other type.
    pub fn str(&self) -> Result<&'d str, FileError> {
        self.value.get_ref().as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`FileError`] for any other type.
    pub fn bool(&self) -> Result<bool, FileError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A whole number from 0.
    ///
    /// # Errors
    /// [`FileError`] for any other type, a negative number or one above 64 bits.
    pub fn u64(&self) -> Result<u64, FileError> {
        let integer = self.value.get_ref().as_integer().ok_or_else(|| self.wrong("a whole number"))?;
        u64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| self.error(format!("{} is not between 0 and {}", integer.as_str(), u64::MAX)))
    }

    /// A number, with or without fraction.
    ///
    /// # Errors
    /// [`FileError`] for any other type.
    pub fn f64(&self) -> Result<f64, FileError> {
        match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().map_err(|_| self.wrong("a number")),
            DeValue::Integer(integer) if integer.radix() == 10 => {
                integer.as_str().parse().map_err(|_| self.wrong("a number"))
            }
            _ => Err(self.wrong("a number")),
        }
    }

    /// A list of strings.
    ///
    /// # Errors
    /// [`FileError`] for anything else.
    pub fn strings(&self) -> Result<Vec<&'d str>, FileError> {
        let wrong = || self.wrong("a list of strings");
        let list = self.value.get_ref().as_array().ok_or_else(wrong)?;
        list.iter().map(|entry| entry.get_ref().as_str().ok_or_else(wrong)).collect()
    }

    /// True when the value is text, so that units may be written.
    pub fn is_str(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// A table.
    ///
    /// # Errors
    /// [`FileError`] for anything else.
    pub fn section(&self) -> Result<Section<'d>, FileError> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.wrong("a table"))?;
        Ok(Section { source: self.source, path: self.path.clone(), span: self.value.span(), table })
    }

    /// Line and column of the value, from 1.
    pub fn position(&self) -> (usize, usize) {
        line_and_column(self.source.text, self.value.span().start)
    }

    fn wrong(&self, wanted: &str) -> FileError {
        self.error(format!("must be {wanted}, not {}", self.value.get_ref().type_str()))
    }
}

/// The known key that shares the longest beginning with what was written, three characters at least.
fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let shared = |key: &str| written.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
    known.iter().copied().filter(|key| shared(key) >= 3).max_by_key(|key| shared(key))
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str().to_owned()),
        DeValue::Float(float) => Some(float.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn located(text: &str, check: impl Fn(&Document<'_>) -> Result<(), FileError>) -> String {
        match Document::parse("f.toml", text).and_then(|document| check(&document)) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn complaints_say_file_line_column_and_key() {
        let wrong_type = located("a = 1\n[t]\n  b = true\n", |d| {
            d.root().get("t").map_or(Ok(()), |t| t.section()?.get("b").map_or(Ok(()), |b| b.u64().map(|_| ())))
        });
        assert_eq!(wrong_type, "f.toml:3:7: t.b: must be a whole number, not boolean");
        let unknown = located("known = 1\ntypo = 2\n", |d| d.root().reject_unknown(&["known"]));
        assert_eq!(unknown, "f.toml:2:1: typo: is not a key here; known are known");
        assert!(located("a = \n", |_| Ok(())).starts_with("f.toml:1:5: "), "{}", located("a = \n", |_| Ok(())));
        assert!(located("é = 1\né = 2\n", |_| Ok(())).starts_with("f.toml:"));
    }

    #[test]
    fn a_near_miss_is_guessed() {
        assert_eq!(nearest("memory", &["pids", "memory_bytes"]), Some("memory_bytes"));
        assert_eq!(nearest("pi", &["pids"]), None);
    }

    #[test]
    fn numbers_keep_their_range() {
        for (text, expected) in
            [("18446744073709551615", Some(u64::MAX)), ("0x10", Some(16)), ("-1", None), ("1.0", None)]
        {
            let text = format!("n = {text}");
            let read = Document::parse("f", &text).ok().and_then(|d| d.root().get("n").and_then(|n| n.u64().ok()));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn a_huge_file_is_refused_unread() {
        assert!(Document::parse("f", &" ".repeat(MAX_FILE_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in "[\\[\\]{}a-c=\"'0-9.\\n #é-]{0,60}") {
            if let Ok(document) = Document::parse("f", &text) {
                for (_, item) in document.root().items() {
                    let _ = (item.scalar_text(), item.u64(), item.f64(), item.strings(), item.position());
                }
            }
        }
    }
}
