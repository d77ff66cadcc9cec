//! One JSON line, without a dependency.

/// Collects members of one JSON object.
#[derive(Default)]
pub(crate) struct Object(String);

impl Object {
    /// An empty object.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a member whose value is already JSON.
    pub(crate) fn raw(mut self, key: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&format!("{}:{value}", quote(key)));
        self
    }

    /// Adds a number or a boolean.
    pub(crate) fn value(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.raw(key, &value.to_string())
    }

    /// Adds text.
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, &quote(value))
    }

    /// The object as JSON.
    pub(crate) fn render(&self) -> String {
        format!("{{{}}}", self.0)
    }

    /// Prints the object as one line in one write, so that lines of several processes do not mix.
    pub(crate) fn print(&self) {
        print_line(&self.render());
    }
}

/// Writes one line to stdout at once; a closed stdout is not our problem.
pub(crate) fn print_line(line: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
    let _ = std::io::stdout().flush();
}

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What a system call said: 0 or the errno.
pub(crate) fn errno_of(result: i64) -> i32 {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}
