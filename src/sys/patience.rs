//! Calls that must come back: a timer interrupts them.

use std::io;
use std::time::Duration;

/// A call that should not block and does comes back after this long, with `EINTR`.
const PATIENCE: Duration = Duration::from_millis(2);

extern "C" fn wake(_: libc::c_int) {}

/// Prepares the calling process, which must have one thread: SIGALRM interrupts and does nothing else.
pub fn prepare() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid: no flags (so calls are not restarted), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = wake as *const () as libc::sighandler_t;
    // SAFETY: a valid action whose handler does nothing, which is safe at any point; then a set that sigemptyset initialises.
    unsafe {
        let mut alarm: libc::sigset_t = std::mem::zeroed();
        if libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) != 0
            || libc::sigemptyset(&raw mut alarm) != 0
            || libc::sigaddset(&raw mut alarm, libc::SIGALRM) != 0
            || libc::sigprocmask(libc::SIG_UNBLOCK, &raw const alarm, std::ptr::null_mut()) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Runs `act`; a call in it that sleeps interruptibly fails with `EINTR` after 2 ms or little more. Needs [`prepare`].
///
/// For calls on files whose `O_NONBLOCK` belongs to somebody else as well, who may clear it at any moment. The timer repeats, so
/// that one which fires just before the call begins is not the last.
pub fn bounded<T>(act: impl FnOnce() -> T) -> T {
    set_timer(PATIENCE);
    let result = act();
    set_timer(Duration::ZERO);
    result
}

fn set_timer(every: Duration) {
    let every = libc::timeval { tv_sec: 0, tv_usec: i64::from(every.subsec_micros()) };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a valid timer value; the kernel only reads it.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}
