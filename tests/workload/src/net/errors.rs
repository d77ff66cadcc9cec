//! `net errors ADDRESS:PORT`: arguments that are wrong, and what the kernel says to each.

use super::addr::Addr;
use super::socket;
use crate::json::errno_of;
use libc::{c_long, c_void};

const NOWHERE: *const c_void = 8 as *const c_void;

pub(crate) fn run(args: &crate::Args) {
    let addr = Addr::parse(args.text(0));
    let mut lines = Vec::new();
    for (kind, name) in [(libc::SOCK_STREAM, "tcp"), (libc::SOCK_DGRAM, "udp")] {
        let mut say = |what: &str, errno: i32| lines.push(format!("[\"{name} {what}\",{errno}]"));
        pointers_and_lengths(kind, &addr, &mut say);
        families(kind, &addr, &mut say);
        descriptors(&addr, &mut say);
        sends(kind, &addr, &mut say);
        messages(kind, &addr, &mut say);
    }
    crate::json::print_line(&format!("[{}]", lines.join(",")));
}

/// Runs `call` on a fresh socket.
fn fresh(kind: i32, addr: &Addr, call: impl FnOnce(i32) -> i32) -> i32 {
    let fd = socket::open(addr.family(), kind, 0).unwrap_or(-1);
    let errno = call(fd);
    socket::close(fd);
    errno
}

fn pointers_and_lengths(kind: i32, addr: &Addr, say: &mut impl FnMut(&str, i32)) {
    for (what, at) in [("null", std::ptr::null()), ("nowhere", NOWHERE), ("kernel", usize::MAX as *const c_void)] {
        say(&format!("connect {what}"), fresh(kind, addr, |fd| socket::connect_raw(fd, at, addr.length)));
    }
    for length in [0, 1, 2, 7, 8, 15, 16, 24, 27, 28, 29, 64, 128, 129, 4096, i32::MAX as u32, u32::MAX] {
        let errno = fresh(kind, addr, |fd| socket::connect_raw(fd, long(addr), length));
        say(&format!("connect length {length}"), errno);
    }
}

/// The address followed by zeros, so that no length reads beyond memory of ours.
fn long(addr: &Addr) -> *const c_void {
    let page: &'static mut [u8; 8192] = Box::leak(Box::new([0; 8192]));
    page[..addr.bytes().len()].copy_from_slice(addr.bytes());
    page.as_ptr().cast()
}

fn families(kind: i32, addr: &Addr, say: &mut impl FnMut(&str, i32)) {
    for family in [1u16, 2, 10, 16, 17, 99, 0x0202, 0xffff] {
        let at = long(addr).cast_mut().cast::<u16>();
        // SAFETY: the leaked page is ours and aligned
        unsafe { at.write_unaligned(family) };
        say(&format!("connect family {family}"), fresh(kind, addr, |fd| socket::connect_raw(fd, at.cast(), 28)));
    }
    let broadcast = Addr::parse("255.255.255.255:7");
    if addr.family() == libc::AF_INET {
        say("connect broadcast", fresh(kind, addr, |fd| socket::connect(fd, &broadcast)));
        say("connect port 0", fresh(kind, addr, |fd| socket::connect(fd, &Addr::parse("203.0.113.1:0"))));
        say("connect unreachable", fresh(kind, addr, |fd| socket::connect(fd, &Addr::parse("8.8.8.8:7"))));
        say("connect multicast", fresh(kind, addr, |fd| socket::connect(fd, &Addr::parse("224.0.0.9:7"))));
    }
}

fn descriptors(addr: &Addr, say: &mut impl FnMut(&str, i32)) {
    say("connect closed", socket::connect(999, addr));
    say("connect -1", socket::connect(-1, addr));
    say("connect stdout", socket::connect(1, addr));
    say("sendto stdout", socket::send_to(1, 0, Some(addr)));
    say("sendmsg closed", socket::send_message(999, 0, Some(addr)));
    let unix = socket::open(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap_or(-1);
    say("connect unix to inet", socket::connect(unix, addr));
    say("sendto unix to inet", socket::send_to(unix, 0, Some(addr)));
    socket::close(unix);
    let unix = socket::open(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap_or(-1);
    say("sendmsg unix datagram to inet", socket::send_message(unix, 0, Some(addr)));
    socket::close(unix);
    // SAFETY: O_PATH descriptor of our own
    let path = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH) };
    say("connect path", socket::connect(path, addr));
    socket::close(path);
}

fn sends(kind: i32, addr: &Addr, say: &mut impl FnMut(&str, i32)) {
    let send = |fd: i32, data: *const c_void, length: usize, flags: i32, at: *const c_void, size: u32| {
        let (fd, flags, size) = (c_long::from(fd), c_long::from(flags), c_long::from(size));
        // SAFETY: wrong pointers are an errno
        errno_of(unsafe { libc::syscall(libc::SYS_sendto, fd, data, length, flags, at, size) })
    };
    let (data, at, flags) = (b"x".as_ptr().cast(), addr.pointer().cast(), libc::MSG_NOSIGNAL);
    for (what, data, length, at, size) in [
        ("address nowhere", data, 1, NOWHERE, addr.length),
        ("address of no length", data, 1, at, 0),
        ("short address", data, 1, at, 7),
        ("long address", data, 1, long(addr), 129),
        ("negative length", data, 1, at, u32::MAX),
        ("data nowhere", NOWHERE, 1, at, addr.length),
        ("no data", data, 0, at, addr.length),
        ("too much data", data, usize::MAX >> 1, at, addr.length),
    ] {
        say(&format!("sendto {what}"), fresh(kind, addr, |fd| send(fd, data, length, flags, at, size)));
    }
    let large: &'static [u8] = Box::leak(vec![0; 70_000].into_boxed_slice());
    let oversize = |fd| send(fd, large.as_ptr().cast(), large.len(), flags, at, addr.length);
    say("sendto oversize", fresh(kind, addr, oversize));
}

fn messages(kind: i32, addr: &Addr, say: &mut impl FnMut(&str, i32)) {
    let send = |fd: i32, header: *const libc::msghdr| {
        // SAFETY: wrong pointers are an errno
        errno_of(unsafe { libc::syscall(libc::SYS_sendmsg, fd, header, libc::MSG_NOSIGNAL) })
    };
    say("sendmsg null", fresh(kind, addr, |fd| send(fd, std::ptr::null())));
    say("sendmsg nowhere", fresh(kind, addr, |fd| send(fd, NOWHERE.cast())));
    let mut changed = |what: &str, change: &dyn Fn(&mut libc::msghdr)| {
        let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut header = socket::message(Some(addr), &mut data);
        change(&mut header);
        say(&format!("sendmsg {what}"), fresh(kind, addr, |fd| send(fd, &raw const header)));
    };
    changed("name nowhere", &|header| header.msg_name = NOWHERE.cast_mut());
    changed("name null", &|header| header.msg_name = std::ptr::null_mut());
    changed("no name length", &|header| header.msg_namelen = 0);
    changed("long name", &|header| {
        header.msg_name = long(addr).cast_mut();
        header.msg_namelen = 4096;
    });
    changed("negative name length", &|header| header.msg_namelen = u32::MAX);
    changed("vector nowhere", &|header| header.msg_iov = NOWHERE.cast_mut().cast());
    changed("no vector", &|header| header.msg_iovlen = 0);
    changed("too long a vector", &|header| header.msg_iovlen = 1025);
    changed("control nowhere", &|header| {
        header.msg_control = NOWHERE.cast_mut();
        header.msg_controllen = 64;
    });
}
