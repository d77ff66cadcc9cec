//! seccomp(2) filters with user notification (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One classic BPF instruction, as `struct sock_filter`.
pub type Instruction = libc::sock_filter;

/// A notified system call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// cookie for the answer
    pub id: u64,
    /// thread that calls, as we see it
    pub tid: i32,
    /// system call number
    pub nr: i32,
    /// register arguments: fixed once read, unlike memory that they may point to
    pub args: [u64; 6],
}

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// let the kernel run the call (only for decisions on registers)
    Continue,
    /// fail with this errno
    Errno(i32),
    /// succeed with this result, without the kernel running the call
    Value(i64),
    /// as if a signal had come while the kernel slept in the call: the handler's `SA_RESTART` decides what the program sees.
    /// Only while such a signal is pending.
    Interrupted,
}

/// What the kernel's own calls return when a signal came (linux/errno.h); never seen by programs.
const ERESTARTSYS: i32 = 512;

const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
const SYNC_WAKE_UP: u64 = 1;
// _IOW('!', 4, __u64), linux/seccomp.h since 6.6; libc 0.2 has no name for it.
const IOCTL_NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
const IOCTL_NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const IOCTL_NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const IOCTL_NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
const IOCTL_NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;

/// Installs the filter on the calling thread; with `listener`, calls that it notifies arrive on the returned descriptor.
///
/// Needs no_new_privs or `CAP_SYS_ADMIN`. Prefers `WAIT_KILLABLE_RECV` (Linux 5.19), without which a signal that arrives
/// during a decision restarts the call and it would be counted twice.
pub fn install(program: &[Instruction], listener: bool) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::other("filter has too many instructions"))?;
    let prog = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let set = |flags: libc::c_ulong| {
        // SAFETY: `prog` points to `length` valid instructions; the kernel copies them.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const prog) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    };
    if !listener {
        set(0)?;
        return Ok(None);
    }
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = set(flags | WAIT_KILLABLE_RECV).or_else(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => set(flags),
        _ => Err(error),
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Asks for synchronous wake-ups on a listener (Linux 6.6); older kernels refuse, which only costs time.
pub fn prefer_sync_wake_up(listener: BorrowedFd<'_>) {
    // SAFETY: this ioctl takes an integer by value.
    unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_NOTIF_SET_FLAGS as _, SYNC_WAKE_UP) };
}

/// Receives one notified call. `Ok(None)`: the caller died or was interrupted meanwhile, nothing to answer.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: an all-zero seccomp_notif is what the kernel demands as input.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `notif` is writable and has the size that the request number encodes (80 bytes).
    if unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_NOTIF_RECV as _, &raw mut notif) } != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    Ok(Some(Call { id: notif.id, tid: notif.pid as i32, nr: notif.data.nr, args: notif.data.args }))
}

/// Answers a call. A caller that is gone meanwhile (`ENOENT`) is not an error.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    let (error, val, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Errno(errno) => (-errno, 0, 0),
        Answer::Value(value) => (0, value, 0),
        Answer::Interrupted => (-ERESTARTSYS, 0, 0),
    };
    let mut response = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: `response` is valid and has the size that the request number encodes (24 bytes).
    if unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_NOTIF_SEND as _, &raw mut response) } != 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether the caller still waits for its answer: what was read of its process since [`receive`] was really its own.
pub fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    let mut id = id;
    // SAFETY: this ioctl reads one u64.
    unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_NOTIF_ID_VALID as _, &raw mut id) == 0 }
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

/// Gives the caller a duplicate of `fd`, which becomes the result of its call where the kernel can do both at once (Linux 5.14).
///
/// # Errors
/// `EMFILE` when the caller has no number left.
pub fn hand_over(listener: BorrowedFd<'_>, id: u64, fd: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<()> {
    const FLAG_SEND: u32 = 2;
    let target_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
    let add = |flags: u32| {
        let mut request = AddFd { id, flags, source: fd.as_raw_fd() as u32, target: 0, target_flags };
        // SAFETY: `request` is valid and has the size that the request number encodes (24 bytes).
        let number = unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_NOTIF_ADDFD as _, &raw mut request) };
        if number < 0 { Err(io::Error::last_os_error()) } else { Ok(number) }
    };
    match add(FLAG_SEND) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            answer(listener, id, Answer::Value(i64::from(add(0)?)))
        }
        result => result.map(drop),
    }
}

/// Whether this kernel (and the profile that we run under) offers user notification.
pub fn notification_available() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}
