//! Socket addresses in a program's memory, for every socket and every use.
#![no_main]

use execd::fuzzing::supervisor::gate;
use std::net::{IpAddr, SocketAddr};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for domain in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_UNSPEC] {
        for (connect, stream) in [(true, true), (true, false), (false, true), (false, false)] {
            let found = gate::destination(domain, bytes, connect, stream);
            let family = bytes.first_chunk::<2>().map(|family| i32::from(u16::from_ne_bytes(*family)));
            match found {
                Ok(Some(address)) => {
                    assert!(bytes.len() >= 16);
                    assert_eq!(address.port().to_be_bytes(), bytes[2..4]);
                    assert_eq!(address.ip().to_canonical(), address.ip(), "a rule on IPv4 must see it");
                    assert!(address.is_ipv4() || domain == libc::AF_INET6);
                    match address.ip() {
                        IpAddr::V4(ip) if family != Some(libc::AF_INET6) => assert_eq!(ip.octets(), bytes[4..8]),
                        IpAddr::V4(ip) => assert_eq!(ip.octets(), bytes[20..24]),
                        IpAddr::V6(ip) => assert_eq!(ip.octets(), bytes[8..24]),
                    }
                    bound(address);
                }
                Ok(None) => assert_eq!(family, Some(libc::AF_UNSPEC)),
                Err(error) => assert!([libc::EINVAL, libc::EAFNOSUPPORT].contains(&error)),
            }
            // No more than the kernel's longest form is read.
            let longest = &bytes[..bytes.len().min(28)];
            assert_eq!(gate::destination(domain, longest, connect, stream), found);
        }
    }
    if let Some(address) = gate::known(bytes) {
        bound(address);
    }
});

/// The address that bind(2) gets is the one that was meant.
fn bound(address: SocketAddr) {
    let scope = if let SocketAddr::V6(address) = address { address.scope_id() } else { 0 };
    let mut expected = address;
    expected.set_port(0);
    assert_eq!(gate::known(&gate::any_port(address.ip(), scope)), Some(expected));
}
