//! A TLS client's first bytes, as they come and wrapped into the records, the message and the list of extensions that they need.
#![no_main]

use execd::fuzzing::network::{First, HELLO_MAX, inspect};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    if bytes.len() > 8 << 10 {
        return;
    }
    let size = usize::from(step) + 1;
    growing(bytes);
    growing(&records(bytes, size));
    growing(&records(&hello(bytes), size));
    if let Ok(name) = std::str::from_utf8(bytes) {
        let entry = [&[0][..], &with_length(bytes)].concat();
        let extension = [&[0, 0][..], &with_length(&with_length(&entry))].concat();
        let known = First::Hello(Some(name.to_owned()));
        assert_eq!(inspect(&records(&hello(&extension), 1 << 14)), known);
    }
});

/// What is decided stays so whatever follows.
fn growing(bytes: &[u8]) {
    if bytes.len() >= HELLO_MAX {
        return;
    }
    let whole = execd_fuzz::within(256 << 10, || inspect(bytes));
    for part in [bytes.len() / 4, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = inspect(&bytes[..part]);
        assert!(part == First::Unknown || part == whole, "{part:?}, then {whole:?}");
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    let body = [&[3; 34][..], &[0, 0, 2, 19, 1, 1, 0], &with_length(extensions)].concat();
    [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &with_length(part)].concat()).collect()
}
