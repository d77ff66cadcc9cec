//! CPU quotas on the way from our group up to the mount point, and how often the tightest one stopped us.

use crate::cgroup::kept::Kept;
use crate::cgroup::parse::{self, CpuMax};
use crate::cgroup::{Controller, Layout};
use std::path::Path;

/// The groups that have a quota file, nearest first.
#[derive(Debug)]
pub(super) struct Bandwidth(Vec<Group>);

#[derive(Debug)]
struct Group {
    quota: Quota,
    /// `cpu.stat`: counts the periods of this group's own quota only, not of those above.
    stat: Kept,
}

#[derive(Debug)]
enum Quota {
    V2(Kept),
    V1 { quota: Kept, period: Kept },
}

/// Figures of one group's quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttling {
    pub(super) nr_periods: Option<u64>,
    pub(super) nr_throttled: Option<u64>,
    pub(super) throttled_us: Option<u64>,
}

impl Bandwidth {
    pub(super) fn new(layout: &Layout) -> Bandwidth {
        let dirs = |place: Option<&crate::cgroup::Place>| place.map(|p| p.chain.clone()).unwrap_or_default();
        let (v2, v1) = (dirs(layout.v2.as_ref()), dirs(layout.v1(Controller::Cpu)));
        Bandwidth(v2.iter().filter_map(|dir| v2_group(dir)).chain(v1.iter().filter_map(|dir| v1_group(dir))).collect())
    }

    /// The tightest quota in cores, and the throttling by it; without any quota that of the nearest group.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> (Option<f64>, Throttling) {
        let mut tightest: (usize, Option<f64>) = (0, None);
        for (at, group) in self.0.iter_mut().enumerate() {
            let cores = group.quota.read(buf).and_then(CpuMax::cores).filter(|cores| *cores > 0.0);
            if cores.is_some_and(|cores| tightest.1.is_none_or(|least| cores < least)) {
                tightest = (at, cores);
            }
        }
        let stat = self.0.get_mut(tightest.0).and_then(|group| group.stat.read(buf));
        (tightest.1, stat.map(throttling).unwrap_or_default())
    }
}

fn present(dir: &Path, file: &str) -> Option<Kept> {
    Some(Kept::open(dir.join(file))).filter(|kept| !kept.is_absent())
}

fn v2_group(dir: &Path) -> Option<Group> {
    Some(Group { quota: Quota::V2(present(dir, "cpu.max")?), stat: Kept::open(dir.join("cpu.stat")) })
}

fn v1_group(dir: &Path) -> Option<Group> {
    let quota = Quota::V1 { quota: present(dir, "cpu.cfs_quota_us")?, period: present(dir, "cpu.cfs_period_us")? };
    Some(Group { quota, stat: Kept::open(dir.join("cpu.stat")) })
}

impl Quota {
    fn read(&mut self, buf: &mut [u8]) -> Option<CpuMax> {
        match self {
            Quota::V2(max) => parse::cpu_max(max.read(buf)?),
            Quota::V1 { quota, period } => {
                let quota = parse::limit(quota.read(buf)?)?;
                let period_us = parse::number(period.read(buf)?).filter(|us| *us > 0)?;
                Some(CpuMax { quota, period_us })
            }
        }
    }
}

/// v1 names the last figure otherwise, and states it in ns.
pub(super) fn throttling(stat: &[u8]) -> Throttling {
    let keys = ["nr_periods", "nr_throttled", "throttled_usec", "throttled_time"];
    let [nr_periods, nr_throttled, us, ns] = parse::keyed(stat, &keys);
    Throttling { nr_periods, nr_throttled, throttled_us: us.or(ns.map(|ns| ns / 1000)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_generations() {
        let figures = Throttling { nr_periods: Some(3), nr_throttled: Some(2), throttled_us: Some(5) };
        assert_eq!(throttling(b"usage_usec 1\nnr_periods 3\nnr_throttled 2\nthrottled_usec 5\n"), figures);
        assert_eq!(throttling(b"nr_periods 3\nnr_throttled 2\nthrottled_time 5999\n"), figures);
        assert_eq!(throttling(b"usage_usec 1\n"), Throttling::default());
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = throttling(&bytes);
        }
    }
}
