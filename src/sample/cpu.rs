//! How many CPUs the container may use, and what it used of them.

use super::bandwidth::{Bandwidth, Throttling};
use super::counter::CpuCounter;
use crate::cgroup::kept::Kept;
use crate::cgroup::{Layout, parse};
use std::path::Path;

/// The kept files of this resource.
#[derive(Debug)]
pub(super) struct Cpu {
    counter: CpuCounter,
    bandwidth: Bandwidth,
    online: Kept,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuReading {
    /// CPUs available: the smallest of affinity, CPUs online, and quota of every visible group.
    pub(super) count: Option<f64>,
    pub(super) usage_us: Option<u64>,
    pub(super) throttling: Throttling,
}

impl Cpu {
    pub(super) fn new(root: &Path, layout: &Layout) -> Cpu {
        Cpu {
            counter: CpuCounter::new(root, layout),
            bandwidth: Bandwidth::new(layout),
            online: Kept::open(root.join("sys/devices/system/cpu/online")),
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> CpuReading {
        let usage_us = self.counter.read(buf);
        let (quota, throttling) = self.bandwidth.read(buf);
        let online = self.online.read(buf).and_then(cpu_list_len);
        let whole = [affinity(), online].into_iter().flatten().min().map(f64::from);
        CpuReading { count: quota.into_iter().chain(whole).reduce(f64::min), usage_us, throttling }
    }
}

/// The CPUs that this process may run on; a container's cpuset is in it.
fn affinity() -> Option<u32> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).ok()?;
    let count = (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

/// Number of CPUs in a list such as `0-3,8` (cpuset(7), "List format"). `None` for anything malformed or empty.
pub(super) fn cpu_list_len(text: &[u8]) -> Option<u32> {
    let mut sum = 0_u64;
    for range in text.trim_ascii().split(|b| *b == b',') {
        let (first, last) = parse::split_once(range, b'-').unwrap_or((range, range));
        let (first, last) = (parse::number(first)?, parse::number(last)?);
        sum = sum.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    u32::try_from(sum).ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cpu_lists() {
        let table: [(&[u8], Option<u32>); 8] = [
            (b"0\n", Some(1)),
            (b"0-1\n", Some(2)),
            (b"0-3,8,10-11", Some(7)),
            (b"", None),
            (b"3-1", None),
            (b"0-", None),
            (b"a", None),
            (b"0-18446744073709551615", None),
        ];
        for (text, expected) in table {
            assert_eq!(cpu_list_len(text), expected, "{text:?}");
        }
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(affinity().is_some_and(|n| n >= 1));
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128), text in "[0-9,-]{0,60}") {
            let _ = (cpu_list_len(&bytes), cpu_list_len(text.as_bytes()));
        }
    }
}
