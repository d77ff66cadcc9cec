//! Programs that say what they were given: descriptors, signals, environment, privileges.

use crate::json::{Object, quote};

/// Open descriptors and what they are.
pub(crate) fn fds() {
    let mut open = Vec::new();
    // The folder itself would show up as one more, so probe numbers instead of listing.
    for fd in 0..4096 {
        // SAFETY: asks for flags of a number that may or may not be open
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0 {
            let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).map(|p| p.display().to_string());
            open.push(format!("{{\"fd\":{fd},\"target\":{}}}", quote(&target.unwrap_or_default())));
        }
    }
    Object::new().raw("fds", &format!("[{}]", open.join(","))).print();
}

fn status_lines(keys: &[&str]) -> Object {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut out = Object::new();
    for key in keys {
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        out = match value {
            Some(value) => out.text(key, value.trim()),
            None => out.raw(key, "null"),
        };
    }
    out
}

/// Signal masks; SIGPIPE is left out because our own runtime sets it.
pub(crate) fn signal_state() {
    status_lines(&["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"]).print();
}

/// The whole environment as an object.
pub(crate) fn environment() {
    let all = std::env::vars_os();
    let mut out = Object::new();
    for (key, value) in all {
        out = out.text(&key.to_string_lossy(), &value.to_string_lossy());
    }
    out.print();
}

/// Capabilities, filter, uid, session.
pub(crate) fn privileges() {
    // SAFETY: calls without arguments that cannot fail
    let (pid, sid, pgid) = unsafe { (libc::getpid(), libc::getsid(0), libc::getpgrp()) };
    status_lines(&[
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Uid",
        "Gid",
        "Groups",
    ])
    .value("pid", pid)
    .value("sid", sid)
    .value("pgid", pgid)
    .text("oom_score_adj", std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim())
    .text("cgroup", &std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
    .text("cwd", &std::env::current_dir().unwrap_or_default().display().to_string())
    .print();
}

/// Soft and hard resource limits.
pub(crate) fn rlimits() {
    let mut out = Object::new();
    for (name, which) in [
        ("nofile", libc::RLIMIT_NOFILE),
        ("fsize", libc::RLIMIT_FSIZE),
        ("core", libc::RLIMIT_CORE),
        ("cpu", libc::RLIMIT_CPU),
        ("as", libc::RLIMIT_AS),
        ("data", libc::RLIMIT_DATA),
        ("nproc", libc::RLIMIT_NPROC),
    ] {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills our own struct
        unsafe { libc::getrlimit(which, &raw mut limit) };
        out = out.raw(name, &format!("[{},{}]", limit.rlim_cur, limit.rlim_max));
    }
    out.print();
}
