//! Sockets made by one process and used by another: `net give PATH ADDRESS:PORT` and `net take PATH ADDRESS:PORT COUNT`.
//!
//! The giver listens on the Unix socket PATH and sends, once per connection there, a fresh TCP and a fresh UDP socket of the address's
//! family; the taker reaches out on each of them.

use super::addr::Addr;
use super::{contact, socket};
use crate::json::Object;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

pub(crate) fn give(args: &crate::Args) {
    let addr = Addr::parse(args.text(1));
    let listener = UnixListener::bind(args.text(0)).unwrap_or_else(|error| crate::fail(&error.to_string()));
    println!("{{\"ready\":true}}");
    for client in listener.incoming().flatten() {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let fd = socket::open(addr.family(), kind, 0).unwrap_or(-1);
            send(&client, fd);
            socket::close(fd);
        }
    }
}

pub(crate) fn take(args: &crate::Args) {
    let (addr, count) = (Addr::parse(args.text(1)), args.number(2) as usize);
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let giver = UnixStream::connect(args.text(0)).unwrap_or_else(|error| crate::fail(&error.to_string()));
        tcp.push(receive(&giver));
        udp.push(receive(&giver));
    }
    let connect = |(_, fd): (usize, &RawFd)| socket::connect(*fd, &addr);
    // Datagrams go to addresses of their own, so that nothing is paid yet.
    let send = |(index, fd): (usize, &RawFd)| socket::send_to(*fd, 0, Some(&addr.plus(index + 1)));
    let tcp: Vec<i32> = tcp.iter().enumerate().map(connect).collect();
    let udp: Vec<i32> = udp.iter().enumerate().map(send).collect();
    Object::new().raw("tcp", &contact::tally(&tcp)).raw("udp", &contact::tally(&udp)).print();
}

/// Room for one descriptor, aligned as a control header must be.
type Control = [u64; 3];

fn send(to: &UnixStream, fd: RawFd) {
    let mut control: Control = [0; 3];
    let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut header = socket::message(None, &mut data);
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the buffer has room for one descriptor: CMSG_SPACE(4) is 24
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(4) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(first).cast::<i32>().write(fd);
        libc::sendmsg(to.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL);
    }
}

fn receive(from: &UnixStream) -> RawFd {
    let mut control: Control = [0; 3];
    let mut byte = [0u8];
    let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut header = socket::message(None, &mut data);
    data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    header.msg_iov = &raw mut data;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: as above; without a descriptor the answer is -1 and the next call says EBADF
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(4) as _;
        libc::recvmsg(from.as_raw_fd(), &raw mut header, 0);
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if first.is_null() { -1 } else { libc::CMSG_DATA(first).cast::<i32>().read() }
    }
}
