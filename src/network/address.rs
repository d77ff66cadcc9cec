//! Which addresses belong to the public internet. Pure.
//!
//! A name on a list of domains says nothing about the address that it resolves to: whoever owns the name chooses the answer. So
//! answers that are not public need a rule of their own. Source: the IANA special-purpose address registries (RFC 6890 and updates).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// reachable from everywhere
    Public,
    /// this machine, this network, this provider, or nobody: only where a rule on addresses names it
    Special,
    /// no destination of a connection, whatever the rules
    Never,
}

/// Classifies an address; one that carries an IPv4 address is what that address is.
pub fn class(address: IpAddr) -> Class {
    match address.to_canonical() {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // "this host": the kernel connects to itself
        (0, ..) | (224..=239, ..) => Class::Never,
        _ if address.is_broadcast() => Class::Never,
        (10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) => Class::Special,
        // link-local, where clouds keep their metadata
        (169, 254, _) => Class::Special,
        // shared space of providers (RFC 6598); 100.100.100.200 is a metadata service
        (100, 64..=127, _) => Class::Special,
        // IETF assignments, documentation, 6to4 relays, benchmarks
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) | (198, 18..=19, _) => Class::Special,
        (240.., ..) => Class::Special,
        // Azure's host agent, public by number and metadata by use
        (168, 63, 129) if address.octets()[3] == 16 => Class::Special,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let s = address.segments();
    match s[0] {
        _ if address.is_unspecified() => Class::Never,
        0xff00..=0xffff => Class::Never,
        // loopback, and IPv4 in the last 32 bits (deprecated)
        0 => Class::Special,
        // NAT64 (RFC 6052): the prefix that translators share
        0x64 if s[1..6] == [0xff9b, 0, 0, 0, 0] => class_v4(embedded(s[6], s[7])),
        // NAT64 prefixes of one's own (RFC 8215), discard-only (RFC 6666)
        0x64 | 0x100 => Class::Special,
        // 6to4 (RFC 3056)
        0x2002 => class_v4(embedded(s[1], s[2])),
        // Teredo, ORCHID and other protocols; documentation
        0x2001 if s[1] < 0x200 || s[1] == 0xdb8 => Class::Special,
        0x3fff if s[1] < 0x1000 => Class::Special,
        // global unicast; all else is local or not assigned
        0x2000..=0x3fff => Class::Public,
        _ => Class::Special,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        use Class::{Never, Public, Special};
        for (class, addresses) in [
            (
                Public,
                "1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 169.253.1.1 172.15.0.1 172.32.0.1 192.167.1.1 \
                 198.20.0.1 223.255.255.255 2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 64:ff9b::808:808 \
                 ::ffff:8.8.8.8 2002:808:808::1",
            ),
            (
                Special,
                "10.0.0.1 127.0.0.1 127.255.255.254 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 169.254.170.2 \
                 100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1 203.0.113.9 240.0.0.1 ::1 \
                 ::127.0.0.1 fe80::1 fc00::1 fd00:ec2::254 fd20:ce::254 fec0::1 2001:db8::1 2001::1 100::1 64:ff9b:1::1 \
                 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 \
                 4000::1 3fff::1 5f00::1",
            ),
            (Never, "0.0.0.0 0.1.2.3 224.0.0.1 239.1.1.1 255.255.255.255 :: ff02::1 ::ffff:0.0.0.0 64:ff9b::"),
        ] {
            for text in addresses.split_whitespace() {
                assert_eq!(super::class(text.parse().expect(text)), class, "{text}");
            }
        }
    }
}
