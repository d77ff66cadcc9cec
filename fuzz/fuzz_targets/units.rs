//! Sizes and durations as people write them; what is printed exactly reads back as itself.
#![no_main]

use execd::units;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(bytes) = units::parse_bytes(text) {
        assert_eq!(units::parse_bytes(&units::format_bytes_exact(bytes)), Ok(bytes));
    }
    if let Ok(ms) = units::parse_duration_ms(text) {
        assert!(!units::format_duration_ms(ms).is_empty());
    }
});
