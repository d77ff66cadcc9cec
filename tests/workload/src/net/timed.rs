//! Sequences in which time passes: send timeouts, alarms, a descriptor closed under a connect. Durations are said in steps of 100 ms.

use super::addr::Addr;
use super::sequence::{Steps, tcp};
use super::socket;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

/// Whole tenths of a second, rounded.
fn tenths(since: Instant) -> i64 {
    (since.elapsed().as_millis() as i64 + 40) / 100
}

fn send_timeout(fd: i32, milliseconds: i64) {
    let time = libc::timeval { tv_sec: milliseconds / 1000, tv_usec: (milliseconds % 1000) * 1000 };
    let length = size_of::<libc::timeval>() as u32;
    // SAFETY: a timeval of our own
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, (&raw const time).cast(), length) };
}

pub(crate) fn timeout(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    send_timeout(fd, 300);
    let begun = Instant::now();
    steps.say("connect", socket::connect(fd, addr));
    steps.say("tenths", tenths(begun));
    steps.say("SO_ERROR", socket::get(fd, libc::SOL_SOCKET, libc::SO_ERROR));
    socket::close(fd);
}

/// A blocking call on an attempt under way waits again.
pub(crate) fn timeout_again(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    send_timeout(fd, 200);
    for step in ["connect", "again", "and again"] {
        let begun = Instant::now();
        steps.say(step, socket::connect(fd, addr));
        steps.say("tenths", tenths(begun));
    }
    socket::close(fd);
}

static ALARMS: AtomicI32 = AtomicI32::new(0);
const ALARMS_THAT_RESTART: i32 = 3;

extern "C" fn on_alarm(_: i32) {
    if ALARMS.fetch_add(1, Ordering::SeqCst) + 1 == ALARMS_THAT_RESTART {
        handle_alarms(0);
    }
}

/// Installs the handler with these flags; what is pending now is already a restart.
fn handle_alarms(flags: i32) {
    // SAFETY: the handler only uses an atomic and sigaction, which are safe in handlers
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
    }
}

fn alarms_every(milliseconds: i64) {
    let time = libc::timeval { tv_sec: 0, tv_usec: milliseconds * 1000 };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: a timer of our own
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

pub(crate) fn alarm(addr: &Addr, steps: &mut Steps) {
    handle_alarms(0);
    alarms_every(300);
    let fd = tcp(addr, 0);
    for step in ["connect", "again"] {
        let begun = Instant::now();
        steps.say(step, socket::connect(fd, addr));
        steps.say("tenths", tenths(begun));
    }
    alarms_every(0);
    socket::close(fd);
}

/// The third alarm switches restarting off, the fourth ends the call.
pub(crate) fn alarm_restart(addr: &Addr, steps: &mut Steps) {
    handle_alarms(libc::SA_RESTART);
    alarms_every(100);
    let fd = tcp(addr, 0);
    let begun = Instant::now();
    steps.say("connect", socket::connect(fd, addr));
    steps.say("tenths", tenths(begun));
    steps.say("alarms", ALARMS.load(Ordering::SeqCst));
    alarms_every(0);
    socket::close(fd);
}

/// Another thread closes the descriptor: the attempt goes on until its own timeout.
pub(crate) fn closed_under_way(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    send_timeout(fd, 300);
    let begun = Instant::now();
    let closer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        socket::close(fd);
    });
    steps.say("connect", socket::connect(fd, addr));
    steps.say("tenths", tenths(begun));
    let _ = closer.join();
}
