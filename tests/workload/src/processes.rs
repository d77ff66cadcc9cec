//! Programs whose shape of processes is the problem: bombs, orphans, daemons, holders of pipes.

use crate::json::Object;
use std::time::{Duration, Instant};

fn fork() -> i32 {
    // SAFETY: every caller is single-threaded at this point
    unsafe { libc::fork() }
}

fn leave(code: i32) -> ! {
    // SAFETY: ends a forked child without running the parent's exit handlers
    unsafe { libc::_exit(code) }
}

/// Ends by a signal with its default disposition.
pub(crate) fn die_by_signal(signal: i32) {
    // SAFETY: plain signal calls on ourselves; SIGKILL and SIGSTOP refuse the first one, which is fine
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // The default action of some signals is to be ignored or to stop: then we are still here.
    std::process::exit(0)
}

/// Sleeps.
pub(crate) fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
    Object::new().value("slept_ms", ms).print();
}

extern "C" fn on_term(_: i32) {
    leave(TERM_CODE.load(std::sync::atomic::Ordering::Relaxed))
}

static TERM_CODE: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

/// Says when it is ready, then sleeps; on TERM it exits with `code`.
pub(crate) fn obey_term(code: i32) {
    TERM_CODE.store(code, std::sync::atomic::Ordering::Relaxed);
    let handler: extern "C" fn(i32) = on_term;
    // SAFETY: the handler only calls _exit
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
    Object::new().value("ready", true).print();
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Becomes another program that inherits ignored signals and a full mask.
pub(crate) fn spoil_signals(command: &[String]) {
    let words: Vec<_> = command.iter().filter_map(|word| std::ffi::CString::new(word.as_str()).ok()).collect();
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: plain signal calls, and an exec by hand, because std's own resets mask and SIGPIPE; the strings live on
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        for signal in [libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGTTOU] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::execvp(pointers[0], pointers.as_ptr());
    }
    std::process::exit(127)
}

/// Forks for ever; every child does the same.
pub(crate) fn fork_bomb() {
    loop {
        if fork() < 0 {
            std::thread::yield_now();
        }
    }
}

/// Starts `count` threads that sleep; says how many the system allowed.
pub(crate) fn threads(count: u64) {
    let mut started = 0u64;
    for _ in 0..count {
        let spawned =
            std::thread::Builder::new().stack_size(64 << 10).spawn(|| std::thread::sleep(Duration::from_millis(500)));
        if spawned.is_err() {
            break;
        }
        started += 1;
    }
    Object::new().value("started", started).value("asked", count).print();
}

/// `count` double-forked orphans at `rate` a second; each exits after 20 ms as somebody else's child.
pub(crate) fn orphans(count: u64, rate: u64) {
    let start = Instant::now();
    let mut failed = 0u64;
    for i in 0..count {
        let due = Duration::from_secs_f64(i as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        match fork() {
            0 => {
                if fork() == 0 {
                    std::thread::sleep(Duration::from_millis(20));
                    leave(0);
                }
                leave(0)
            }
            pid if pid > 0 => {
                // SAFETY: our own child
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            }
            _ => failed += 1,
        }
    }
    Object::new().value("orphans", count - failed).value("failed", failed).print();
}

/// Does everything a process can do to be forgotten, then sleeps; the first process waits for ever too.
pub(crate) fn daemonize(seconds: u64) {
    if fork() == 0 {
        // SAFETY: plain calls that change only this process
        unsafe {
            libc::setsid();
            for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
        if fork() != 0 {
            leave(0);
        }
        // SAFETY: as above; a fresh session of its own again, no descriptors, a harmless name
        unsafe {
            libc::setsid();
            libc::setpgid(0, 0);
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            libc::prctl(libc::PR_SET_NAME, c"kworker/0:0".as_ptr());
        }
        let _ = std::env::set_current_dir("/");
        std::thread::sleep(Duration::from_secs(seconds));
        leave(0)
    }
    // SAFETY: ignoring a signal
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    Object::new().value("daemonized", true).print();
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Leaves a sleeper behind that holds stdout and stderr, and exits with `code` at once.
pub(crate) fn hold_stdout(seconds: u64, code: i32) {
    if fork() == 0 {
        std::thread::sleep(Duration::from_secs(seconds));
        leave(0)
    }
    Object::new().value("left_behind", true).print();
    std::process::exit(code)
}
