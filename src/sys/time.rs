//! Clock readings as plain numbers.

use std::time::Duration;

/// Monotonic time since boot (`CLOCK_MONOTONIC`); comparable between processes of one machine.
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling process (`CLOCK_PROCESS_CPUTIME_ID`).
pub fn own_cpu() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Unix time in milliseconds (`CLOCK_REALTIME`).
pub fn unix_ms() -> u64 {
    u64::try_from(read(libc::CLOCK_REALTIME).as_millis()).unwrap_or(u64::MAX)
}

/// The clock that files are stamped with (`CLOCK_REALTIME_COARSE`): a file changed after this reading never has an earlier `st_ctime`,
/// which the precise clock would not promise.
pub fn of_files() -> Duration {
    read(libc::CLOCK_REALTIME_COARSE)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut value = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `value` is a valid, writable timespec; all these clocks exist on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut value) };
    Duration::new(value.tv_sec.unsigned_abs(), value.tv_nsec.unsigned_abs() as u32)
}
