//! System calls on sockets, each answering 0 or the errno.

use super::addr::Addr;
use crate::json::errno_of;
use libc::{c_int, c_long, c_void};

/// A socket, or why there is none.
pub(crate) fn open(family: c_int, kind: c_int, protocol: c_int) -> Result<c_int, i32> {
    // SAFETY: no pointers
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 { Err(errno_of(-1)) } else { Ok(fd) }
}

pub(crate) fn close(fd: c_int) {
    // SAFETY: descriptors of our own
    unsafe { libc::close(fd) };
}

/// The call itself, without the library around it.
pub(crate) fn connect(fd: c_int, addr: &Addr) -> i32 {
    connect_raw(fd, addr.pointer().cast(), addr.length)
}

pub(crate) fn connect_raw(fd: c_int, at: *const c_void, length: u32) -> i32 {
    // SAFETY: a wrong pointer is an errno, nothing is written
    errno_of(unsafe { libc::syscall(libc::SYS_connect, c_long::from(fd), at, c_long::from(length)) })
}

/// `sendto`; `None` as the address sends on the association.
pub(crate) fn send_to(fd: c_int, flags: c_int, addr: Option<&Addr>) -> i32 {
    let (at, length) = addr.map_or((std::ptr::null(), 0), |addr| (addr.pointer(), addr.length));
    // SAFETY: both buffers live through the call
    let sent = unsafe { libc::sendto(fd, b"x".as_ptr().cast(), 1, flags | libc::MSG_NOSIGNAL, at, length) };
    errno_of(sent as i64)
}

/// A message header with one byte of data; the address and the vector must outlive it.
pub(crate) fn message(addr: Option<&Addr>, data: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zero is a valid header
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    *data = libc::iovec { iov_base: b"x".as_ptr().cast_mut().cast(), iov_len: 1 };
    header.msg_iov = data;
    header.msg_iovlen = 1;
    if let Some(addr) = addr {
        header.msg_name = addr.pointer().cast_mut().cast();
        header.msg_namelen = addr.length;
    }
    header
}

pub(crate) fn send_message(fd: c_int, flags: c_int, addr: Option<&Addr>) -> i32 {
    let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let header = message(addr, &mut data);
    // SAFETY: header, address and data live through the call
    errno_of(unsafe { libc::syscall(libc::SYS_sendmsg, fd, &raw const header, flags | libc::MSG_NOSIGNAL) })
}

/// One `sendmmsg` to all of these; how many went out, or the errno as a negative number.
pub(crate) fn send_messages(fd: c_int, flags: c_int, addrs: &[Addr]) -> i64 {
    let mut data = vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; addrs.len()];
    let mut headers: Vec<libc::mmsghdr> = addrs
        .iter()
        .zip(&mut data)
        .map(|(addr, data)| libc::mmsghdr { msg_hdr: message(Some(addr), data), msg_len: 0 })
        .collect();
    let (at, count) = (headers.as_mut_ptr(), headers.len());
    // SAFETY: the vectors live through the call
    let sent = unsafe {
        libc::syscall(libc::SYS_sendmmsg, c_long::from(fd), at, count, c_long::from(flags | libc::MSG_NOSIGNAL))
    };
    if sent < 0 { -i64::from(errno_of(sent)) } else { sent }
}

pub(crate) fn set(fd: c_int, level: c_int, option: c_int, value: c_int) -> i32 {
    // SAFETY: an int of our own
    let done = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), 4) };
    errno_of(done.into())
}

/// `SO_ERROR` and the like.
pub(crate) fn get(fd: c_int, level: c_int, option: c_int) -> i32 {
    let (mut value, mut length): (c_int, libc::socklen_t) = (-1, 4);
    // SAFETY: an int of our own
    unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut length) };
    value
}

/// Waits until a connection under way is decided; 0 when nothing happened in time.
pub(crate) fn wait_writable(fd: c_int, milliseconds: i32) -> i32 {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one descriptor of our own
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) }
}

/// Sends a byte and waits for its echo: the connection is real.
pub(crate) fn echo(fd: c_int) -> i32 {
    let mut byte = [b'x'];
    // SAFETY: one byte of our own
    let done = unsafe {
        libc::send(fd, byte.as_ptr().cast(), 1, libc::MSG_NOSIGNAL) == 1
            && libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) == 1
    };
    if done { 0 } else { errno_of(-1).max(1) }
}

/// The peer's port as the kernel knows it; 0 when not connected.
pub(crate) fn peer_port(fd: c_int) -> u16 {
    let mut addr = [0u8; 28];
    let mut length: libc::socklen_t = 28;
    // SAFETY: room for both families
    let done = unsafe { libc::getpeername(fd, addr.as_mut_ptr().cast(), &raw mut length) };
    if done < 0 { 0 } else { u16::from_be_bytes([addr[2], addr[3]]) }
}
