//! The list of attacks: everything by which a process reaches another one without a file.

use crate::json::errno_of;
use libc::{c_long, c_void, pid_t, syscall};

/// Name and action; the action returns 0 when it reached its target, else the errno.
pub(crate) type Attack = (&'static str, fn(pid_t) -> i32);

/// Harmless probes first, deadly ones last: `all` learns the most before the target is gone.
pub(crate) const ATTACKS: &[Attack] = &[
    ("ptrace_seize", |pid| {
        // SAFETY: detaches at once if it worked
        unsafe {
            let result = libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0);
            let errno = errno_of(result);
            libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
            errno
        }
    }),
    ("process_vm_readv", |pid| vm(libc::SYS_process_vm_readv, pid)),
    ("process_vm_writev", |pid| vm(libc::SYS_process_vm_writev, pid)),
    ("pidfd_getfd", |pid| {
        let fd = raw(libc::SYS_pidfd_open, [pid.into(), 0, 0, 0]);
        if fd < 0 { errno_of(fd) } else { call(libc::SYS_pidfd_getfd, [fd, 0, 0, 0]) }
    }),
    ("prlimit_read", |pid| {
        let mut old = [0u64; 2];
        call(libc::SYS_prlimit64, [pid.into(), libc::RLIMIT_CPU.into(), 0, (&raw mut old) as c_long])
    }),
    ("sched_setscheduler_idle", |pid| {
        let priority = 0i32;
        call(libc::SYS_sched_setscheduler, [pid.into(), libc::SCHED_IDLE.into(), (&raw const priority) as c_long, 0])
    }),
    ("sched_setattr_idle", |pid| {
        let attributes: [u32; 12] = [48, libc::SCHED_IDLE as u32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        call(libc::SYS_sched_setattr, [pid.into(), (&raw const attributes) as c_long, 0, 0])
    }),
    ("sched_setaffinity", |pid| {
        let mask = 1u64;
        call(libc::SYS_sched_setaffinity, [pid.into(), 8, (&raw const mask) as c_long, 0])
    }),
    ("setpriority", |pid| call(libc::SYS_setpriority, [libc::PRIO_PROCESS.into(), pid.into(), 19, 0])),
    ("setpriority_user", |_| {
        if std::env::var_os("WORKLOAD_MAY_KILL_ALL").is_none() {
            return libc::ENOSYS;
        }
        // SAFETY: no arguments
        let uid = unsafe { libc::getuid() };
        call(libc::SYS_setpriority, [libc::PRIO_USER.into(), uid.into(), 19, 0])
    }),
    ("ioprio_set", |pid| call(libc::SYS_ioprio_set, [1, pid.into(), 3 << 13, 0])),
    ("migrate_pages", |pid| {
        let nodes = 1u64;
        call(libc::SYS_migrate_pages, [pid.into(), 64, (&raw const nodes) as c_long, (&raw const nodes) as c_long])
    }),
    ("f_setown", |pid| with_pipe(|fd| call(libc::SYS_fcntl, [fd.into(), libc::F_SETOWN.into(), pid.into(), 0]))),
    ("f_setown_ex", |pid| {
        let owner = [1i32, pid];
        with_pipe(|fd| call(libc::SYS_fcntl, [fd.into(), 15, (&raw const owner) as c_long, 0]))
    }),
    ("fiosetown", |pid| with_socket(|fd| call(libc::SYS_ioctl, [fd.into(), 0x8901, (&raw const pid) as c_long, 0]))),
    ("siocspgrp", |pid| with_socket(|fd| call(libc::SYS_ioctl, [fd.into(), 0x8902, (&raw const pid) as c_long, 0]))),
    ("kill_0", |pid| call(libc::SYS_kill, [pid.into(), 0, 0, 0])),
    ("prlimit_nofile", |pid| limit(pid, libc::RLIMIT_NOFILE as c_long, 3)),
    ("setown_setsig_io", |pid| with_pipe(|fd| arm_signal_io(fd, pid))),
    ("sigstop", |pid| call(libc::SYS_kill, [pid.into(), libc::SIGSTOP.into(), 0, 0])),
    ("tkill_stop", |pid| call(libc::SYS_tkill, [pid.into(), libc::SIGSTOP.into(), 0, 0])),
    ("tgkill_stop", |pid| call(libc::SYS_tgkill, [pid.into(), pid.into(), libc::SIGSTOP.into(), 0])),
    ("rt_sigqueueinfo", |pid| queue(libc::SYS_rt_sigqueueinfo, [pid.into(), libc::SIGSTOP.into()])),
    ("pidfd_stop", |pid| {
        let fd = raw(libc::SYS_pidfd_open, [pid.into(), 0, 0, 0]);
        if fd < 0 { errno_of(fd) } else { call(libc::SYS_pidfd_send_signal, [fd, libc::SIGSTOP.into(), 0, 0]) }
    }),
    ("prlimit_cpu", |pid| limit(pid, libc::RLIMIT_CPU as c_long, 1)),
    ("kill_group", |pid| call(libc::SYS_kill, [-c_long::from(pid), libc::SIGKILL.into(), 0, 0])),
    ("sigkill", |pid| call(libc::SYS_kill, [pid.into(), libc::SIGKILL.into(), 0, 0])),
    ("kill_all", |_| call(libc::SYS_kill, [-1, libc::SIGKILL.into(), 0, 0])),
];

fn raw(number: c_long, a: [c_long; 4]) -> c_long {
    // SAFETY: the callers pass what each call expects; pointers are to live locals
    unsafe { syscall(number, a[0], a[1], a[2], a[3], 0, 0) }
}

fn call(number: c_long, a: [c_long; 4]) -> i32 {
    errno_of(raw(number, a))
}

fn vm(number: c_long, pid: pid_t) -> i32 {
    let mut byte = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast::<c_void>(), iov_len: 1 };
    // A static, position-dependent daemon has its first page of code here; only whether we are let in matters.
    let remote = libc::iovec { iov_base: 0x0040_0000 as *mut c_void, iov_len: 1 };
    // SAFETY: both vectors live through the call
    let result = unsafe {
        syscall(number, pid as c_long, &raw const local, 1 as c_long, &raw const remote, 1 as c_long, 0 as c_long)
    };
    match errno_of(result) {
        // Past the permission check, only the address was wrong.
        libc::EFAULT => 0,
        errno => errno,
    }
}

fn limit(pid: pid_t, which: c_long, value: u64) -> i32 {
    let new = [value, value];
    call(libc::SYS_prlimit64, [pid.into(), which, (&raw const new) as c_long, 0])
}

fn queue(number: c_long, a: [c_long; 2]) -> i32 {
    let mut info = [0u8; 128];
    info[..4].copy_from_slice(&(a[1] as i32).to_ne_bytes());
    info[8..12].copy_from_slice(&(-1i32).to_ne_bytes()); // SI_QUEUE, the only code that user space may send to others
    call(number, [a[0], a[1], (&raw const info) as c_long, 0])
}

/// Makes the kernel send SIGSTOP on our behalf when data arrives.
fn arm_signal_io(fd: i32, pid: pid_t) -> i32 {
    let owner = call(libc::SYS_fcntl, [fd.into(), libc::F_SETOWN.into(), pid.into(), 0]);
    if owner != 0 {
        return owner;
    }
    const F_SETSIG: c_long = 10;
    let signal = call(libc::SYS_fcntl, [fd.into(), F_SETSIG, libc::SIGSTOP.into(), 0]);
    let armed = call(libc::SYS_fcntl, [fd.into(), libc::F_SETFL.into(), libc::O_ASYNC.into(), 0]);
    if signal != 0 { signal } else { armed }
}

fn with_pipe(action: impl Fn(i32) -> i32) -> i32 {
    let mut ends = [0i32; 2];
    // SAFETY: fills two descriptors that we close below
    unsafe { libc::pipe(ends.as_mut_ptr()) };
    let errno = action(ends[0]);
    // SAFETY: our own pipe; the write triggers signal-driven I/O if it was armed
    unsafe {
        libc::write(ends[1], b"x".as_ptr().cast(), 1);
        libc::close(ends[0]);
        libc::close(ends[1]);
    }
    errno
}

fn with_socket(action: impl Fn(i32) -> i32) -> i32 {
    // SAFETY: an unconnected local socket that we close below
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) };
    let errno = if fd < 0 { errno_of(-1) } else { action(fd) };
    // SAFETY: our own descriptor
    unsafe { libc::close(fd) };
    errno
}
