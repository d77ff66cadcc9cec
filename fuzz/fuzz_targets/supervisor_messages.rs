//! What comes over the socket from the side that runs foreign code.
#![no_main]

use execd::supervisor::protocol;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = postcard::from_bytes::<protocol::Report>(bytes);
    let fd = nix::sys::memfd::memfd_create(c"fuzz", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).expect("memfd");
    let file = std::fs::File::from(fd);
    file.write_all_at(bytes, 0).expect("memory");
    let _ = protocol::unpack(file.as_fd());
});
