//! `net sequence NAME ADDRESS:PORT`: calls one after another on few sockets, and what the kernel said to each.
//!
//! Printed as `[["step", errno or value], …]`, so that a run under a gate can be compared with a run without one.

use super::addr::Addr;
use super::{socket, timed};

/// What was said so far.
#[derive(Default)]
pub(crate) struct Steps(Vec<String>);

impl Steps {
    pub(crate) fn say(&mut self, step: &str, value: impl Into<i64>) {
        self.0.push(format!("[{},{}]", crate::json::quote(step), value.into()));
    }
}

type Sequence = fn(&Addr, &mut Steps);

const SEQUENCES: &[(&str, Sequence)] = &[
    ("nonblocking", nonblocking),
    ("nonblocking-silent", nonblocking_silent),
    ("blocking", blocking),
    ("bound", bound),
    ("unspec", unspecified),
    ("listening", listening),
    ("accepted", accepted),
    ("udp", udp),
    ("udp-by-message", udp_by_message),
    ("fast-open", fast_open),
    ("send-unconnected", send_unconnected),
    ("dup", duplicated),
    ("timeout", timed::timeout),
    ("timeout-again", timed::timeout_again),
    ("alarm", timed::alarm),
    ("alarm-restart", timed::alarm_restart),
    ("closed-under-way", timed::closed_under_way),
];

pub(crate) fn run(args: &crate::Args) {
    let name = args.text(0);
    let sequence = SEQUENCES.iter().find(|(known, _)| *known == name).map(|(_, sequence)| *sequence);
    let sequence = sequence.unwrap_or_else(|| crate::fail(&format!("unknown sequence {name}")));
    let mut steps = Steps::default();
    sequence(&Addr::parse(args.text(1)), &mut steps);
    crate::json::print_line(&format!("[{}]", steps.0.join(",")));
}

pub(crate) fn tcp(addr: &Addr, flags: i32) -> i32 {
    socket::open(addr.family(), libc::SOCK_STREAM | flags, 0).unwrap_or(-1)
}

fn so_error(fd: i32) -> i32 {
    socket::get(fd, libc::SOL_SOCKET, libc::SO_ERROR)
}

fn nonblocking(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, libc::SOCK_NONBLOCK);
    steps.say("connect", socket::connect(fd, addr));
    steps.say("decided", socket::wait_writable(fd, 10_000));
    steps.say("SO_ERROR", so_error(fd));
    steps.say("connect again", socket::connect(fd, addr));
    if socket::peer_port(fd) == 0 {
        // A second attempt on the same socket after a refusal; whether it is a new one is the kernel's business.
        socket::wait_writable(fd, 10_000);
        steps.say("SO_ERROR again", so_error(fd));
    }
    steps.say("connect once more", socket::connect(fd, addr));
    steps.say("peer port", socket::peer_port(fd));
    socket::close(fd);
}

fn nonblocking_silent(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, libc::SOCK_NONBLOCK);
    for step in ["connect", "again", "and again"] {
        steps.say(step, socket::connect(fd, addr));
    }
    steps.say("another address", socket::connect(fd, &addr.plus(1)));
    steps.say("decided", socket::wait_writable(fd, 50));
    steps.say("SO_ERROR", so_error(fd));
    steps.say("unspec", socket::connect(fd, &Addr::unspecified()));
    steps.say("SO_ERROR", so_error(fd));
    socket::close(fd);
}

fn blocking(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    for step in ["connect", "again"] {
        steps.say(step, socket::connect(fd, addr));
        steps.say("SO_ERROR", so_error(fd));
    }
    steps.say("peer port", socket::peer_port(fd));
    socket::close(fd);
}

fn bound(addr: &Addr, steps: &mut Steps) {
    let local = if addr.family() == libc::AF_INET { "0.0.0.0:23456" } else { "[::]:23456" };
    let local = Addr::parse(local);
    let fd = tcp(addr, 0);
    socket::set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    // SAFETY: the address lives through the call
    let done = unsafe { libc::bind(fd, local.pointer(), local.length) };
    steps.say("bind", crate::json::errno_of(done.into()));
    steps.say("connect", socket::connect(fd, addr));
    let mut own = local;
    let mut length = own.length;
    // SAFETY: room for an address of the same family
    unsafe { libc::getsockname(fd, own.pointer_mut(), &raw mut length) };
    steps.say("port kept", i64::from(own.bytes()[2..4] == local.bytes()[2..4]));
    socket::set(fd, libc::SOL_SOCKET, libc::SO_LINGER, 0);
    socket::close(fd);
}

fn unspecified(addr: &Addr, steps: &mut Steps) {
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        let fd = socket::open(addr.family(), kind, 0).unwrap_or(-1);
        for step in ["connect", "peer"] {
            let said = if step == "peer" { socket::peer_port(fd).into() } else { socket::connect(fd, addr) };
            steps.say(step, said);
        }
        steps.say("unspec", socket::connect(fd, &Addr::unspecified()));
        steps.say("unspec again", socket::connect(fd, &Addr::unspecified()));
        steps.say("peer", socket::peer_port(fd));
        steps.say("short unspec", socket::connect_raw(fd, Addr::unspecified().pointer().cast(), 2));
        steps.say("connect anew", socket::connect(fd, addr));
        steps.say("peer", socket::peer_port(fd));
        socket::close(fd);
    }
}

fn listening(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    // SAFETY: no pointers
    steps.say("listen", unsafe { libc::listen(fd, 5) });
    steps.say("connect", socket::connect(fd, addr));
    socket::close(fd);
}

fn accepted(addr: &Addr, steps: &mut Steps) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").ok();
    let Some(local) = listener.as_ref().and_then(|listener| listener.local_addr().ok()) else { return };
    let client = tcp(&Addr::new(local), 0);
    steps.say("connect to ourselves", socket::connect(client, &Addr::new(local)));
    let Some(Ok((stream, _))) = listener.map(|listener| listener.accept()) else { return };
    let fd = std::os::fd::IntoRawFd::into_raw_fd(stream);
    steps.say("send", socket::send_to(fd, 0, None));
    steps.say("send by message", socket::send_message(fd, 0, None));
    steps.say("send with an address", socket::send_to(fd, 0, Some(addr)));
    steps.say("connect", socket::connect(fd, addr));
    socket::close(fd);
    socket::close(client);
}

fn udp(addr: &Addr, steps: &mut Steps) {
    let fd = socket::open(addr.family(), libc::SOCK_DGRAM, 0).unwrap_or(-1);
    steps.say("send on nothing", socket::send_to(fd, 0, None));
    steps.say("sendto", socket::send_to(fd, 0, Some(addr)));
    steps.say("connect", socket::connect(fd, addr));
    steps.say("echo", socket::echo(fd));
    steps.say("peer port", socket::peer_port(fd));
    steps.say("sendto when connected", socket::send_to(fd, 0, Some(addr)));
    steps.say("connect elsewhere", socket::connect(fd, &addr.plus(1)));
    steps.say("unspec", socket::connect(fd, &Addr::unspecified()));
    steps.say("send on nothing", socket::send_to(fd, 0, None));
    socket::close(fd);
}

fn udp_by_message(addr: &Addr, steps: &mut Steps) {
    let fd = socket::open(addr.family(), libc::SOCK_DGRAM, 0).unwrap_or(-1);
    steps.say("sendmsg on nothing", socket::send_message(fd, 0, None));
    steps.say("sendmsg", socket::send_message(fd, 0, Some(addr)));
    steps.say("sendmmsg", socket::send_messages(fd, 0, &[*addr, *addr, addr.plus(1)]));
    steps.say("sendmmsg of none", socket::send_messages(fd, 0, &[]));
    steps.say("connect", socket::connect(fd, addr));
    steps.say("sendmsg when connected", socket::send_message(fd, 0, None));
    steps.say("sendmsg with an address when connected", socket::send_message(fd, 0, Some(addr)));
    socket::close(fd);
}

fn fast_open(addr: &Addr, steps: &mut Steps) {
    for step in ["without a cookie", "with one"] {
        let fd = tcp(addr, 0);
        steps.say(step, socket::send_to(fd, libc::MSG_FASTOPEN, Some(addr)));
        steps.say("peer port", socket::peer_port(fd));
        steps.say("again", socket::send_to(fd, libc::MSG_FASTOPEN, Some(addr)));
        steps.say("send", socket::send_to(fd, 0, None));
        socket::close(fd);
    }
    let fd = tcp(addr, libc::SOCK_NONBLOCK);
    steps.say("nonblocking", socket::send_message(fd, libc::MSG_FASTOPEN, Some(addr)));
    steps.say("decided", socket::wait_writable(fd, 10_000));
    steps.say("SO_ERROR", so_error(fd));
    socket::close(fd);
}

fn send_unconnected(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    steps.say("send", socket::send_to(fd, 0, None));
    steps.say("sendto", socket::send_to(fd, 0, Some(addr)));
    steps.say("sendmsg", socket::send_message(fd, 0, Some(addr)));
    steps.say("sendmmsg", socket::send_messages(fd, 0, &[*addr]));
    steps.say("connect", socket::connect(fd, addr));
    steps.say("sendto when connected", socket::send_to(fd, 0, Some(addr)));
    steps.say("sendmsg when connected", socket::send_message(fd, 0, Some(addr)));
    socket::close(fd);
}

fn duplicated(addr: &Addr, steps: &mut Steps) {
    let fd = tcp(addr, 0);
    // SAFETY: no pointers; 200 is below the default limit of descriptors
    let other = unsafe { libc::dup2(fd, 200) };
    socket::close(fd);
    steps.say("connect", socket::connect(other, addr));
    // SAFETY: the child only makes system calls
    unsafe {
        if libc::fork() == 0 {
            libc::_exit(socket::echo(other));
        }
        let mut status = 0;
        libc::wait(&raw mut status);
        steps.say("echo in a child", libc::WEXITSTATUS(status));
    }
    steps.say("connect again", socket::connect(other, addr));
    socket::close(other);
}
