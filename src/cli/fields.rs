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

/// A number with a fraction.
pub(super) fn float(object: &Value, key: &str) -> Option<f64> {
    object.get(key).and_then(Value::as_f64)
}

/// The signal of an execution by name.
pub(super) fn signal_name(view: &Value) -> String {
    let standard = signal_number(view).and_then(|number| nix::sys::signal::Signal::try_from(i32::from(number)).ok());
    standard.map_or_else(|| text(view, "signal"), |signal| signal.as_str().to_owned())
}

/// The entries of a listing: a bare array, or an object with the array under `key`.
pub(super) fn entries<'a>(listing: &'a Value, key: &str) -> &'a [Value] {
    let array = listing.as_array().or_else(|| listing.get(key).and_then(Value::as_array));
    array.map_or(&[], Vec::as_slice)
}

/// A point in time in milliseconds since 1970: RFC 3339 in UTC, or the number itself.
pub(super) fn time_ms(object: &Value, key: &str) -> Option<u64> {
    match object.get(key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => rfc3339_ms(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn rfc3339_ms(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let separators = [(4, '-'), (7, '-'), (10, 'T'), (13, ':'), (16, ':')];
    let in_place = |(at, c): (usize, char)| text.get(at..=at).is_some_and(|found| found.starts_with(c));
    let rest = text.get(19..)?.strip_suffix('Z')?;
    if !separators.into_iter().all(in_place) || !(rest.is_empty() || rest.starts_with('.')) {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let millis: String = rest.chars().skip(1).chain("000".chars()).take(3).collect();
    let seconds =
        days_since_1970(year, month, day) * 86_400 + part(11, 13)? * 3600 + part(14, 16)? * 60 + part(17, 19)?;
    Some(seconds * 1000 + millis.parse::<u64>().ok()?)
}

/// Gregorian days; years are counted from March, so that the leap day is the last of its year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_of_both_forms() {
        for (value, ms) in [
            (json!("1970-01-01T00:00:00Z"), Some(0)),
            (json!("2000-02-29T00:00:00.000Z"), Some(951_782_400_000)),
            (json!("2024-02-29T23:59:59.999Z"), Some(1_709_251_199_999)),
            (json!("2024-02-29T23:59:59.5Z"), Some(1_709_251_199_500)),
            (json!(1_709_251_199_999_u64), Some(1_709_251_199_999)),
            (json!("2024-02-29 23:59:59Z"), None),
            (json!("0000-00-00T00:00:00Z"), None),
            (json!("2024-02-29T23:59:59+01:00"), None),
            (json!(null), None),
        ] {
            assert_eq!(time_ms(&json!({"t": value.clone()}), "t"), ms, "{value}");
        }
    }

    #[test]
    fn signals_by_name() {
        assert_eq!(signal_name(&json!({"signal": 11})), "SIGSEGV");
        assert_eq!(signal_name(&json!({"signal": "SIGTERM"})), "SIGTERM");
        assert_eq!(signal_name(&json!({"signal": null})), "-");
    }

    #[test]
    fn text_cannot_drive_the_terminal() {
        assert_eq!(text(&json!({"id": "a\u{1b}[31m\n"}), "id"), "a?[31m?");
    }

    proptest::proptest! {
        #[test]
        fn any_time_is_answered_without_panic(time in "[0-9TZ:.é-]{0,26}") {
            let _ = rfc3339_ms(&time);
        }
    }
}
