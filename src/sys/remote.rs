//! Memory and descriptors of another process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `PIDFD_THREAD` (linux/pidfd.h, Linux 6.9).
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

/// A pidfd of a thread, or of the thread group that it leads.
///
/// # Errors
/// `EINVAL` or `ENOENT` for a thread that leads no group on kernels before 6.9.
pub fn open_thread(tid: i32) -> io::Result<OwnedFd> {
    let open = |flags: libc::c_uint| {
        // SAFETY: two integers in, a new descriptor or an error out.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    };
    open(0).or_else(|_| open(PIDFD_THREAD))
}

/// Duplicates a descriptor of another process (pidfd_getfd(2)), close-on-exec.
///
/// # Errors
/// `EBADF` when it has none of that number; `EPERM` when we may not trace it.
pub fn take_fd(process: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: three integers in, a new descriptor or an error out.
    let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    if taken < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
}

/// Reads from another process's memory (process_vm_readv(2)); the count may be short where a page is missing.
pub fn read_memory(tid: i32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: `local` is a writable buffer of ours; `remote` is only an address in the other process.
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Most parts of one read (`UIO_MAXIOV`).
const MAX_PARTS: usize = 1024;

/// Reads several parts of another process's memory one after the other, at most 1024 of them; the count may be short where a page is missing.
pub fn read_parts(tid: i32, parts: &[(u64, usize)], into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote: Vec<libc::iovec> = parts
        .iter()
        .take(MAX_PARTS)
        .map(|(address, length)| libc::iovec { iov_base: *address as *mut libc::c_void, iov_len: *length })
        .collect();
    // SAFETY: `local` is a writable buffer of ours, and the kernel fills no more than it holds; `remote` names addresses in the other process.
    let read =
        unsafe { libc::process_vm_readv(tid, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes to another process's memory (process_vm_writev(2)).
pub fn write_memory(tid: i32, address: u64, from: &[u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: from.len() };
    // SAFETY: the kernel only reads `local`; `remote` is only an address in the other process.
    let written = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Sends a signal to one thread.
pub fn signal_thread(tid: i32, signal: i32) {
    // SAFETY: two integers; a thread that is gone is no error worth telling.
    unsafe { libc::syscall(libc::SYS_tkill, tid, signal) };
}

/// Takes on the effective and file-system identity of somebody with fewer rights; the real and saved one stay (credentials(7)).
///
/// Raw calls, because only this thread exists. Dumpability is cleared again: a change of identity resets it to `fs.suid_dumpable`.
pub fn assume_identity(uid: u32, gid: u32) -> io::Result<()> {
    // The group first: without the user the right to change it is gone.
    set_effective(libc::SYS_setresgid, gid).and_then(|()| set_effective(libc::SYS_setresuid, uid))
}

/// The way back from [`assume_identity`].
pub fn resume_identity(uid: u32, gid: u32) -> io::Result<()> {
    set_effective(libc::SYS_setresuid, uid).and_then(|()| set_effective(libc::SYS_setresgid, gid))
}

fn set_effective(call: libc::c_long, id: u32) -> io::Result<()> {
    const UNCHANGED: libc::c_int = -1;
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(call, UNCHANGED, id, UNCHANGED) };
    let error = io::Error::last_os_error();
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(error) }
}

/// File-system identity only, which is what /proc asks for (`PTRACE_MODE_FSCREDS`); nobody gains the right to signal us by it.
pub fn assume_file_identity(uid: u32, gid: u32) {
    // SAFETY: integers only; these calls report nothing, and without the right to change they change nothing.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}
