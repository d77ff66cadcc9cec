//! One entry of a list of domains. Pure.
//!
//! | entry | allows |
//! |---|---|
//! | `example.com` | this name |
//! | `*.example.com` | every name below it, at any depth, not itself |
//! | `192.0.2.7`, `2001:db8::7` | this address, also where a name resolves to it |
//! | `10.0.0.0/8`, `[fd00::/8]` | these addresses, likewise |
//! | any of them with `:443` | on this port only; IPv6 then needs brackets |
//! | any of them after `!` | nothing: refuses what another entry or the default allows |

use super::host::{self, Host};
use std::fmt;
use std::net::IpAddr;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `!` stands before it
    pub denies: bool,
    target: Target,
    /// any port if absent
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Name(String),
    Below(String),
    /// base, with the bits behind the prefix cleared, and length of the prefix
    Net(IpAddr, u8),
}

impl Rule {
    /// Reads an entry.
    ///
    /// # Errors
    /// A message that says what would be right.
    pub fn parse(text: &str) -> Result<Rule, String> {
        let (denies, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.contains("://") || rest == "*" {
            return Err(format!("{text:?} must be a name, *.name, an address or a network, maybe with :port"));
        }
        let (target, port) = split_port(rest)?;
        let target = match target.strip_prefix("*.") {
            Some(parent) => match Host::parse(parent)? {
                Host::Name(name) => Target::Below(name),
                Host::Address(_) => return Err(format!("{text:?}: there are no names below an address")),
            },
            None => network(target)?,
        };
        Ok(Rule { denies, target, port })
    }

    /// Whether it is about this name.
    pub(super) fn names(&self, name: &str, port: u16) -> bool {
        self.port_fits(port)
            && match &self.target {
                Target::Name(known) => known == name,
                Target::Below(parent) => is_below(name, parent),
                Target::Net(..) => false,
            }
    }

    /// Whether it is about this address, which must be canonical.
    pub(super) fn holds(&self, address: IpAddr, port: u16) -> bool {
        self.port_fits(port)
            && match &self.target {
                Target::Name(_) | Target::Below(_) => false,
                Target::Net(base, length) => masked(address, *length) == Some(*base),
            }
    }

    /// Whether everything that the other one is about is something that this one is about.
    pub(super) fn covers(&self, other: &Rule) -> bool {
        let port = self.port.is_none() || self.port == other.port;
        port && match (&self.target, &other.target) {
            (Target::Name(own), Target::Name(name)) => own == name,
            (Target::Below(parent), Target::Name(name)) => is_below(name, parent),
            (Target::Below(parent), Target::Below(name)) => name == parent || is_below(name, parent),
            (Target::Net(base, length), Target::Net(inner, inner_length)) => {
                length <= inner_length && masked(*inner, *length) == Some(*base)
            }
            (Target::Name(_) | Target::Below(_) | Target::Net(..), _) => false,
        }
    }

    fn port_fits(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.denies {
            f.write_str("!")?;
        }
        match &self.target {
            Target::Name(name) => f.write_str(name)?,
            Target::Below(parent) => write!(f, "*.{parent}")?,
            Target::Net(base, length) => {
                let whole = *length == bits(*base);
                match (base.is_ipv6() && self.port.is_some(), whole) {
                    (true, true) => write!(f, "[{base}]")?,
                    (true, false) => write!(f, "[{base}/{length}]")?,
                    (false, true) => base.fmt(f)?,
                    (false, false) => write!(f, "{base}/{length}")?,
                }
            }
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let Some((front, port)) = text.rsplit_once(':') else { return Ok((text, None)) };
    // IPv6 without brackets has no port.
    if front.contains(':') && !front.ends_with(']') || text.ends_with(']') {
        return Ok((text, None));
    }
    match port.parse::<u16>() {
        Ok(number) if number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((front, Some(number))),
        Ok(_) | Err(_) => Err(format!("{text:?}: {port:?} is not a port (1 to 65535)")),
    }
}

fn network(text: &str) -> Result<Target, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let Some((base, length)) = bare.split_once('/') else {
        return Ok(match Host::parse(text)? {
            Host::Name(name) => Target::Name(name),
            Host::Address(address) => Target::Net(address, bits(address)),
        });
    };
    let bad = || format!("{text:?} is not a network; write for example 10.0.0.0/8 or fd00::/8");
    let base: IpAddr = base.parse().map_err(|_| bad())?;
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let mut length: u8 = length.parse().map_err(|_| bad())?;
    if length > bits(base) {
        return Err(bad());
    }
    let canonical = host::canonical(base);
    if canonical.is_ipv4() && base.is_ipv6() {
        length = length.checked_sub(96).ok_or_else(bad)?;
    }
    match masked(canonical, length) {
        Some(masked) if masked == canonical => Ok(Target::Net(masked, length)),
        Some(masked) => Err(format!("{text:?} has bits behind its prefix; did you mean {masked}/{length}?")),
        None => Err(bad()),
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits behind the prefix cleared; nothing when the prefix is longer than the address.
fn masked(address: IpAddr, length: u8) -> Option<IpAddr> {
    let rest = u32::from(bits(address).checked_sub(length)?);
    Some(match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> Rule {
        Rule::parse(text).unwrap_or_else(|problem| panic!("{problem}"))
    }

    #[test]
    fn entries_have_one_form() {
        for (text, form) in [
            ("Example.COM.", "example.com"),
            ("*.Example.com:8443", "*.example.com:8443"),
            ("!ads.example.com", "!ads.example.com"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:80", "[::1]:80"),
            ("fd00::/8", "fd00::/8"),
            ("[FD00::/8]:80", "[fd00::/8]:80"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("!::/0", "!::/0"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(rule(text).to_string(), form, "{text}");
        }
        for bad in [
            "",
            "*",
            "!",
            "*.",
            "*.*.com",
            "a.*.com",
            "http://a",
            "a/b",
            "a:0",
            "a:99999",
            "a:+1",
            "a:",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10/8",
            "*.10.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "bücher.example",
            "a b",
            "::ffff:0:0/90",
            "fd00::/+8",
            "[a]",
            "!!a",
        ] {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_an_entry_is_about() {
        for (text, name, port, expected) in [
            ("example.com", "example.com", 80, true),
            ("example.com", "www.example.com", 80, false),
            ("*.example.com", "example.com", 80, false),
            ("*.example.com", "a.b.example.com", 80, true),
            ("*.example.com", "badexample.com", 80, false),
            ("*.example.com", ".example.com", 80, false),
            ("example.com:443", "example.com", 443, true),
            ("example.com:443", "example.com", 80, false),
            ("0.0.0.0/0", "example.com", 80, false),
        ] {
            assert_eq!(rule(text).names(name, port), expected, "{text} {name}:{port}");
        }
        for (text, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "8.8.8.8", false),
            ("fd00::/8", "fdff::1", true),
            ("::1", "::1", true),
            ("example.com", "8.8.8.8", false),
        ] {
            assert_eq!(rule(text).holds(address.parse().expect(address), 80), expected, "{text} {address}");
        }
    }

    #[test]
    fn covering() {
        for (wide, narrow, expected) in [
            ("a.com", "a.com:80", true),
            ("a.com:80", "a.com", false),
            ("*.a.com", "b.a.com", true),
            ("*.a.com", "*.b.a.com", true),
            ("*.a.com", "*.a.com", true),
            ("*.a.com", "a.com", false),
            ("a.com", "*.a.com", false),
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.1.2.3:80", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("0.0.0.0/0", "a.com", false),
        ] {
            assert_eq!(rule(wide).covers(&rule(narrow)), expected, "{wide} {narrow}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_the_form_is_stable(text in "!?[a-z0-9.:*/\\[\\]é_-]{0,24}") {
            if let Ok(rule) = Rule::parse(&text) {
                prop_assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
            }
        }

        #[test]
        fn what_is_covered_is_allowed(bits in any::<u32>(), wide in 0_u8..=32, narrow in 0_u8..=32) {
            let net = |length: u8| Rule { denies: false, target: Target::Net(masked(IpAddr::V4(bits.into()), length).unwrap(), length), port: None };
            prop_assert_eq!(net(wide).covers(&net(narrow)), wide <= narrow);
            prop_assert!(net(wide).holds(IpAddr::V4(bits.into()), 1));
        }
    }
}
