//! What the rows rely on: the box, its peer, and what the bare kernel does there.

use crate::support::network::{self, BLACKHOLE, BLACKHOLE_V6, ECHO, ECHO_MAPPED, ECHO_V6, REFUSED};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_millis(300);

#[test]
fn the_peer_counts_what_reaches_it() {
    network::inside(|network| {
        for addr in [ECHO, ECHO_V6, ECHO_MAPPED] {
            let mut stream = TcpStream::connect_timeout(&addr.parse::<SocketAddr>().unwrap(), SOON).unwrap();
            stream.write_all(b"x").unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            let udp = UdpSocket::bind((if addr == ECHO { "0.0.0.0" } else { "::" }, 0)).unwrap();
            udp.set_read_timeout(Some(SOON)).unwrap();
            udp.send_to(b"y", addr).unwrap();
            udp.recv_from(&mut byte).unwrap();
        }
        for (addr, kind) in [
            (REFUSED, ErrorKind::ConnectionRefused),
            (BLACKHOLE, ErrorKind::TimedOut),
            (BLACKHOLE_V6, ErrorKind::TimedOut),
        ] {
            let error = TcpStream::connect_timeout(&addr.parse::<SocketAddr>().unwrap(), AT_ONCE).unwrap_err();
            assert_eq!(error.kind(), kind, "{addr}");
        }
        let seen = network.seen();
        assert_eq!((seen.tcp, seen.udp, seen.other), (6, 3, 0), "{seen:?}");
        assert_eq!(seen.at("tcp 203.0.113.1:7"), 2);
        assert_eq!(
            ("one.test", 80).to_socket_addrs().unwrap().collect::<Vec<_>>(),
            ["203.0.113.10:80".parse().unwrap()]
        );
        assert!(("nowhere.test", 80).to_socket_addrs().is_err());
        assert!(network.seen().resolver >= 2, "{:?}", network.seen());
        network.reset();
        assert_eq!(network.seen().total(), 0);
    });
}
