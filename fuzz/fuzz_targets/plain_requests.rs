//! Bytes of a connection that has just begun: a plain request must be one on its own, and whatever follows it.
#![no_main]

use execd_wire::plain::{begins_with, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (head, rest) = bytes.split_at(bytes.len() / 2);
    assert_eq!(begins_with(head, rest), head.starts_with(rest));
    assert_eq!(begins_with(bytes, head), bytes.starts_with(head));

    let Some((request, length)) = parse(bytes) else { return };
    assert_eq!(parse(&bytes[..length]), Some((request, length)));
    assert_eq!(parse(&bytes[..length - 1]), None);
    assert!(request.path.starts_with('/') && !request.path.contains('?'));
    // Whoever looks for the end of a head by hand finds the same one.
    let text = &bytes[..length];
    assert!(text.ends_with(b"\n\r\n") || text.ends_with(b"\n\n"));
});
