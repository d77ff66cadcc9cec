//! Socket calls on bytes as they are: the gate repeats calls of programs, addresses that make no sense included.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// TCP states (linux/tcp_states.h) as far as they matter.
pub const TCP_ESTABLISHED: u8 = 1;
/// The attempt is under way.
pub const TCP_SYN_SENT: u8 = 2;
/// Both sides connect at once.
pub const TCP_SYN_RECV: u8 = 3;
/// Waits for others to connect.
pub const TCP_LISTEN: u8 = 10;
/// Never connected, or not any more.
pub const TCP_CLOSE: u8 = 7;

/// socket(2).
pub fn create(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers in, a new descriptor or an error out.
    let fd = unsafe { libc::socket(domain, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// connect(2) with an address as it stands in memory.
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length name one readable buffer.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// bind(2) with an address as it stands in memory.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length name one readable buffer.
    let result = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Own address, as getsockname(2) writes it.
pub fn own_address(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = [0u8; 128];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: pointer and length name one writable buffer.
    if unsafe { libc::getsockname(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), &raw mut length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes[..(length as usize).min(bytes.len())].to_vec())
}

/// Accepts a connection without waiting; the peer's address as the kernel writes it.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Vec<u8>)> {
    let mut bytes = [0u8; 128];
    let mut length = bytes.len() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: pointer and length name one writable buffer.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), bytes.as_mut_ptr().cast(), &raw mut length, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, bytes[..(length as usize).min(bytes.len())].to_vec()))
}

/// sendmsg(2) of one buffer. Never raises SIGPIPE.
pub fn send(
    socket: BorrowedFd<'_>,
    name: Option<&[u8]>,
    data: &[u8],
    control: &mut [u8],
    flags: i32,
) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: an all-zero msghdr is valid: no name, no data, no control.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if let Some(name) = name {
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len() as u32;
    }
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !control.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len() as _;
    }
    // SAFETY: every pointer in `message` names a buffer that outlives the call; the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn option<T: Default>(socket: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable for `length` bytes, and every `T` used below is valid for any bits.
    if unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// `SO_DOMAIN`. `ENOTSOCK` for anything that is no socket.
pub fn domain(socket: BorrowedFd<'_>) -> io::Result<i32> {
    option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)
}

/// `SO_PROTOCOL`.
pub fn protocol(socket: BorrowedFd<'_>) -> io::Result<i32> {
    option(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)
}

/// `SO_TYPE`.
pub fn kind(socket: BorrowedFd<'_>) -> io::Result<i32> {
    option(socket, libc::SOL_SOCKET, libc::SO_TYPE)
}

/// `SO_COOKIE`: unique among all sockets that ever were.
pub fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    option(socket, libc::SOL_SOCKET, libc::SO_COOKIE)
}

/// `SO_ERROR`, which it clears.
pub fn take_error(socket: BorrowedFd<'_>) -> i32 {
    option(socket, libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(libc::EIO)
}

/// `SO_SNDTIMEO`, which bounds a blocking connect as well; `None` is forever.
pub fn send_timeout(socket: BorrowedFd<'_>) -> Option<Duration> {
    let [seconds, micros]: [i64; 2] = option(socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO).ok()?;
    let whole = Duration::from_secs(u64::try_from(seconds).ok()?);
    Some(whole + Duration::from_micros(u64::try_from(micros).ok()?)).filter(|timeout| !timeout.is_zero())
}

/// State of a TCP socket: the first byte of `TCP_INFO`.
pub fn tcp_state(socket: BorrowedFd<'_>) -> io::Result<u8> {
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// `O_NONBLOCK` of the open file.
pub fn is_nonblocking(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GETFL takes no argument.
    unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// Sets or clears `O_NONBLOCK` of the open file, whoever shares it.
pub fn set_nonblocking(socket: BorrowedFd<'_>, nonblocking: bool) {
    let wanted = libc::c_int::from(nonblocking);
    // SAFETY: FIONBIO reads one int.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONBIO as _, &raw const wanted) };
}

/// Name of the protocol of a socket that is reachable only as a path, such as `TCP`, `UDPv6` or `UNIX-STREAM`: an extended attribute
/// of every socket file (net/socket.c, `system.sockprotoname`).
pub fn protocol_name(path: &std::ffi::CStr) -> io::Result<Vec<u8>> {
    let mut name = [0u8; 64];
    // SAFETY: both strings end with NUL; pointer and length name one writable buffer.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"system.sockprotoname".as_ptr(), name.as_mut_ptr().cast(), name.len())
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let text = &name[..length.min(name.len())];
    Ok(text.split(|byte| *byte == 0).next().unwrap_or(text).to_vec())
}
