//! Small questions: which families there are, what is free, who answers at which address.

use super::addr::Addr;
use super::{contact, socket};
use crate::json::{Object, errno_of, print_line};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

/// `net families`: the errno of socket() for every family, and for the odd kinds of the internet families.
pub(crate) fn families() {
    let errno = |family, kind, protocol| match socket::open(family, kind, protocol) {
        Ok(fd) => {
            socket::close(fd);
            0
        }
        Err(errno) => errno,
    };
    const KINDS: [(&str, i32); 5] = [
        ("stream", libc::SOCK_STREAM),
        ("datagram", libc::SOCK_DGRAM),
        ("raw", libc::SOCK_RAW),
        ("packet", 10),
        ("seqpacket", libc::SOCK_SEQPACKET),
    ];
    let mut report = Object::new();
    for family in 0..48 {
        // Whether one of its kinds can be had says enough.
        let best = KINDS.iter().map(|(_, kind)| errno(family, *kind, 0)).min().unwrap_or(-1);
        report = report.value(&family.to_string(), best);
    }
    for (name, family) in [("inet", libc::AF_INET), ("inet6", libc::AF_INET6)] {
        for (kind_name, kind) in KINDS {
            report = report.value(&format!("{name} {kind_name}"), errno(family, kind, 0));
        }
        for (protocol_name, kind, protocol) in [
            ("icmp", libc::SOCK_DGRAM, if family == libc::AF_INET { 1 } else { 58 }),
            ("raw udp", libc::SOCK_RAW, libc::IPPROTO_UDP),
            ("raw with flags", libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, libc::IPPROTO_RAW),
            ("sctp", libc::SOCK_STREAM, 132),
            ("sctp seqpacket", libc::SOCK_SEQPACKET, 132),
            ("dccp", 6, 33),
            ("udplite", libc::SOCK_DGRAM, 136),
            ("l2tp", libc::SOCK_DGRAM, 115),
            ("mptcp", libc::SOCK_STREAM, 262),
            ("smc", libc::SOCK_STREAM, 256),
        ] {
            report = report.value(&format!("{name} {protocol_name}"), errno(family, kind, protocol));
        }
    }
    report.print();
}

/// `net free RESOLVER:53`: everything that costs nothing, each with its errno; 0 is as it should be.
pub(crate) fn free(args: &crate::Args) {
    let said = |result: std::io::Result<()>| result.map_or_else(|e| e.raw_os_error().unwrap_or(-1), |()| 0);
    let mut report = Object::new();
    for (name, listen, reach) in [
        ("127.0.0.1", "127.0.0.1:0", "127.0.0.1"),
        ("127.9.8.7", "127.9.8.7:0", "127.9.8.7"),
        ("::1", "[::1]:0", "::1"),
        ("mapped", "127.0.0.1:0", "::ffff:127.0.0.1"),
        ("0.0.0.0", "0.0.0.0:0", "0.0.0.0"),
        ("::", "[::]:0", "::"),
    ] {
        report = report.value(&format!("tcp {name}"), said(tcp_to_ourselves(listen, reach)));
        report = report.value(&format!("udp {name}"), said(udp_to_ourselves(listen, reach)));
    }
    let resolver = Addr::parse(args.text(0));
    let udp = socket::open(resolver.family(), libc::SOCK_DGRAM, 0).unwrap_or(-1);
    report = report.value("resolver sendto", socket::send_to(udp, 0, Some(&resolver)));
    report = report.value("resolver connect", socket::connect(udp, &resolver));
    let tcp = socket::open(resolver.family(), libc::SOCK_STREAM, 0).unwrap_or(-1);
    report = report.value("resolver tcp", socket::connect(tcp, &resolver));
    report = report.value("unix", unix_pair()).value("unix path", said(unix_path()));
    report.value("netlink", netlink()).print();
}

fn tcp_to_ourselves(listen: &str, reach: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    let stream = TcpStream::connect((reach, listener.local_addr()?.port()))?;
    listener.accept()?;
    drop(stream);
    Ok(())
}

fn udp_to_ourselves(listen: &str, reach: &str) -> std::io::Result<()> {
    let receiver = UdpSocket::bind(listen)?;
    let port = receiver.local_addr()?.port();
    let sender = UdpSocket::bind(if reach.contains(':') { "[::]:0" } else { "0.0.0.0:0" })?;
    sender.send_to(b"x", (reach, port))?;
    receiver.recv_from(&mut [0])?;
    sender.connect((reach, port))?;
    sender.send(b"y")?;
    receiver.recv_from(&mut [0])?;
    Ok(())
}

fn unix_pair() -> i32 {
    let mut pair = [0; 2];
    // SAFETY: room for two descriptors
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()) };
    if made != 0 {
        return errno_of(-1);
    }
    [socket::send_to(pair[0], 0, None), socket::send_message(pair[0], 0, None)]
        .into_iter()
        .find(|e| *e != 0)
        .unwrap_or(0)
}

fn unix_path() -> std::io::Result<()> {
    let path = format!("free-{}.socket", std::process::id());
    let receiver = std::os::unix::net::UnixDatagram::bind(&path)?;
    let sender = std::os::unix::net::UnixDatagram::unbound()?;
    sender.send_to(b"x", &path)?;
    sender.connect(&path)?;
    sender.send(b"y")?;
    receiver.recv(&mut [0])?;
    receiver.recv(&mut [0])?;
    std::fs::remove_file(&path)
}

/// Asks the kernel for its links, as getifaddrs does.
fn netlink() -> i32 {
    let mut list = std::ptr::null_mut();
    // SAFETY: the list is given back
    unsafe {
        if libc::getifaddrs(&raw mut list) != 0 {
            return errno_of(-1);
        }
        libc::freeifaddrs(list);
    }
    0
}

/// `net connect-each ADDRESS:PORT…`: one blocking connect to each; errnos in their order.
pub(crate) fn connect_each(args: &crate::Args) {
    let errnos: Vec<String> = args.0.iter().map(|text| connect(&Addr::parse(text)).to_string()).collect();
    print_line(&format!("[{}]", errnos.join(",")));
}

fn connect(addr: &Addr) -> i32 {
    let fd = socket::open(addr.family(), libc::SOCK_STREAM, 0).unwrap_or(-1);
    let errno = socket::connect(fd, addr);
    socket::close(fd);
    errno
}

/// `net resolve NAME PORT`: as every program does it: getaddrinfo, then a connection to the first address that answers.
pub(crate) fn resolve(args: &crate::Args) {
    let target = (args.text(0), args.number(1) as u16);
    let found = target.to_socket_addrs().map(Iterator::count).unwrap_or(0);
    let errno = TcpStream::connect(target).map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0);
    Object::new().value("addresses", found).value("errno", errno).print();
}

/// `net stdin ADDRESS:PORT`: reaches out on a socket that was there when we started.
pub(crate) fn connect_stdin(args: &crate::Args) {
    let errno = socket::connect(0, &Addr::parse(args.text(0)));
    Object::new().raw("errnos", &contact::tally(&[errno])).print();
}
