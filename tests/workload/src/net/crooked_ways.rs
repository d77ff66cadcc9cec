//! Ways that name one address and reach another: what is asked for looks free, where it goes is not.
//!
//! | way | what leads astray |
//! |---|---|
//! | `unspec-…` | an IPv4 datagram socket reads AF_UNSPEC as AF_INET (net/ipv4/udp.c) |
//! | `inet-on-inet6-…` | an IPv6 datagram socket takes IPv4 addresses as well |
//! | `source-route-…` | the address is 127.0.0.1, the first stop of an IP source route is the real one (RFC 791) |
//! | `segments-…` | the same with a segment routing header and `::1` (RFC 8754) |

use super::addr::Addr;
use super::contact::Way;
use super::socket;
use crate::json::errno_of;
use libc::{c_int, c_void};

pub(crate) const WAYS: &[(&str, Way)] = &[
    ("unspec-sendto", |addr| with_udp(libc::AF_INET, |fd| socket::send_to(fd, 0, Some(&unspecified(addr))))),
    ("unspec-sendmsg", |addr| with_udp(libc::AF_INET, |fd| socket::send_message(fd, 0, Some(&unspecified(addr))))),
    ("inet-on-inet6-sendto", |addr| with_udp(libc::AF_INET6, |fd| socket::send_to(fd, 0, Some(addr)))),
    ("inet-on-inet6-sendmsg", |addr| with_udp(libc::AF_INET6, |fd| socket::send_message(fd, 0, Some(addr)))),
    ("inet-on-inet6-connect", |addr| {
        with_udp(libc::AF_INET6, |fd| match socket::connect(fd, addr) {
            0 => socket::send_to(fd, 0, None),
            errno => errno,
        })
    }),
    ("source-route-sendto", |addr| {
        with_udp(libc::AF_INET, |fd| after(source_route_option(fd, addr), || socket::send_to(fd, 0, Some(&home(addr)))))
    }),
    ("source-route-message", |addr| {
        const IP_RETOPTS: c_int = 7;
        with_udp(libc::AF_INET, |fd| {
            send_with_control(fd, &home(addr), (libc::IPPROTO_IP, IP_RETOPTS), &source_route(addr))
        })
    }),
    ("source-route-tcp", |addr| {
        with(libc::AF_INET, libc::SOCK_STREAM, |fd| {
            after(source_route_option(fd, addr), || nonblocking_connect(fd, &home(addr)))
        })
    }),
    ("segments-sendto", |addr| {
        with_udp(libc::AF_INET6, |fd| after(segments_option(fd, addr), || socket::send_to(fd, 0, Some(&home(addr)))))
    }),
    ("segments-tcp", |addr| {
        with(libc::AF_INET6, libc::SOCK_STREAM, |fd| {
            after(segments_option(fd, addr), || nonblocking_connect(fd, &home(addr)))
        })
    }),
];

fn with(family: c_int, kind: c_int, act: impl Fn(c_int) -> i32) -> i32 {
    match socket::open(family, kind, 0) {
        Ok(fd) => {
            let errno = act(fd);
            socket::close(fd);
            errno
        }
        Err(errno) => errno,
    }
}

fn with_udp(family: c_int, act: impl Fn(c_int) -> i32) -> i32 {
    with(family, libc::SOCK_DGRAM, act)
}

fn after(errno: i32, act: impl FnOnce() -> i32) -> i32 {
    if errno == 0 { act() } else { errno }
}

/// Nobody answers a connection on a detour; that it was begun is what counts.
fn nonblocking_connect(fd: c_int, addr: &Addr) -> i32 {
    // SAFETY: no pointers
    unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
    match socket::connect(fd, addr) {
        libc::EINPROGRESS => 0,
        errno => errno,
    }
}

/// The same bytes under no family.
fn unspecified(addr: &Addr) -> Addr {
    addr.with_family(libc::AF_UNSPEC)
}

/// Loopback of the same family, on the same port.
fn home(addr: &Addr) -> Addr {
    let port = u16::from_be_bytes([addr.bytes()[2], addr.bytes()[3]]);
    let home = if addr.family() == libc::AF_INET { format!("127.0.0.1:{port}") } else { format!("[::1]:{port}") };
    Addr::parse(&home)
}

/// Loose source and record route, one stop, padded to whole words.
fn source_route(addr: &Addr) -> Vec<u8> {
    const LOOSE: u8 = 0x83;
    let mut option = vec![LOOSE, 7, 4];
    option.extend(&addr.bytes()[4..8]);
    option.push(0);
    option
}

/// A segment routing header: the last segment is the destination of the packet, the one before it comes first.
fn segments(addr: &Addr) -> Vec<u8> {
    const SEGMENT_ROUTING: u8 = 4;
    // next header, length in eight bytes beyond the first, type, segments left, last entry, flags, tag
    let mut header = vec![0, 4, SEGMENT_ROUTING, 1, 1, 0, 0, 0];
    header.extend(&home(addr).bytes()[8..24]);
    header.extend(&addr.bytes()[8..24]);
    header
}

fn source_route_option(fd: c_int, addr: &Addr) -> i32 {
    set(fd, libc::IPPROTO_IP, libc::IP_OPTIONS, &source_route(addr))
}

fn segments_option(fd: c_int, addr: &Addr) -> i32 {
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &segments(addr))
}

fn set(fd: c_int, level: c_int, name: c_int, value: &[u8]) -> i32 {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the value lives through the call
    errno_of(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) }.into())
}

fn send_with_control(fd: c_int, to: &Addr, (level, kind): (c_int, c_int), value: &[u8]) -> i32 {
    // Aligned as a control header must be, and large enough for any of ours.
    let mut control = [0u64; 16];
    let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut header = socket::message(Some(to), &mut data);
    header.msg_control = control.as_mut_ptr().cast::<c_void>();
    // SAFETY: the buffer has room: CMSG_SPACE(40) is 56
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(value.len() as u32) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = level;
        (*first).cmsg_type = kind;
        (*first).cmsg_len = libc::CMSG_LEN(value.len() as u32) as _;
        libc::CMSG_DATA(first).copy_from(value.as_ptr(), value.len());
        errno_of(libc::syscall(libc::SYS_sendmsg, fd, &raw const header, libc::MSG_NOSIGNAL))
    }
}
