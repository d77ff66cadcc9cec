//! Rates between two looks, as pure functions.

use std::time::Duration;

/// Two looks closer than this give no new rate: the counters' own grain (ticks of 1–10 ms) would be most of it.
pub(super) const MIN_WINDOW: Duration = Duration::from_millis(100);

/// One reading of the CPU counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuLook {
    /// Monotonic time of the reading.
    pub at: Duration,
    /// The counter in µs, `None` where nothing counts.
    pub usage_us: Option<u64>,
}

/// CPU use between two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuRate {
    /// Share of the available CPUs, 0–100; `None` when a counter or the number of CPUs is unknown, or the counter went back.
    pub used_pct: Option<f64>,
    /// Time between the looks in ms, never below 100.
    pub window_ms: u64,
}

/// The rate from `previous` to `now`; `None` when less than 100 ms lie between them, so that there is no new rate.
/// `cpus` is the number of CPUs available, a fraction is fine.
pub fn cpu_rate(previous: CpuLook, now: CpuLook, cpus: Option<f64>) -> Option<CpuRate> {
    let window = now.at.checked_sub(previous.at).filter(|w| *w >= MIN_WINDOW)?;
    Some(CpuRate {
        used_pct: used_pct(previous, now, window, cpus),
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
    })
}

fn used_pct(previous: CpuLook, now: CpuLook, window: Duration, cpus: Option<f64>) -> Option<f64> {
    let used = now.usage_us?.checked_sub(previous.usage_us?)?;
    let available = window.as_secs_f64() * 1e6 * cpus.filter(|cpus| *cpus > 0.0)?;
    let pct = 100.0 * used as f64 / available;
    // More than all happens: a quota lets short bursts pass, and clocks and counters are not read at one instant.
    pct.is_finite().then(|| pct.clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look(ms: u64, usage_us: Option<u64>) -> CpuLook {
        CpuLook { at: Duration::from_millis(ms), usage_us }
    }

    #[test]
    fn table() {
        let zero = look(0, Some(0));
        let rate = |used_pct, window_ms| Some(CpuRate { used_pct, window_ms });
        let table = [
            ("half of one", zero, look(1000, Some(500_000)), Some(1.0), rate(Some(50.0), 1000)),
            ("half of two", zero, look(1000, Some(1_000_000)), Some(2.0), rate(Some(50.0), 1000)),
            ("all of half", zero, look(200, Some(100_000)), Some(0.5), rate(Some(100.0), 200)),
            ("burst", zero, look(100, Some(900_000)), Some(1.0), rate(Some(100.0), 100)),
            ("idle", zero, look(100, Some(0)), Some(1.0), rate(Some(0.0), 100)),
            ("too close", zero, look(99, Some(1)), Some(1.0), None),
            ("backwards in time", look(500, Some(0)), zero, Some(1.0), None),
            ("counter reset", look(0, Some(9)), look(100, Some(1)), Some(1.0), rate(None, 100)),
            ("no counter", zero, look(100, None), Some(1.0), rate(None, 100)),
            ("no number of CPUs", zero, look(100, Some(1)), None, rate(None, 100)),
            ("zero CPUs", zero, look(100, Some(1)), Some(0.0), rate(None, 100)),
        ];
        for (name, previous, now, cpus, expected) in table {
            assert_eq!(cpu_rate(previous, now, cpus), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn always_a_share(a: u64, b: u64, at: u32, later: u64, cpus in proptest::option::of(any::<f64>())) {
            let previous = CpuLook { at: Duration::from_micros(u64::from(at)), usage_us: Some(a) };
            let now = CpuLook { at: previous.at.saturating_add(Duration::from_micros(later)), usage_us: Some(b) };
            if let Some(rate) = cpu_rate(previous, now, cpus) {
                prop_assert!(rate.window_ms >= 100);
                prop_assert!(rate.used_pct.is_none_or(|pct| (0.0..=100.0).contains(&pct)));
            }
        }
    }
}
