//! Every way to open a TCP connection.

use super::contact::Way;
use super::{abi, addr::Addr, socket, uring};

pub(crate) const WAYS: &[(&str, Way)] = &[
    ("tcp", |addr| stream(0, addr, |fd| socket::connect(fd, addr))),
    ("tcp-nonblocking", nonblocking),
    ("tcp-by-mptcp", |addr| stream(262, addr, |fd| socket::connect(fd, addr))),
    ("tcp-after-unspec", after_unspecified),
    ("tfo-sendto", |addr| stream(0, addr, |fd| socket::send_to(fd, libc::MSG_FASTOPEN, Some(addr)))),
    ("tfo-sendmsg", |addr| stream(0, addr, |fd| socket::send_message(fd, libc::MSG_FASTOPEN, Some(addr)))),
    ("tfo-sendmmsg", |addr| {
        stream(0, addr, |fd| match socket::send_messages(fd, libc::MSG_FASTOPEN, &[*addr]) {
            1 => 0,
            error => -error as i32,
        })
    }),
    ("tfo-connect", fast_open_connect),
    ("i386-connect", |addr| stream(0, addr, |fd| abi::i386_connect(fd, addr))),
    ("i386-socketcall", |addr| stream(0, addr, |fd| abi::i386_socketcall(fd, addr))),
    ("x32-connect", |addr| stream(0, addr, |fd| abi::x32_connect(fd, addr))),
    ("uring-connect", |addr| stream(0, addr, |fd| uring::connect(fd, addr))),
];

/// Opens a socket, opens the connection, checks that it echoes where it claims to be open.
fn stream(protocol: i32, addr: &Addr, open: impl Fn(i32) -> i32) -> i32 {
    let fd = match socket::open(addr.family(), libc::SOCK_STREAM, protocol) {
        Ok(fd) => fd,
        Err(errno) => return errno,
    };
    let mut errno = open(fd);
    if errno == 0 && socket::peer_port(fd) != 0 && echoes(addr) {
        errno = socket::echo(fd);
    }
    socket::close(fd);
    errno
}

/// Only the echo port echoes.
fn echoes(addr: &Addr) -> bool {
    addr.bytes()[2..4] == [0, 7]
}

fn nonblocking(addr: &Addr) -> i32 {
    stream(0, addr, |fd| {
        // SAFETY: no pointers
        unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
        let errno = socket::connect(fd, addr);
        if errno == libc::EINPROGRESS {
            socket::wait_writable(fd, 10_000);
            // SAFETY: no pointers
            unsafe { libc::fcntl(fd, libc::F_SETFL, 0) };
            return socket::get(fd, libc::SOL_SOCKET, libc::SO_ERROR);
        }
        errno
    })
}

/// With a cookie at hand the connection is only opened by the first byte; without one at once.
fn fast_open_connect(addr: &Addr) -> i32 {
    const TCP_FASTOPEN_CONNECT: i32 = 30;
    stream(0, addr, |fd| {
        socket::set(fd, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
        match socket::connect(fd, addr) {
            0 => socket::send_to(fd, 0, None),
            errno => errno,
        }
    })
}

/// A socket that was connected to a free address first, and then let go of it.
fn after_unspecified(addr: &Addr) -> i32 {
    let Ok(listener) = std::net::TcpListener::bind("127.0.0.1:0") else { return -1 };
    let Ok(free) = listener.local_addr() else { return -1 };
    if addr.family() != libc::AF_INET {
        return -1;
    }
    stream(0, addr, |fd| {
        let first = socket::connect(fd, &Addr::new(free));
        let released = socket::connect(fd, &Addr::unspecified());
        if first != 0 || released != 0 { -1 } else { socket::connect(fd, addr) }
    })
}
