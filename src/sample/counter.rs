//! The container's own CPU counter: every process that ever ran in it, also those that nobody waited for.

use super::seat::{owns_machine, seat};
use crate::cgroup::kept::Kept;
use crate::cgroup::mountinfo::Version;
use crate::cgroup::{Controller, Layout, parse};
use std::path::Path;

/// `/proc/stat` counts in `USER_HZ`, which is 100 on every architecture that we build for.
pub(super) const TICK_US: u64 = 10_000;

/// A kept-open CPU counter.
#[derive(Debug)]
pub(super) struct CpuCounter(Source);

#[derive(Debug)]
enum Source {
    /// v2 `cpu.stat`.
    V2(Kept),
    /// v1 `cpuacct.usage`, in ns.
    V1(Kept),
    /// `/proc/stat`, only where the machine is ours.
    Machine(Kept),
    Unknown,
}

impl CpuCounter {
    /// Finds the counter below `root`. `layout` must be of the time before the daemon moved itself to a leaf group.
    pub(super) fn new(root: &Path, layout: &Layout) -> CpuCounter {
        let group = Self::of_group(layout);
        match group.0 {
            Source::Unknown if owns_machine(root) => CpuCounter(Source::Machine(Kept::open(root.join("proc/stat")))),
            _ => group,
        }
    }

    fn of_group(layout: &Layout) -> CpuCounter {
        CpuCounter(match seat(layout, Controller::Cpuacct, "cpuacct.usage", "cpu.stat") {
            Some(seat) if seat.version == Version::V1 => Source::V1(Kept::open(seat.dir.join("cpuacct.usage"))),
            Some(seat) => Source::V2(Kept::open(seat.dir.join("cpu.stat"))),
            None => Source::Unknown,
        })
    }

    /// User plus system time in µs, `None` where nothing readable counts it.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Option<u64> {
        match &mut self.0 {
            Source::V2(stat) => v2_usage_us(stat.read(buf)?),
            Source::V1(usage) => parse::number(usage.read(buf)?).map(|ns| ns / 1000),
            Source::Machine(stat) => machine_usage_us(stat.read(buf)?),
            Source::Unknown => None,
        }
    }
}

fn v2_usage_us(stat: &[u8]) -> Option<u64> {
    let [usage_us] = parse::keyed(stat, &["usage_usec"]);
    usage_us
}

/// The `cpu` line of `/proc/stat`: user, nice, system, then idle and iowait, then irq and softirq. Guest time is in user already;
/// stolen time was not ours.
pub(super) fn machine_usage_us(stat: &[u8]) -> Option<u64> {
    let mut words = parse::words(parse::lines(stat).next()?);
    (words.next()? == b"cpu").then_some(())?;
    let mut ticks = [0; 7];
    for tick in &mut ticks {
        *tick = parse::number(words.next()?)?;
    }
    let [user, nice, system, _, _, irq, softirq] = ticks;
    let busy = [nice, system, irq, softirq].iter().try_fold(user, |sum, n| sum.checked_add(*n))?;
    busy.checked_mul(TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn machine_line() {
        assert_eq!(machine_usage_us(b"cpu  10 1 5 900 7 1 2 3 4 0\ncpu0 1"), Some(190_000));
        for bad in [&b""[..], b"cpu 1 2 3", b"cpu0 1 2 3 4 5 6 7", b"cpu a 2 3 4 5 6 7"] {
            assert_eq!(machine_usage_us(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), text in "cpu( [0-9]{1,20}){0,9}") {
            let _ = (machine_usage_us(&bytes), machine_usage_us(text.as_bytes()), v2_usage_us(&bytes));
        }
    }
}
