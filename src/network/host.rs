//! Names and addresses as clients write them, in one canonical form. Pure.
//!
//! Resolvers accept more spellings of an address than people know (`0x7f.1`, `2130706433`, `127.1`). A name that ends in a number is
//! therefore a dotted quad or nothing (WHATWG URL, "ends in a number"), so that no resolver gets to read it in its own way.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name (RFC 1035, 2.3.4) and longest label.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Where a request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// lower case, ASCII, without the dot at the end
    Name(String),
    /// IPv4-mapped IPv6 is IPv4
    Address(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// A message when it is none of these; international names must be written in ASCII (`xn--…`).
    pub fn parse(text: &str) -> Result<Host, String> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| format!("{text:?} is not an IPv6 address"))?;
            return Ok(Host::Address(canonical(address.into())));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Host::Address(canonical(address)));
        }
        name(text)
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::Address(address) => Some(*address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// IPv4-mapped IPv6 as what it reaches.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A host and a port: `name:443`, `[::1]:80`. Both must be there.
pub fn authority(text: &str) -> Option<(Host, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Host::parse(host).ok()?, port.parse().ok().filter(|port| *port != 0)?))
}

fn name(text: &str) -> Result<Host, String> {
    if !text.is_ascii() {
        return Err(format!("{text:?} is not ASCII; write an international name in its xn-- form"));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() > NAME_MAX || !name.split('.').all(is_label) {
        return Err(format!("{text:?} is not a host name or address (no scheme, no path)"));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if !is_number(last) {
        return Ok(Host::Name(name));
    }
    let quad: Result<Ipv4Addr, _> = name.parse();
    quad.map(|quad| Host::Address(quad.into()))
        .map_err(|_| format!("{text:?} ends in a number and is no dotted IPv4 address"))
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What `inet_aton` would take for a part of an address.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Option<String> {
        Host::parse(text).ok().map(|host| host.to_string())
    }

    #[test]
    fn one_form_for_every_spelling() {
        for (text, form) in [
            ("Example.COM", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("a_b.example", Some("a_b.example")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.0.0.1.", Some("127.0.0.1")),
            ("[::FFFF:127.0.0.1]", Some("127.0.0.1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("[2001:DB8::1]", Some("[2001:db8::1]")),
            ("1e100.net", Some("1e100.net")),
            ("1.2.3.4.5", None),
            ("127.1", None),
            ("0x7f.1", None),
            ("0x7f000001", None),
            ("example.0x7f", None),
            ("0x", None),
            ("2130706433", None),
            ("0177.0.0.1", None),
            ("[fe80::1%eth0]", None),
            ("fe80::1%1", None),
            ("[127.0.0.1]", None),
            ("bücher.example", None),
            ("a..b", None),
            (".a", None),
            ("", None),
            (".", None),
            ("-a", None),
            ("a b", None),
            ("a\0", None),
            ("user@host", None),
            ("a/b", None),
            ("a%2e", None),
        ] {
            assert_eq!(shown(text).as_deref(), form, "{text:?}");
        }
    }

    #[test]
    fn authorities_need_both_parts() {
        assert_eq!(authority("a:443"), Some((Host::Name("a".to_owned()), 443)));
        assert_eq!(authority("[::1]:80").map(|(host, port)| (host.to_string(), port)), Some(("[::1]".to_owned(), 80)));
        for bad in ["a", "a:", "a:0", "a:65536", "a:+1", "::1:80", ":80", "[::1]", "u@a:1", "a:1:2", "2130706433:80"] {
            assert_eq!(authority(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_the_form_is_stable(text in "[a-zA-Z0-9.:%\\[\\]xé_-]{0,24}") {
            let _ = authority(&text);
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
            }
        }
    }
}
