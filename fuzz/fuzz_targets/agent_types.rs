//! A configuration file may be anything: an error with a place, or settings; never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = execd::config::load::check_file("fuzz.toml", text) {
        assert!(!error.to_string().is_empty());
    }
});
