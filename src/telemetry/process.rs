//! The daemon's own process in Prometheus' customary `process_*` families. Read at scrape time only.

use super::exposition::{Exposition, Family, Kind};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;

const CPU: Family = Family {
    name: "process_cpu_seconds",
    kind: Kind::Counter,
    unit: "seconds",
    help: "User and system CPU time of the daemon itself.",
};
const RSS: Family = Family {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: "bytes",
    help: "Resident memory of the daemon itself.",
};
const VSZ: Family = Family {
    name: "process_virtual_memory_bytes",
    kind: Kind::Gauge,
    unit: "bytes",
    help: "Virtual memory of the daemon itself.",
};
const FDS: Family =
    Family { name: "process_open_fds", kind: Kind::Gauge, unit: "", help: "Open descriptors of the daemon." };
const MAX_FDS: Family =
    Family { name: "process_max_fds", kind: Kind::Gauge, unit: "", help: "Descriptors that the daemon may have open." };
const START: Family = Family {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: "seconds",
    help: "When the daemon started, in seconds since the epoch.",
};

#[allow(clippy::cast_precision_loss)] // scrapes are floats
pub(super) fn render(out: &mut Exposition, started_unix_ms: u64) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        out.family(&CPU);
        out.counter_f64(&CPU, &[], micros as f64 / 1e6);
    }
    if let Some((virtual_bytes, resident_bytes)) = memory() {
        out.family(&VSZ);
        out.gauge(&VSZ, &[], virtual_bytes as f64);
        out.family(&RSS);
        out.gauge(&RSS, &[], resident_bytes as f64);
    }
    if let Some(count) = open_fds() {
        out.family(&FDS);
        out.gauge(&FDS, &[], count as f64);
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        out.family(&MAX_FDS);
        out.gauge(&MAX_FDS, &[], soft as f64);
    }
    out.family(&START);
    out.gauge(&START, &[], started_unix_ms as f64 / 1e3);
}

/// Virtual and resident bytes.
fn memory() -> Option<(u64, u64)> {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten()?;
    parse_statm(&std::fs::read_to_string("/proc/self/statm").ok()?, u64::try_from(page).ok()?)
}

fn parse_statm(text: &str, page: u64) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map(|f| f.parse::<u64>().ok());
    Some((fields.next()??.checked_mul(page)?, fields.next()??.checked_mul(page)?))
}

fn open_fds() -> Option<usize> {
    // The descriptor that lists them is one of them.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statm_gives_bytes_or_nothing() {
        assert_eq!(parse_statm("10 2 1 0 0 0 0\n", 4096), Some((40_960, 8_192)));
        for odd in ["", "10", "x y", "10 -2"] {
            assert_eq!(parse_statm(odd, 4096), None, "{odd:?}");
        }
        assert_eq!(parse_statm(&format!("{} 1", u64::MAX), 4096), None);
    }
}
