//! Sizes, durations, signals and identifiers as people write them; what is printed exactly reads back as itself.
#![no_main]

use execd::{exec, units};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(bytes) = units::parse_bytes(text) {
        assert_eq!(units::parse_bytes(&units::format_bytes_exact(bytes)), Ok(bytes));
        assert!(!units::format_bytes(bytes).is_empty());
    }
    if let Ok(ms) = units::parse_duration_ms(text) {
        assert_eq!(units::parse_duration_ms(&units::format_duration_ms(ms)), Ok(ms));
    }
    if let Some(signal) = exec::parse_signal(text) {
        assert!((1..=64).contains(&signal));
        let name = exec::signal_name(signal);
        assert!(exec::parse_signal(&name).is_none_or(|again| again == signal), "{name}");
    }
    assert!(!exec::is_valid_id(text) || text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
});
