//! Memory: the tightest limit that holds here, and the working set under it.

use super::seat::{owns_machine, seat};
use super::snapshot::MemLimitSource;
use crate::cgroup::kept::Kept;
use crate::cgroup::mountinfo::Version;
use crate::cgroup::{Controller, Layout, Limit, parse};
use std::path::Path;

/// The kept files of this resource.
#[derive(Debug)]
pub(super) struct Memory {
    source: Source,
    limits: Vec<(MemLimitSource, Kept)>,
    meminfo: Kept,
}

/// Who counts.
#[derive(Debug)]
enum Source {
    V2 {
        current: Kept,
        stat: Kept,
        swap: Kept,
        events: Kept,
    },
    V1 {
        usage: Kept,
        stat: Kept,
        oom: Kept,
    },
    /// A host or microVM of our own: `meminfo` and `vmstat`.
    Machine {
        vmstat: Kept,
    },
    Unknown,
}

/// One reading, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryReading {
    pub(super) total: Option<u64>,
    pub(super) limit_source: Option<MemLimitSource>,
    pub(super) usage: Usage,
}

/// What is used, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Usage without inactive file pages, as the kubelet counts before it evicts.
    pub(super) working_set: Option<u64>,
    /// Page cache; tmpfs and shared memory are in it.
    pub(super) cache: Option<u64>,
    pub(super) anon: Option<u64>,
    pub(super) shmem: Option<u64>,
    pub(super) swap: Option<u64>,
    /// Number of processes that the kernel killed for memory.
    pub(super) oom_kills: Option<u64>,
    /// v1 states the tightest limit of all ancestors, the invisible ones too.
    hierarchical_limit: Option<u64>,
}

impl Memory {
    pub(super) fn new(root: &Path, layout: &Layout) -> Memory {
        Memory {
            source: Source::find(root, layout),
            limits: limits(layout),
            meminfo: Kept::open(root.join("proc/meminfo")),
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> MemoryReading {
        let machine = self.meminfo.read(buf).map(Meminfo::parse).unwrap_or_default();
        let usage = match &mut self.source {
            Source::V2 { current, stat, swap, events } => v2_usage(current, stat, swap, events, buf),
            Source::V1 { usage, stat, oom } => v1_usage(usage, stat, oom, buf),
            Source::Machine { vmstat } => Usage { oom_kills: one(vmstat, "oom_kill", buf), ..machine.usage() },
            Source::Unknown => Usage::default(),
        };
        let groups = self.limits.iter_mut().filter_map(|(source, file)| {
            let Limit::At(bytes) = parse::limit(file.read(buf)?)? else { return None };
            Some((bytes, *source))
        });
        let above = usage.hierarchical_limit.map(|bytes| (bytes, MemLimitSource::Cgroup1));
        let host = machine.total.map(|bytes| (bytes, MemLimitSource::Host));
        let tightest = groups.chain(above).chain(host).min_by_key(|(bytes, _)| *bytes);
        MemoryReading { total: tightest.map(|t| t.0), limit_source: tightest.map(|t| t.1), usage }
    }
}

impl Source {
    fn find(root: &Path, layout: &Layout) -> Source {
        let seat = seat(layout, Controller::Memory, "memory.usage_in_bytes", "memory.current");
        let open = |dir: &Path, file: &str| Kept::open(dir.join(file));
        match seat {
            None if owns_machine(root) => Source::Machine { vmstat: open(&root.join("proc"), "vmstat") },
            Some(seat) if seat.machine_root && owns_machine(root) => {
                Source::Machine { vmstat: open(&root.join("proc"), "vmstat") }
            }
            Some(seat) if seat.version == Version::V2 => Source::V2 {
                current: open(seat.dir, "memory.current"),
                stat: open(seat.dir, "memory.stat"),
                swap: open(seat.dir, "memory.swap.current"),
                events: open(seat.dir, "memory.events"),
            },
            Some(seat) => Source::V1 {
                usage: open(seat.dir, "memory.usage_in_bytes"),
                stat: open(seat.dir, "memory.stat"),
                oom: open(seat.dir, "memory.oom_control"),
            },
            None => Source::Unknown,
        }
    }
}

/// The limit files of all visible groups of both generations.
fn limits(layout: &Layout) -> Vec<(MemLimitSource, Kept)> {
    let v2 = layout.v2.iter().map(|place| (place, "memory.max", MemLimitSource::Cgroup2));
    let v1 = layout.v1(Controller::Memory).into_iter();
    let v1 = v1.map(|place| (place, "memory.limit_in_bytes", MemLimitSource::Cgroup1));
    let files = v2
        .chain(v1)
        .flat_map(|(place, file, source)| place.chain.iter().map(move |dir| (source, Kept::open(dir.join(file)))));
    files.filter(|(_, kept)| !kept.is_absent()).collect()
}

fn one(file: &mut Kept, key: &str, buf: &mut [u8]) -> Option<u64> {
    let [value] = parse::keyed(file.read(buf)?, &[key]);
    value
}

/// Usage that cannot be reclaimed at once. Without the key (gVisor) usage itself is the best figure, and never too small.
fn working_set(usage: Option<u64>, inactive_file: Option<u64>) -> Option<u64> {
    usage.map(|usage| usage.saturating_sub(inactive_file.unwrap_or(0)))
}

fn v2_usage(current: &mut Kept, stat: &mut Kept, swap: &mut Kept, events: &mut Kept, buf: &mut [u8]) -> Usage {
    let keys = ["inactive_file", "file", "anon", "shmem"];
    let [inactive, cache, anon, shmem] = stat.read(buf).map(|b| parse::keyed(b, &keys)).unwrap_or_default();
    Usage {
        working_set: working_set(current.read(buf).and_then(parse::number), inactive),
        cache,
        anon,
        shmem,
        swap: swap.read(buf).and_then(parse::number),
        oom_kills: one(events, "oom_kill", buf),
        hierarchical_limit: None,
    }
}

/// The plain keys count our group alone, the `total_` ones all groups below it as well; very old or fake trees lack the latter.
fn v1_usage(usage: &mut Kept, stat: &mut Kept, oom: &mut Kept, buf: &mut [u8]) -> Usage {
    let total = ["total_inactive_file", "total_cache", "total_rss", "total_shmem", "total_swap"];
    let plain = ["inactive_file", "cache", "rss", "shmem", "swap"];
    let stat = stat.read(buf).unwrap_or_default();
    let total = parse::keyed(stat, &total);
    let plain = parse::keyed(stat, &plain);
    let [limit] = parse::keyed(stat, &["hierarchical_memory_limit"]);
    let figure = |at: usize| total[at].or(plain[at]);
    let [inactive, cache, anon, shmem, swap] = [0, 1, 2, 3, 4].map(figure);
    Usage {
        working_set: working_set(usage.read(buf).and_then(parse::number), inactive),
        cache,
        anon,
        shmem,
        swap,
        oom_kills: one(oom, "oom_kill", buf),
        hierarchical_limit: limit,
    }
}

/// The lines of `/proc/meminfo` that matter, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meminfo {
    total: Option<u64>,
    available: Option<u64>,
    cached: Option<u64>,
    anon: Option<u64>,
    shmem: Option<u64>,
    swap_total: Option<u64>,
    swap_free: Option<u64>,
}

impl Meminfo {
    pub(super) fn parse(text: &[u8]) -> Meminfo {
        let mut info = Meminfo::default();
        for line in parse::lines(text) {
            let mut words = parse::words(line);
            let slot = match words.next() {
                Some(b"MemTotal:") => &mut info.total,
                Some(b"MemAvailable:") => &mut info.available,
                Some(b"Cached:") => &mut info.cached,
                Some(b"AnonPages:") => &mut info.anon,
                Some(b"Shmem:") => &mut info.shmem,
                Some(b"SwapTotal:") => &mut info.swap_total,
                Some(b"SwapFree:") => &mut info.swap_free,
                _ => continue,
            };
            *slot = words.next().and_then(parse::number).and_then(|kib| kib.checked_mul(1024));
        }
        info
    }

    fn usage(&self) -> Usage {
        let difference = |all: Option<u64>, free: Option<u64>| Some(all?.saturating_sub(free?));
        Usage {
            working_set: difference(self.total, self.available),
            cache: self.cached,
            anon: self.anon,
            shmem: self.shmem,
            swap: difference(self.swap_total, self.swap_free),
            oom_kills: None,
            hierarchical_limit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn meminfo() {
        let info =
            Meminfo::parse(b"MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nCached: x kB\n");
        let usage = info.usage();
        assert_eq!((info.total, usage.working_set, usage.cache), (Some(102_400), Some(61_440), None));
        assert_eq!((usage.swap, usage.anon), (Some(0), None));
    }

    #[test]
    fn working_sets() {
        assert_eq!(working_set(Some(10), Some(3)), Some(7));
        assert_eq!(working_set(Some(10), Some(30)), Some(0), "the two are not read at one instant");
        assert_eq!(working_set(Some(10), None), Some(10));
        assert_eq!(working_set(None, Some(3)), None);
    }

    proptest! {
        #[test]
        fn no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), text in "(MemTotal:|Cached:|[0-9]{1,25}| |kB|\n){0,30}") {
            let _ = (Meminfo::parse(&bytes).usage(), Meminfo::parse(text.as_bytes()).usage());
        }
    }
}
