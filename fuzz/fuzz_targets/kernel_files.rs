//! Files of odd kernels and fakes: missing keys, garbage, a mebibyte of one line.
#![no_main]

use execd::cgroup::{mountinfo, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = (parse::number(bytes), parse::limit(bytes), parse::cpu_max(bytes), parse::psi(bytes));
    let _ = parse::keyed(bytes, &["usage_usec", "oom_kill", "anon"]);
    let _ = (mountinfo::mounts(bytes), mountinfo::memberships(bytes));
});
