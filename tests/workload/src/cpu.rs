//! Programs that burn CPU time, openly or hidden from whoever counts by waiting.

use crate::json::Object;
use std::time::{Duration, Instant};

/// Burns one CPU until `until`, or for ever.
pub(crate) fn burn(until: Option<Instant>) {
    let mut x = 0u64;
    loop {
        for i in 0..200_000u64 {
            x = std::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(i));
        }
        if until.is_some_and(|end| Instant::now() >= end) {
            return;
        }
    }
}

/// `threads` spinning threads, for `ms` of wall time or for ever.
pub(crate) fn spin(threads: u64, ms: Option<u64>) {
    let until = ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let others: Vec<_> = (1..threads).map(|_| std::thread::spawn(move || burn(until))).collect();
    burn(until);
    for other in others {
        let _ = other.join();
    }
    Object::new().value("threads", threads).print();
}

/// `count` short children one after another, each burning `ms` of CPU time: no single process is ever near a limit.
pub(crate) fn fork_spin(count: u64, ms: u64) {
    for _ in 0..count {
        // SAFETY: single-threaded; the child only computes and exits
        match unsafe { libc::fork() } {
            0 => {
                burn_cpu_time(Duration::from_millis(ms));
                // SAFETY: ends the child without the parent's exit handlers
                unsafe { libc::_exit(0) }
            }
            pid => {
                // SAFETY: waits for the child just made
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            }
        }
    }
    Object::new().value("children", count).print();
}

/// A parent that ignores SIGCHLD, so that its children's CPU time never shows in RUSAGE_CHILDREN.
pub(crate) fn spin_autoreap(ms_per_child: u64) {
    // SAFETY: the documented way to have children reaped by the kernel
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    loop {
        // SAFETY: single-threaded; the child only computes and exits
        if unsafe { libc::fork() } == 0 {
            burn_cpu_time(Duration::from_millis(ms_per_child));
            // SAFETY: see above
            unsafe { libc::_exit(0) }
        }
        // SAFETY: with SIGCHLD ignored this blocks until no child is left, then says ECHILD
        unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    }
}

fn burn_cpu_time(amount: Duration) {
    while own_cpu_time() < amount {
        burn(Some(Instant::now()));
    }
}

fn own_cpu_time() -> Duration {
    // SAFETY: timespec is plain data that the call fills
    let mut t: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a valid clock and pointer
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
