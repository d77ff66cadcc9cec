//! CPU clocks of other processes.

use std::io;
use std::time::Duration;

/// CPU time (user + system, all threads) of a living process, with nanosecond resolution.
///
/// Errors: `EINVAL`/`ESRCH` when the process is gone. See clock_getcpuclockid(3): the clock id of process `pid` is
/// `(!pid << 3) | CPUCLOCK_SCHED`; needs no privilege beyond seeing the process.
pub fn process_cpu(pid: i32) -> io::Result<Duration> {
    const CPUCLOCK_SCHED: libc::clockid_t = 2;
    let clock = (!pid << 3) | CPUCLOCK_SCHED;
    let mut value = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `value` is a valid, writable timespec for the duration of the call; any clock id is allowed.
    if unsafe { libc::clock_gettime(clock, &raw mut value) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(value.tv_sec.unsigned_abs(), value.tv_nsec.unsigned_abs() as u32))
}
