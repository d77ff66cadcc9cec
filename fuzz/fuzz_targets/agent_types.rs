//! A configuration file may be anything: an error with a place, or settings whose agent types are consistent; never a panic.
#![no_main]

use execd::config::{load, tighten};
use execd::limits::Limits;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match load::check_file("fuzz.toml", text) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(loaded) => {
            for kind in loaded.agent_types.iter() {
                assert_eq!(loaded.agent_types.get(&kind.name.to_lowercase()), Some(kind));
                assert_eq!(
                    tighten(kind, &Limits::default()).as_ref(),
                    Ok(&kind.limits),
                    "asking nothing changes nothing"
                );
                assert_eq!(tighten(kind, &kind.limits).as_ref(), Ok(&kind.limits), "its own limits loosen nothing");
            }
        }
    }
});
