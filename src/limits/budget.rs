//! When to look at a consumable budget again. Pure: readings in, durations out.

use std::time::Duration;

/// Time until `remaining` CPU time could be spent with `cores` busy, not below `floor`.
///
/// Looking at `remaining / cores` instead of at a fixed rate costs a handful of looks per execution and still never lets
/// it run further than `floor * cores` past the budget.
pub fn cpu_look_in(remaining: Duration, cores: u32, floor: Duration) -> Duration {
    (remaining / cores.max(1)).max(floor)
}

/// Fastest growth of memory that the watchdog promises to catch within [`MEMORY_REACTION`]: 1 GB/s.
pub const MEMORY_RATE: u64 = 1_000_000_000;

/// Longest time between crossing the limit and the look that sees it. The product promises 50 ms to the KILL; the look
/// itself, a precise count and the scheduler take the rest.
pub const MEMORY_REACTION: Duration = Duration::from_millis(20);

/// Longest time between two looks at memory: also bounds how stale the usage figures are.
pub const MEMORY_LOOK_MAX: Duration = Duration::from_millis(500);

/// Time until memory must be looked at again when `headroom` bytes are left.
///
/// The limit cannot be crossed before `headroom / rate`, so a look at that time plus the reaction is early enough.
pub fn memory_look_in(headroom: u64) -> Duration {
    let micros = headroom.saturating_mul(1_000_000) / MEMORY_RATE;
    (Duration::from_micros(micros) + MEMORY_REACTION).min(MEMORY_LOOK_MAX)
}

/// Bytes until the container's own limit must be prevented; 0 means now. The margin is what grows at [`MEMORY_RATE`] until a KILL
/// has worked, less in small containers.
pub fn container_headroom(limit: u64, unreclaimable: u64) -> u64 {
    let margin = (limit / 16).clamp(4 << 20, 64 << 20);
    limit.saturating_sub(margin).saturating_sub(unreclaimable)
}

/// Whether an execution must go so that the container does not: it must be the largest, so that its end helps and nobody else's does.
pub fn answers_for_container(headroom: u64, unreclaimable: u64, own: u64) -> bool {
    headroom == 0 && own >= unreclaimable / 2
}

/// Time until the work directory must be added up again; `cost` is what the last walk took.
///
/// At most 2 s apart as promised, at least ten walks' cost apart so that a huge tree does not eat a core.
pub fn storage_look_in(headroom: u64, cost: Duration) -> Duration {
    const MAX: Duration = Duration::from_millis(1800);
    let soonest = (cost * 10).max(Duration::from_millis(100));
    let could_cross = Duration::from_micros(headroom.saturating_mul(1_000_000) / MEMORY_RATE);
    could_cross.max(soonest).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_looks_get_closer_as_the_budget_shrinks() {
        let floor = Duration::from_millis(5);
        let cases = [(60_000, 2, 30_000), (1_000, 2, 500), (100, 4, 25), (10, 4, 5), (0, 2, 5), (100, 0, 100)];
        for (remaining, cores, expected) in cases {
            let look = cpu_look_in(Duration::from_millis(remaining), cores, floor);
            assert_eq!(look, Duration::from_millis(expected), "{remaining} ms left on {cores} cores");
        }
    }

    #[test]
    fn memory_is_looked_at_before_it_could_be_far_over() {
        assert_eq!(memory_look_in(0), MEMORY_REACTION);
        assert_eq!(memory_look_in(100_000_000), Duration::from_millis(120));
        assert_eq!(memory_look_in(u64::MAX), MEMORY_LOOK_MAX);
    }

    #[test]
    fn only_the_largest_execution_answers_for_the_container() {
        const MIB: u64 = 1 << 20;
        let cases = [
            (512 * MIB, 100 * MIB, 80 * MIB, 380 * MIB, false),
            (512 * MIB, 490 * MIB, 400 * MIB, 0, true),
            (512 * MIB, 490 * MIB, 200 * MIB, 0, false),
            (64 << 30, (64 << 30) - 65 * MIB, 40 << 30, MIB, false),
            (2 * MIB, MIB, MIB, 0, true),
        ];
        for (limit, used, own, headroom, answers) in cases {
            assert_eq!(container_headroom(limit, used), headroom, "{limit} {used}");
            assert_eq!(answers_for_container(headroom, used, own), answers, "{limit} {used} {own}");
        }
    }

    #[test]
    fn storage_looks_are_never_further_apart_than_two_seconds() {
        assert_eq!(storage_look_in(0, Duration::ZERO), Duration::from_millis(100));
        assert!(storage_look_in(u64::MAX, Duration::from_secs(9)) < Duration::from_secs(2));
        assert_eq!(storage_look_in(0, Duration::from_millis(50)), Duration::from_millis(500));
    }
}
