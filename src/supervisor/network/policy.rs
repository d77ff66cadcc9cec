//! Which destinations are free, counted, forbidden, or the proxy. Pure.

use crate::supervisor::protocol::NetworkRules;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const DNS: u16 = 53;

/// What a destination is to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// not a network request
    Free,
    /// one request
    Counted,
    /// refused whatever is left
    Forbidden,
    /// the execution's own door to the egress proxy, which counts by itself
    Proxy,
}

/// Loopback as the kernel routes it: the unspecified address means this host.
pub(super) fn is_loopback(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

/// The kernel takes the unspecified address for the loopback address.
fn this_host_by_name(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

fn has_loopback_resolver(rules: &NetworkRules) -> bool {
    rules.resolvers.iter().any(|resolver| is_loopback(*resolver))
}

/// Judges a destination. `is_local` tells whether an address is one of this host's; it is asked only for the daemon's ports.
///
/// With a proxy the resolvers are out of reach too: a name to look up carries as much as a request does. A resolver on a loopback
/// address of its own (Docker's 127.0.0.11) listens on other ports than 53 behind a redirection, so all of it is out of reach.
pub(super) fn judge(
    rules: &NetworkRules,
    proxy_port: Option<u16>,
    to: SocketAddr,
    udp: bool,
    is_local: impl FnOnce(SocketAddr) -> bool,
) -> Judgement {
    let ip = this_host_by_name(to.ip().to_canonical());
    let loopback = is_loopback(ip);
    if !udp && rules.control_ports.contains(&to.port()) && (loopback || is_local(to)) {
        let counts = rules.control_guarded && !rules.proxied;
        return if counts { Judgement::Counted } else { Judgement::Forbidden };
    }
    let resolver = rules.resolvers.iter().any(|resolver| resolver.to_canonical() == ip);
    if rules.proxied && to.ip().to_canonical() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && has_loopback_resolver(rules) {
        // On a socket that is bound, the kernel takes this for the socket's own address, a resolver's for instance.
        return Judgement::Forbidden;
    }
    if rules.proxied {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let shared = ip == host || !loopback || ip.is_ipv6();
        return match (loopback, resolver && (to.port() == DNS || !shared)) {
            (true, false) if !udp && ip == host && proxy_port == Some(to.port()) => Judgement::Proxy,
            (true, false) => Judgement::Free,
            (true, true) | (false, _) => Judgement::Forbidden,
        };
    }
    if loopback || (resolver && to.port() == DNS) { Judgement::Free } else { Judgement::Counted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(proxied: bool, guarded: bool) -> NetworkRules {
        NetworkRules {
            proxied,
            control_ports: vec![44772],
            control_guarded: guarded,
            resolvers: vec!["10.0.0.2".parse().unwrap(), "127.0.0.11".parse().unwrap(), "127.0.0.1".parse().unwrap()],
            ..NetworkRules::default()
        }
    }

    #[test]
    fn destinations_are_judged() {
        use Judgement::{Counted, Forbidden, Free, Proxy};
        // destination, udp, without a proxy, with one at port 4000
        let cases = [
            ("127.0.0.1:80", false, Free, Free),
            ("127.8.8.8:80", true, Free, Free),
            ("[::1]:80", false, Free, Free),
            ("[::]:80", false, Free, Free),
            ("0.0.0.0:80", false, Free, Forbidden),
            ("[::ffff:127.0.0.1]:80", false, Free, Free),
            ("127.0.0.1:4000", false, Free, Proxy),
            ("0.0.0.0:4000", false, Free, Forbidden),
            ("[::ffff:0.0.0.0]:80", false, Free, Forbidden),
            ("0.0.0.0:53", true, Free, Forbidden),
            ("127.0.0.1:4000", true, Free, Free),
            ("127.0.0.2:4000", false, Free, Free),
            ("203.0.113.1:443", false, Counted, Forbidden),
            ("203.0.113.1:53", true, Counted, Forbidden),
            ("[2001:db8::1]:443", false, Counted, Forbidden),
            ("10.0.0.2:53", true, Free, Forbidden),
            ("10.0.0.2:53", false, Free, Forbidden),
            ("10.0.0.2:443", false, Counted, Forbidden),
            ("127.0.0.11:53", true, Free, Forbidden),
            ("127.0.0.11:40123", true, Free, Forbidden),
            ("127.0.0.1:53", true, Free, Forbidden),
            ("127.0.0.1:44772", false, Forbidden, Forbidden),
            ("[::1]:44772", false, Forbidden, Forbidden),
            ("0.0.0.0:44772", false, Forbidden, Forbidden),
            ("192.0.2.9:44772", false, Forbidden, Forbidden), // an address of ours
            ("203.0.113.1:44772", false, Counted, Forbidden), // somebody else's daemon
        ];
        let local = |to: SocketAddr| to.ip() == "192.0.2.9".parse::<IpAddr>().unwrap();
        for (to, udp, plain, proxied) in cases {
            let to: SocketAddr = to.parse().unwrap();
            assert_eq!(judge(&rules(false, false), None, to, udp, local), plain, "{to}");
            assert_eq!(judge(&rules(true, false), Some(4000), to, udp, local), proxied, "{to} with a proxy");
        }
    }

    #[test]
    fn this_host_is_within_reach_where_no_resolver_is_on_it() {
        let rules = NetworkRules { resolvers: vec!["10.0.0.2".parse().unwrap()], ..rules(true, false) };
        let judge = |to: &str| judge(&rules, Some(4000), to.parse().unwrap(), false, |_| false);
        assert_eq!((judge("0.0.0.0:80"), judge("[::]:80")), (Judgement::Free, Judgement::Free));
        assert_eq!(judge("0.0.0.0:4000"), Judgement::Proxy);
    }

    #[test]
    fn a_guarded_control_port_is_never_free() {
        for to in ["127.0.0.1:44772", "[::1]:44772", "192.0.2.9:44772"] {
            let to = to.parse().unwrap();
            assert_eq!(judge(&rules(false, true), None, to, false, |_| true), Judgement::Counted, "{to}");
            assert_eq!(judge(&rules(true, true), Some(1), to, false, |_| true), Judgement::Forbidden, "{to}");
        }
    }
}
