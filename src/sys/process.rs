//! Starting, hardening and waiting for processes.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::ForkResult;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Forks a process that has only one thread. The caller must not have started threads; the daemon forks its zygote before
/// the runtime exists and the zygote and supervisors never have any.
pub fn fork_single_threaded() -> io::Result<ForkResult> {
    debug_assert_eq!(thread_count(), Some(1), "fork with threads would copy locks in unknown states");
    // SAFETY: with one thread no lock can be held by somebody else, so the child may run any code.
    Ok(unsafe { nix::unistd::fork()? })
}

fn thread_count() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// Ends the process at once, without destructors or exit handlers: those belong to the process that was forked.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Forks a process that shares the descriptor table of ours (`CLONE_FILES`, clone(2)): what one opens or closes, the other has or has not.
/// Its end raises no signal; [`wait_for`] it. Conditions as for [`fork_single_threaded`].
pub fn fork_sharing_descriptors() -> io::Result<ForkResult> {
    debug_assert_eq!(thread_count(), Some(1), "fork with threads would copy locks in unknown states");
    // SAFETY: without CLONE_VM and a new stack this is fork(2); with one thread the child may run any code. No signal number in the flags.
    match unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_FILES, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(ForkResult::Child),
        pid => Ok(ForkResult::Parent { child: nix::unistd::Pid::from_raw(pid as i32) }),
    }
}

/// Waits for one child, whether its end raises a signal or not.
pub fn wait_for(pid: i32) -> io::Result<Exit> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid {
            let code = libc::WIFEXITED(status).then(|| Exit::Code(libc::WEXITSTATUS(status)));
            return Ok(code.unwrap_or(Exit::Signal(libc::WTERMSIG(status))));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Duplicates `fd` onto the number `target`, without close-on-exec: for the standard streams before an exec.
pub fn dup_onto(fd: &OwnedFd, target: i32) -> io::Result<()> {
    // SAFETY: dup2 takes two integers; whatever `target` was is replaced, which only concerns 0, 1 and 2 here.
    if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor from `first` on, except `keep`.
///
/// Uses close_range(2) (Linux 5.9) and falls back to `/proc/self/fd` where a seccomp profile refuses it.
pub fn close_from(first: u32, keep: &[i32]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut start = first;
    let mut refused = false;
    for fd in keep.iter().copied().chain([u32::MAX]) {
        let end = if fd == u32::MAX { fd } else { fd.saturating_sub(1) };
        if start <= end && fd != start {
            // SAFETY: the caller gives up all descriptors outside `keep`; nothing uses them afterwards.
            refused |= unsafe { libc::syscall(libc::SYS_close_range, start, end, 0) } != 0;
        }
        start = fd.saturating_add(1);
    }
    if refused {
        close_listed(first, &keep);
    }
}

fn close_listed(first: u32, keep: &[u32]) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<u32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd >= first && !keep.contains(fd)) {
        // SAFETY: as above; the directory's own descriptor is already closed and EBADF is harmless.
        unsafe { libc::close(fd as i32) };
    }
}

/// `struct sigaction` as the kernel has it on x86-64 and arm64: handler, flags, restorer, mask.
#[repr(C)]
struct KernelAction([u64; 4]);

/// Default disposition for every signal: what a program expects to start with. The mask is left alone.
///
/// By raw system calls, because libc refuses the numbers that it keeps for itself (32 to 34), and a parent may have had those ignored.
pub fn default_dispositions() {
    (1..=64).for_each(default_disposition);
}

/// Default disposition for one signal; flags such as `SA_NOCLDWAIT` go with the old action.
pub fn default_disposition(number: i32) {
    let action = KernelAction([0; 4]);
    // SAFETY: SIG_DFL (0) installs no handler; the size is that of the kernel's 64-bit signal set. SIGKILL and SIGSTOP answer EINVAL,
    // which is fine.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, &raw const action, std::ptr::null::<KernelAction>(), 8) };
}

/// Unblocks every signal and leaves dispositions alone.
pub fn restore_signals() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Replaces the process image. Returns only on failure.
pub fn exec(path: &CStr, argv: &[&CStr], env: &[&CStr]) -> io::Error {
    nix::unistd::execve(path, argv, env).err().map_or_else(|| io::Error::other("execve returned"), io::Error::from)
}

/// Sets a resource limit of the calling process, soft and hard alike; never above the present hard limit.
pub fn lower_rlimit(resource: u32, value: u64) -> io::Result<()> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is valid and writable.
    if unsafe { libc::getrlimit(resource as _, &raw mut old) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let value = value.min(old.rlim_max);
    let new = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `new` is valid; the kernel only reads it.
    if unsafe { libc::setrlimit(resource as _, &raw const new) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The present soft and hard limit.
pub fn rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is valid and writable.
    if unsafe { libc::getrlimit(resource as _, &raw mut old) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((old.rlim_cur, old.rlim_max))
}

/// Sets soft limit and keeps the hard one.
pub fn set_soft_rlimit(resource: u32, soft: u64) -> io::Result<()> {
    let (_, hard) = rlimit(resource)?;
    let new = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: `new` is valid; the kernel only reads it.
    if unsafe { libc::setrlimit(resource as _, &raw const new) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// by exit(2), with this code
    Code(i32),
    /// by this signal
    Signal(i32),
}

/// Reaps one ended child without blocking. `Ok(None)`: children live on; `ECHILD`: there are none.
pub fn reap() -> io::Result<Option<(i32, Exit)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable; __WALL also reaps clone children that signal nothing.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        match pid {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            pid if libc::WIFEXITED(status) => return Ok(Some((pid, Exit::Code(libc::WEXITSTATUS(status))))),
            pid if libc::WIFSIGNALED(status) => return Ok(Some((pid, Exit::Signal(libc::WTERMSIG(status))))),
            _ => {}
        }
    }
}

/// Whether `pid` is a child of ours that has not been waited for.
pub fn is_child(pid: i32) -> bool {
    // SAFETY: waitid with WNOWAIT only looks; a null siginfo is allowed on Linux.
    let result = unsafe {
        libc::waitid(libc::P_PID, pid as u32, std::ptr::null_mut(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
    };
    result == 0
}

/// CPU time of reaped children and their reaped descendants (getrusage(2), `RUSAGE_CHILDREN`): user and system µs.
pub fn reaped_cpu_us() -> (u64, u64) {
    // SAFETY: an all-zero rusage is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable; RUSAGE_CHILDREN is always valid.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let us = |t: libc::timeval| t.tv_sec.unsigned_abs() * 1_000_000 + t.tv_usec.unsigned_abs();
    (us(usage.ru_utime), us(usage.ru_stime))
}

/// Sends a signal; `ESRCH` (already gone) is not an error.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    if unsafe { libc::kill(pid, signal) } != 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ESRCH) {
            return Err(error);
        }
    }
    Ok(())
}

/// Names the calling process for `ps` (prctl `PR_SET_NAME`, 15 bytes).
pub fn set_name(name: &CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// Blocks every signal and returns a signalfd for `signals`; handlers never run, so no code is async-signal anything.
pub fn block_all_and_watch(signals: &[Signal]) -> io::Result<OwnedFd> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    let mut watched = SigSet::empty();
    for signal in signals {
        watched.add(*signal);
    }
    let flags = nix::sys::signalfd::SfdFlags::SFD_CLOEXEC | nix::sys::signalfd::SfdFlags::SFD_NONBLOCK;
    let fd = nix::sys::signalfd::SignalFd::with_flags(&watched, flags)?;
    Ok(OwnedFd::from(fd))
}
