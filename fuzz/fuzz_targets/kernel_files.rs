//! Files of odd kernels and fakes: missing keys, garbage, a mebibyte of one line.
#![no_main]

use execd::cgroup::{mountinfo, parse};
use execd::fuzzing::{sample, supervisor};
use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(number) = parse::number(bytes) {
        assert_eq!(parse::number(number.to_string().as_bytes()), Some(number));
        assert!(parse::limit(bytes).is_some());
    }
    assert!(parse::cpu_max(bytes).is_none_or(|max| max.period_us > 0));
    let lines = parse::psi(bytes).into_iter().flat_map(|psi| psi.some.into_iter().chain(psi.full));
    assert!(lines.into_iter().all(|line| (0.0..=100.0).contains(&line.avg10)));
    // One key at a time or all together is the same.
    let keys = ["usage_usec", "oom_kill", "anon"];
    assert_eq!(parse::keyed(bytes, &keys), keys.map(|key| parse::keyed(bytes, &[key])[0]));
    assert!(parse::whole_lines(bytes).last().is_none_or(|last| *last == b'\n'));

    let mounts = execd_fuzz::within(64 * bytes.len() + 4096, || mountinfo::mounts(bytes));
    for mount in &mounts {
        assert_eq!(
            mounts.iter().filter(|other| other.point == mount.point).count(),
            1,
            "the later one covers the earlier"
        );
    }
    let memberships = execd_fuzz::within(64 * bytes.len() + 4096, || mountinfo::memberships(bytes));
    assert!(memberships.iter().all(|membership| membership.path.starts_with("/")));
    assert!(mountinfo::unescape(bytes).as_os_str().len() <= bytes.len());

    sample::read_all(bytes);
    assert!(sample::load_averages(bytes).into_iter().flatten().all(|average| average.is_finite() && average >= 0.0));
    assert_ne!(sample::cpu_list_len(bytes), Some(0));
    let _ = sample::filesystem(bytes, Path::new("/work/shop"));
    let _ = supervisor::stat(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = supervisor::gate::signal_waits(text);
        let _ = supervisor::sum_keys(text, &["RssAnon:", "RssShmem:", "VmSwap:"]);
        if let Some(inode) = supervisor::gate::socket_inode(Path::new(text)) {
            assert_eq!(supervisor::gate::socket_inode(Path::new(&format!("socket:[{inode}]"))), Some(inode));
        }
    }
});
