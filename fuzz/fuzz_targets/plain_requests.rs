//! Bytes of a connection that has just begun: a plain request must be one on its own, and whatever follows it.
#![no_main]

use execd_wire::plain::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((request, length)) = parse(bytes) else { return };
    assert_eq!(parse(&bytes[..length]), Some((request, length)));
    assert_eq!(parse(&bytes[..length - 1]), None);
    assert!(request.path.starts_with('/') && !request.path.contains('?'));
});
