//! The listening socket: dual stack where the kernel has IPv6, IPv4 where it has not.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, listen, setsockopt,
    socket, sockopt,
};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
    hint: &'static str,
}

/// Binds and listens. `[::]` also takes IPv4; without IPv6 in the kernel `[::]` becomes `0.0.0.0` and `[::1]` becomes `127.0.0.1`.
///
/// # Errors
/// [`ListenError`] with the address and the likely fix.
pub fn bind_to(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let result = match try_bind(address) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => match without_ipv6(address) {
            Some(fallback) => try_bind(fallback),
            None => try_bind(address),
        },
        result => result,
    };
    result.map_err(|errno| {
        let hint = match errno {
            Errno::EADDRINUSE => "; another execd may be running: choose another --listen",
            Errno::EACCES => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            Errno::EADDRNOTAVAIL => "; this machine does not have that address",
            _ => "",
        };
        ListenError { address, source: errno.into(), hint }
    })
}

fn without_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    let SocketAddr::V6(v6) = address else { return None };
    let v4 = match *v6.ip() {
        Ipv6Addr::UNSPECIFIED => Ipv4Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    Some(SocketAddr::from((v4, v6.port())))
}

fn try_bind(address: SocketAddr) -> nix::Result<TcpListener> {
    let fd = match address {
        SocketAddr::V4(v4) => {
            let fd = open(AddressFamily::Inet)?;
            bind_fd(&fd, &SockaddrIn::from(v4))?;
            fd
        }
        SocketAddr::V6(v6) => {
            let fd = open(AddressFamily::Inet6)?;
            setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
            bind_fd(&fd, &SockaddrIn6::from(v6))?;
            fd
        }
    };
    // As many waiting connections as the kernel's own setting (net.core.somaxconn) allows.
    listen(&fd, Backlog::MAXALLOWABLE)?;
    Ok(TcpListener::from(fd))
}

fn open(family: AddressFamily) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // A restart must not wait for the last daemon's connections to leave TIME_WAIT.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    Ok(fd)
}

fn bind_fd(fd: &OwnedFd, address: &dyn SockaddrLike) -> nix::Result<()> {
    bind(fd.as_raw_fd(), address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn the_wildcard_takes_both_families() {
        let listener = bind_to("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_taken_port_says_what_to_do() {
        let first = bind_to("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind_to(first.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.contains("another execd may be running"), "{error}");
    }

    #[test]
    fn only_wildcard_and_loopback_have_an_ipv4_stand_in() {
        for (from, to) in [
            ("[::]:1", Some("0.0.0.0:1")),
            ("[::1]:1", Some("127.0.0.1:1")),
            ("[fe80::1]:1", None),
            ("1.2.3.4:1", None),
        ] {
            assert_eq!(without_ipv6(from.parse().unwrap()), to.map(|t| t.parse().unwrap()), "{from}");
        }
    }
}
