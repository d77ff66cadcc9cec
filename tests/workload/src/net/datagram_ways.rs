//! Every way to send a datagram, or to be ready to.

use super::contact::Way;
use super::{abi, addr::Addr, socket, uring};

pub(crate) const WAYS: &[(&str, Way)] = &[
    ("udp-connect", |addr| datagram(0, addr, |fd| socket::connect(fd, addr))),
    ("udp-connect-send", |addr| {
        datagram(0, addr, |fd| match socket::connect(fd, addr) {
            0 => socket::send_to(fd, 0, None),
            errno => errno,
        })
    }),
    ("udp-sendto", |addr| datagram(0, addr, |fd| socket::send_to(fd, 0, Some(addr)))),
    ("udp-sendto-twice", |addr| {
        datagram(0, addr, |fd| match socket::send_to(fd, 0, Some(addr)) {
            0 => socket::send_to(fd, 0, Some(addr)),
            errno => errno,
        })
    }),
    ("udp-sendmsg", |addr| datagram(0, addr, |fd| socket::send_message(fd, 0, Some(addr)))),
    ("udp-sendmmsg", |addr| {
        datagram(0, addr, |fd| match socket::send_messages(fd, 0, &[*addr]) {
            1 => 0,
            error => -error as i32,
        })
    }),
    // Eight addresses in one call; -N is N that went out before the first refusal.
    ("udp-sendmmsg-eight", |addr| {
        let addrs: Vec<Addr> = (0..8).map(|index| addr.plus(index)).collect();
        datagram(0, addr, |fd| match socket::send_messages(fd, 0, &addrs) {
            8 => 0,
            sent => -sent as i32,
        })
    }),
    // Connected to an address that is free (the resolver), then told another one.
    ("udp-connected-elsewhere", |addr| {
        datagram(0, addr, |fd| match socket::connect(fd, &Addr::parse("203.0.113.53:53")) {
            0 => socket::send_to(fd, 0, Some(addr)),
            errno => errno,
        })
    }),
    ("udplite", |addr| datagram(136, addr, |fd| socket::send_to(fd, 0, Some(addr)))),
    ("ping", |addr| {
        let protocol = if addr.family() == libc::AF_INET { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
        datagram(protocol, addr, |fd| ping(fd, addr))
    }),
    ("i386-sendto", |addr| datagram(0, addr, |fd| abi::i386_sendto(fd, addr))),
    ("x32-sendto", |addr| datagram(0, addr, |fd| abi::x32_sendto(fd, addr))),
    ("uring-sendmsg", |addr| datagram(0, addr, |fd| uring::send_message(fd, addr))),
];

fn datagram(protocol: i32, addr: &Addr, send: impl Fn(i32) -> i32) -> i32 {
    match socket::open(addr.family(), libc::SOCK_DGRAM, protocol) {
        Ok(fd) => {
            let errno = send(fd);
            socket::close(fd);
            errno
        }
        Err(errno) => errno,
    }
}

/// An echo request on a ping socket.
fn ping(fd: i32, addr: &Addr) -> i32 {
    let kind = if addr.family() == libc::AF_INET { 8 } else { 128 };
    let request = [kind, 0, 0, 0, 0, 0, 0, 1];
    // SAFETY: both buffers live through the call
    let sent = unsafe { libc::sendto(fd, request.as_ptr().cast(), 8, 0, addr.pointer(), addr.length) };
    crate::json::errno_of(sent as i64)
}
