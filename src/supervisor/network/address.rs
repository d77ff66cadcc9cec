//! Socket addresses as they stand in a program's memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Longest address that the kernel takes (`struct sockaddr_storage`).
pub(super) const MAX_ADDRESS: usize = 128;
/// `struct sockaddr_in`.
const INET_LENGTH: usize = 16;
/// `struct sockaddr_in6` without the scope, which old programs omit (`SIN6_LEN_RFC2133`).
const INET6_LENGTH: usize = 24;

/// What a call does with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// connect(2)
    Connect,
    /// the name of a message
    Send,
}

/// Where a call would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// there
    To(SocketAddr),
    /// nowhere new: `AF_UNSPEC` dissolves an association
    Dissolve,
    /// the kernel refuses it without looking further
    Refused(i32),
}

/// Reads the address of a call on an IPv4 or IPv6 socket, as the kernel would (net/ipv4/af_inet.c, udp.c, net/ipv6/udp.c).
pub(super) fn destination(domain: i32, bytes: &[u8], used: Use, stream: bool) -> Destination {
    let Some(family) = bytes.first_chunk::<2>().map(|family| i32::from(u16::from_ne_bytes(*family))) else {
        return Destination::Refused(libc::EINVAL);
    };
    let six = domain == libc::AF_INET6;
    match (family, used) {
        (libc::AF_UNSPEC, Use::Connect) => Destination::Dissolve,
        // sendto on IPv4 takes AF_UNSPEC for AF_INET; on IPv6 it means "where the socket is connected to".
        (libc::AF_UNSPEC, Use::Send) if six => Destination::Dissolve,
        (libc::AF_UNSPEC | libc::AF_INET, Use::Send) => inet(bytes),
        (libc::AF_INET, Use::Connect) if !(six && stream) => inet(bytes),
        (libc::AF_INET6, _) if six => inet6(bytes),
        _ => Destination::Refused(libc::EAFNOSUPPORT),
    }
}

fn port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

fn inet(bytes: &[u8]) -> Destination {
    if bytes.len() < INET_LENGTH {
        return Destination::Refused(libc::EINVAL);
    }
    let address = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
    Destination::To(SocketAddr::V4(SocketAddrV4::new(address, port(bytes))))
}

fn inet6(bytes: &[u8]) -> Destination {
    let Some(octets) = bytes.get(8..INET6_LENGTH).and_then(|octets| <[u8; 16]>::try_from(octets).ok()) else {
        return Destination::Refused(libc::EINVAL);
    };
    let address = Ipv6Addr::from(octets);
    let scope = bytes.get(24..28).and_then(|scope| <[u8; 4]>::try_from(scope).ok()).map_or(0, u32::from_ne_bytes);
    match address.to_ipv4_mapped() {
        Some(mapped) => Destination::To(SocketAddr::V4(SocketAddrV4::new(mapped, port(bytes)))),
        None => Destination::To(SocketAddr::V6(SocketAddrV6::new(address, port(bytes), 0, scope))),
    }
}

/// Reads an address that the kernel wrote, for comparison and for showing.
pub(super) fn known(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk::<2>()?));
    match destination(family, bytes, Use::Connect, true) {
        Destination::To(address) => Some(address),
        Destination::Dissolve | Destination::Refused(_) => None,
    }
}

/// The bytes of an address with port 0, for bind(2).
pub(super) fn any_port(ip: IpAddr, scope: u32) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = vec![0; INET_LENGTH];
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => {
            let mut bytes = vec![0; 28];
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[8..24].copy_from_slice(&ip.octets());
            bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn four(family: i32, address: [u8; 4], port: u16) -> Vec<u8> {
        let mut bytes = (family as u16).to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend(address);
        bytes.extend([0; 8]);
        bytes
    }

    fn six(address: &str, port: u16) -> Vec<u8> {
        let mut bytes = any_port(address.parse().unwrap(), 3);
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes
    }

    fn to(text: &str) -> Destination {
        Destination::To(text.parse().unwrap())
    }

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        use Destination::{Dissolve, Refused};
        let v4 = four(libc::AF_INET, [203, 0, 113, 7], 443);
        let unspecified = four(libc::AF_UNSPEC, [203, 0, 113, 7], 443);
        let (inet, inet6) = (libc::AF_INET, libc::AF_INET6);
        let cases: &[(i32, &[u8], Use, bool, Destination)] = &[
            (inet, &v4, Use::Connect, true, to("203.0.113.7:443")),
            (inet, &v4[..15], Use::Connect, true, Refused(libc::EINVAL)),
            (inet, &v4[..1], Use::Connect, true, Refused(libc::EINVAL)),
            (inet, &[], Use::Send, false, Refused(libc::EINVAL)),
            (inet, &unspecified, Use::Connect, true, Dissolve),
            (inet, &unspecified[..2], Use::Connect, false, Dissolve),
            (inet, &unspecified, Use::Send, false, to("203.0.113.7:443")),
            (inet6, &unspecified, Use::Send, false, Dissolve),
            (inet, &six("2001:db8::1", 80), Use::Connect, true, Refused(libc::EAFNOSUPPORT)),
            (inet6, &six("::ffff:203.0.113.7", 80), Use::Connect, true, to("203.0.113.7:80")),
            (inet6, &six("2001:db8::1", 80), Use::Connect, true, to("[2001:db8::1%3]:80")),
            (inet6, &six("2001:db8::1", 80)[..24], Use::Send, false, to("[2001:db8::1]:80")),
            (inet6, &six("2001:db8::1", 80)[..23], Use::Send, false, Refused(libc::EINVAL)),
            (inet6, &v4, Use::Connect, true, Refused(libc::EAFNOSUPPORT)),
            (inet6, &v4, Use::Connect, false, to("203.0.113.7:443")),
            (inet6, &v4, Use::Send, false, to("203.0.113.7:443")),
            (inet, &four(77, [1, 2, 3, 4], 1), Use::Send, false, Refused(libc::EAFNOSUPPORT)),
        ];
        for (domain, bytes, used, stream, expected) in cases {
            assert_eq!(destination(*domain, bytes, *used, *stream), *expected, "{domain} {bytes:?} {used:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..140), six: bool, stream: bool, send: bool) {
            let domain = if six { libc::AF_INET6 } else { libc::AF_INET };
            let used = if send { Use::Send } else { Use::Connect };
            let _ = destination(domain, &bytes, used, stream);
            let _ = known(&bytes);
        }

        #[test]
        fn what_bind_gets_is_read_back(octets: [u8; 16], scope: u32) {
            let ip = Ipv6Addr::from(octets);
            prop_assume!(ip.to_ipv4_mapped().is_none());
            let read = known(&any_port(IpAddr::V6(ip), scope)).unwrap();
            prop_assert_eq!(read.ip(), IpAddr::V6(ip));
            prop_assert_eq!(read.port(), 0);
        }
    }
}
