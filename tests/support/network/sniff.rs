//! What really arrived: every packet at the peer's end of the wire, before any socket sees it.

use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A packet socket and what it has counted.
pub struct Sniffer {
    socket: OwnedFd,
    /// Traffic of the test itself.
    ignored: SocketAddr,
    resolver: SocketAddr,
    attempts: HashSet<(SocketAddr, SocketAddr, u32)>,
    by_destination: BTreeMap<String, u64>,
    tcp: u64,
    udp: u64,
    resolved: u64,
    other: u64,
}

/// One packet, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    /// A first packet of a TCP connection.
    Syn {
        from: SocketAddr,
        to: SocketAddr,
        sequence: u32,
    },
    Datagram {
        to: SocketAddr,
    },
    /// Anything else that a socket can send, by its protocol number.
    Other {
        protocol: u8,
        to: IpAddr,
    },
    /// Later packets of a connection, neighbour discovery.
    Housekeeping,
}

impl Sniffer {
    /// Opened in the namespace whose packets it sees.
    pub fn open(ignored: SocketAddr, resolver: SocketAddr) -> Sniffer {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll).expect("packets");
        // Rows send bursts of tens of thousands.
        setsockopt(&socket, sockopt::RcvBufForce, &(256 << 20)).expect("a large buffer");
        Sniffer {
            socket,
            ignored,
            resolver,
            attempts: HashSet::new(),
            by_destination: BTreeMap::new(),
            tcp: 0,
            udp: 0,
            resolved: 0,
            other: 0,
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Counts what is waiting.
    pub fn drain(&mut self) {
        const OUTGOING: u8 = 4; // PACKET_OUTGOING, packet(7)
        let mut bytes = [0u8; 256];
        while let Ok((length, from)) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
            if from.is_none_or(|from| from.pkttype() != OUTGOING) {
                self.count(&read(&bytes[..length.min(bytes.len())]));
            }
        }
    }

    /// Forgets what was counted.
    pub fn reset(&mut self) {
        self.attempts.clear();
        self.by_destination.clear();
        (self.tcp, self.udp, self.resolved, self.other) = (0, 0, 0, 0);
        self.lost();
    }

    /// The counts as JSON.
    pub fn counts(&self) -> Value {
        json!({
            "tcp": self.tcp, "udp": self.udp, "resolver": self.resolved, "other": self.other,
            "lost": self.lost(), "by_destination": self.by_destination,
        })
    }

    fn count(&mut self, packet: &Packet) {
        let name = match *packet {
            Packet::Housekeeping => return,
            Packet::Syn { to, .. } if to.port() == self.ignored.port() && to.ip() == self.ignored.ip() => return,
            Packet::Syn { from, to, sequence } => {
                if !self.attempts.insert((from, to, sequence)) {
                    return;
                }
                if to == self.resolver {
                    self.resolved += 1;
                } else {
                    self.tcp += 1;
                }
                format!("tcp {to}")
            }
            Packet::Datagram { to } => {
                if to == self.resolver {
                    self.resolved += 1;
                } else {
                    self.udp += 1;
                }
                format!("udp {to}")
            }
            Packet::Other { protocol, to } => {
                self.other += 1;
                format!("protocol {protocol} {to}")
            }
        };
        *self.by_destination.entry(name).or_default() += 1;
    }

    /// Packets that found the buffer full since the last question; reading clears the kernel's count.
    fn lost(&self) -> u32 {
        let mut statistics = [0u32; 2]; // struct tpacket_stats: packets, drops
        let mut length = libc::socklen_t::try_from(size_of_val(&statistics)).expect("small");
        let at = (&raw mut statistics).cast();
        // SAFETY: `at` is writable for `length` bytes and both live through the call
        let done = unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, at, &raw mut length)
        };
        assert_eq!(done, 0, "packet statistics");
        statistics[1]
    }
}

/// Reads an IP packet. What is too short to be one is nothing that counts.
fn read(bytes: &[u8]) -> Packet {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => read_v4(bytes),
        Some(6) => read_v6(bytes),
        _ => None,
    }
    .unwrap_or(Packet::Housekeeping)
}

fn read_v4(bytes: &[u8]) -> Option<Packet> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?)));
    transport(*bytes.get(9)?, address(12)?, address(16)?, bytes.get(header..)?)
}

fn read_v6(bytes: &[u8]) -> Option<Packet> {
    let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?)));
    let (mut next, mut rest) = (*bytes.get(6)?, bytes.get(40..)?);
    // Hop-by-hop and destination options may stand before the rest.
    while matches!(next, 0 | 60) {
        let length = usize::from(*rest.get(1)?) * 8 + 8;
        (next, rest) = (*rest.first()?, rest.get(length..)?);
    }
    transport(next, address(8)?, address(24)?, rest)
}

fn transport(protocol: u8, from: IpAddr, to: IpAddr, bytes: &[u8]) -> Option<Packet> {
    const ICMP_V6: u8 = 58;
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    match protocol {
        6 if bytes.get(13)? & (SYN | ACK) == SYN => Some(Packet::Syn {
            from: SocketAddr::new(from, port(0)?),
            to: SocketAddr::new(to, port(2)?),
            sequence: u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?),
        }),
        6 => Some(Packet::Housekeeping),
        17 => Some(Packet::Datagram { to: SocketAddr::new(to, port(2)?) }),
        // Errors, neighbours, routers and multicast listeners are the kernel's own business; echo requests are not.
        1 if *bytes.first()? != 8 => Some(Packet::Housekeeping),
        ICMP_V6 if *bytes.first()? != 128 => Some(Packet::Housekeeping),
        protocol => Some(Packet::Other { protocol, to }),
    }
}

#[test]
fn packets_are_told_apart() {
    let mut syn = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 2, 203, 0, 113, 1];
    syn.extend([0x12, 0x34, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2]);
    let (from, to) = ("192.0.2.2:4660".parse().unwrap(), "203.0.113.1:7".parse().unwrap());
    assert_eq!(read(&syn), Packet::Syn { from, to, sequence: 9 });
    let mut answer = syn.clone();
    answer[33] = 18;
    assert_eq!(read(&answer), Packet::Housekeeping);
    let mut udp = syn.clone();
    udp[9] = 17;
    assert_eq!(read(&udp), Packet::Datagram { to });
    let mut sctp = syn;
    sctp[9] = 132;
    assert_eq!(read(&sctp), Packet::Other { protocol: 132, to: to.ip() });
    assert_eq!(read(&sctp[..12]), Packet::Housekeeping);
    assert_eq!(read(&[]), Packet::Housekeeping);
}
