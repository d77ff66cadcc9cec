//! Lenient reading of the daemon's JSON: what is absent or of an unexpected type is unknown, and shown as `-`.

use crate::units;
use serde_json::Value;

/// An optional value as text.
pub(super) trait Show<T> {
    /// The value through `format`, or a dash.
    fn show(self, format: impl Fn(T) -> String) -> String;
}

impl<T> Show<T> for Option<T> {
    fn show(self, format: impl Fn(T) -> String) -> String {
        self.map_or_else(|| "-".to_owned(), format)
    }
}

/// A scalar as safe text: control characters, which could drive the terminal, become `?`.
pub(super) fn text(object: &Value, key: &str) -> String {
    match object.get(key) {
        Some(Value::String(text)) => printable(text),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => "-".to_owned(),
    }
}

/// Text without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A whole number.
pub(super) fn number(object: &Value, key: &str) -> Option<u64> {
    object.get(key).and_then(Value::as_u64)
}

/// User plus system time; unknown when either is.
pub(super) fn cpu_ms(usage: &Value) -> Option<u64> {
    number(usage, "cpu_user_ms")?.checked_add(number(usage, "cpu_system_ms")?)
}

/// A limit's number in its own unit, which its key tells.
pub(super) fn limit_value(key: &str, value: u64) -> String {
    if key.ends_with("_bytes") {
        units::format_bytes(value)
    } else if key.ends_with("_ms") {
        units::format_duration_ms(value)
    } else {
        value.to_string()
    }
}

/// The signal of an execution by name or number; real-time signals count from `SIGRTMIN`.
pub(super) fn signal_number(view: &Value) -> Option<u8> {
    /// glibc's and musl's first real-time signal that programs may use differ (34, 35); the kernel's own names start here.
    const SIGRTMIN: u8 = 34;
    match view.get("signal")? {
        Value::Number(number) => u8::try_from(number.as_u64()?).ok().filter(|number| (1..=64).contains(number)),
        Value::String(name) => {
            let name = name.trim();
            if let Ok(signal) = name.parse::<nix::sys::signal::Signal>() {
                return u8::try_from(signal as i32).ok();
            }
            let offset: u8 = name.strip_prefix("SIGRTMIN")?.trim_start_matches('+').parse().ok().or(Some(0))?;
            SIGRTMIN.checked_add(offset).filter(|number| *number <= 64)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
