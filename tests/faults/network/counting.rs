//! Exactly N of N + k are let through: said by the program, counted by the daemon, seen by the peer.

use super::{OVER, native, only_made_sockets, program, run, tally};
use crate::support::network::{self, ECHO, ECHO_MAPPED, ECHO_V6, REFUSED, RESOLVER};
use crate::support::{Daemon, Start, World};

/// Let through and tried.
const LIMIT: u64 = 7;
const TRIED: u64 = 20;
/// A first address for rows in which every contact needs another one.
const MANY: &str = "203.0.113.100:7";
const MANY_V6: &str = "[2001:db8:1::50]:7";
const MANY_MAPPED: &str = "[::ffff:203.0.113.100]:7";

fn contacts(way: &str, mode: &str, addr: &str, step: bool) -> Start {
    program(&["contact", way, &TRIED.to_string(), mode, addr, if step { "1" } else { "0" }])
}

/// TCP: every attempt costs one, also to the same address again.
fn exactly_the_limit_of_streams(way: &str, mode: &str, addr: &str) {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = contacts(way, mode, addr, false);
        let bare = run(network, &daemon, &native(&start));
        assert_eq!((&bare.said["errnos"], bare.seen.tcp), (&tally(TRIED, 0, 0), TRIED), "{way}: {:?}", bare.seen);
        assert_eq!(bare.requests().unwrap_or(0), 0, "nothing is counted without a gate");
        let gated = run(network, &daemon, &start.limit("network_requests", LIMIT));
        assert_eq!(gated.said["errnos"], tally(LIMIT, OVER, TRIED - LIMIT), "{way} {mode} {addr}");
        assert_eq!((gated.seen.tcp, gated.seen.total()), (LIMIT, LIMIT), "{way} {mode} {addr}: {:?}", gated.seen);
        gated.must_count(LIMIT, TRIED - LIMIT);
    });
}

/// UDP: every new address costs one; `sends` is how many datagrams one contact is.
fn exactly_the_limit_of_datagrams(way: &str, mode: &str, addr: &str, sends: u64) {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = contacts(way, mode, addr, true);
        let bare = run(network, &daemon, &native(&start));
        assert_eq!(
            (&bare.said["errnos"], bare.seen.udp),
            (&tally(TRIED, 0, 0), TRIED * sends),
            "{way}: {:?}",
            bare.seen
        );
        let gated = run(network, &daemon, &start.limit("network_requests", LIMIT));
        assert_eq!(gated.said["errnos"], tally(LIMIT, OVER, TRIED - LIMIT), "{way} {mode} {addr}");
        let total = gated.seen.total();
        assert_eq!((gated.seen.udp, total), (LIMIT * sends, LIMIT * sends), "{way} {mode} {addr}: {:?}", gated.seen);
        gated.must_count(LIMIT, TRIED - LIMIT);
    });
}

macro_rules! rows {
    ($check:ident: $($name:ident($($argument:expr),+);)+) => {
        $(#[test] fn $name() { $check($($argument),+); })+
    };
}

rows! { exactly_the_limit_of_streams:
    connects_one_after_another("tcp", "seq", ECHO);
    connects_of_sixteen_forks("tcp", "forks", ECHO);
    connects_of_sixteen_threads("tcp", "threads", ECHO);
    connects_over_ipv6("tcp", "seq", ECHO_V6);
    connects_over_ipv6_of_threads("tcp", "threads", ECHO_V6);
    connects_to_a_mapped_address("tcp", "seq", ECHO_MAPPED);
    connects_without_blocking("tcp-nonblocking", "seq", ECHO);
    connects_without_blocking_of_threads("tcp-nonblocking", "threads", ECHO);
    connects_without_blocking_over_ipv6("tcp-nonblocking", "seq", ECHO_V6);
    fast_open_by_sendto("tfo-sendto", "seq", ECHO);
    fast_open_by_sendto_of_forks("tfo-sendto", "forks", ECHO);
    fast_open_by_sendto_over_ipv6("tfo-sendto", "seq", ECHO_V6);
    fast_open_by_sendmsg("tfo-sendmsg", "seq", ECHO);
    fast_open_by_sendmsg_of_threads("tfo-sendmsg", "threads", ECHO);
    fast_open_by_sendmmsg("tfo-sendmmsg", "seq", ECHO);
    fast_open_by_connect("tfo-connect", "seq", ECHO);
    fast_open_by_connect_over_ipv6("tfo-connect", "seq", ECHO_V6);
    connects_to_a_port_53_that_is_no_resolver("tcp", "seq", "203.0.113.1:53");
}

#[test]
fn connects_on_a_socket_that_was_free_before() {
    if !only_made_sockets() {
        return exactly_the_limit_of_streams("tcp-after-unspec", "seq", ECHO);
    }
    network::inside(|network| {
        // The association with the free address cannot be dissolved, so it leads nowhere else.
        let gated = run(network, &Daemon::own(&[]), &contacts("tcp-after-unspec", "seq", ECHO, false));
        assert_eq!((gated.said["errnos"]["0"].as_u64(), gated.seen.total()), (None, 0), "{:?}", gated.seen);
    });
}

rows! { exactly_the_limit_of_datagrams:
    datagrams_by_send("udp-connect-send", "seq", MANY, 1);
    datagrams_by_sendto("udp-sendto", "seq", MANY, 1);
    datagrams_by_sendto_twice("udp-sendto-twice", "seq", MANY, 2);
    datagrams_by_sendto_of_forks("udp-sendto", "forks", MANY, 1);
    datagrams_by_sendto_of_threads("udp-sendto", "threads", MANY, 1);
    datagrams_by_sendto_over_ipv6("udp-sendto", "seq", MANY_V6, 1);
    datagrams_by_sendto_to_mapped_addresses("udp-sendto", "seq", MANY_MAPPED, 1);
    datagrams_by_sendmsg("udp-sendmsg", "seq", MANY, 1);
    datagrams_by_sendmsg_of_threads("udp-sendmsg", "threads", MANY, 1);
    datagrams_by_sendmsg_over_ipv6("udp-sendmsg", "seq", MANY_V6, 1);
    datagrams_by_sendmmsg("udp-sendmmsg", "seq", MANY, 1);
    datagrams_on_a_socket_connected_elsewhere("udp-connected-elsewhere", "seq", MANY, 1);
    contacts_by_connect_alone("udp-connect", "seq", MANY, 0);
    datagrams_to_other_ports_53("udp-sendto", "seq", "203.0.113.100:53", 1);
}

#[test]
fn many_messages_in_one_call_are_counted_one_by_one() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = program(&["contact", "udp-sendmmsg-eight", "1", "seq", MANY]);
        assert_eq!(run(network, &daemon, &native(&start)).seen.udp, 8);
        let gated = run(network, &daemon, &start.limit("network_requests", 5));
        assert_eq!(gated.seen.total(), 5, "{} {:?}", gated.said, gated.seen);
        assert_eq!(gated.requests(), Some(5));
        assert_eq!(gated.said["errnos"], serde_json::json!({"-5": 1}), "as the kernel: how many went out");
    });
}

#[test]
fn refused_attempts_cost_as_much() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = contacts("tcp", "seq", REFUSED, false);
        let gated = run(network, &daemon, &start.limit("network_requests", LIMIT));
        let refused = libc::ECONNREFUSED.to_string();
        assert_eq!(gated.said["errnos"][&refused], LIMIT, "{}", gated.said);
        gated.must_count(LIMIT, TRIED - LIMIT);
        assert_eq!(gated.seen.tcp, LIMIT);
    });
}

#[test]
fn no_requests_at_all_can_be_asked_for() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for (way, addr) in [("tcp", ECHO), ("udp-sendto", MANY), ("tfo-sendmsg", ECHO_V6)] {
            let gated = run(network, &daemon, &contacts(way, "seq", addr, true).limit("network_requests", 0));
            assert_eq!(gated.said["errnos"], tally(0, OVER, TRIED), "{way}");
            assert_eq!(gated.seen.total(), 0, "{way}: {:?}", gated.seen);
            gated.must_count(0, TRIED);
        }
    });
}

#[test]
fn what_is_free_costs_nothing() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = program(&["free", &format!("{RESOLVER}:53")]);
        let bare = run(network, &daemon, &native(&start));
        let gated = run(network, &daemon, &start.limit("network_requests", 0));
        assert_eq!(bare.said, gated.said);
        assert!(gated.said.as_object().unwrap().values().all(|errno| errno == 0), "{}", gated.said);
        gated.must_count(0, 0);
    });
}

#[test]
fn a_datagram_pays_for_the_next_connection_to_its_address() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        // Connections to one address, first alone, then with a resolution's probe before each.
        let alone = run(network, &daemon, &program(&["connect-each", ECHO, ECHO, ECHO]));
        alone.must_count(3, 0);
        let udp = run(network, &daemon, &program(&["sequence", "udp", ECHO]));
        // The echo's address and its neighbour.
        udp.must_count(2, 0);
        for (name, requests) in [("one.test", 1), ("both.test", 2), ("three.test", 3), ("six.test", 1)] {
            let resolved = run(network, &daemon, &program(&["resolve", name, "7"]));
            assert_eq!(resolved.said["errno"], 0, "{name}: {}", resolved.said);
            assert_eq!(resolved.seen.tcp, 1, "{name}: {:?}", resolved.seen);
            // Each address of the name was probed once, and the connection to the first of them is paid.
            assert_eq!(resolved.requests(), Some(requests), "{name}: {:#}", resolved.end.object);
        }
    });
}

#[test]
fn the_next_execution_starts_from_zero() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for _ in 0..5 {
            let gated = run(network, &daemon, &contacts("tcp", "seq", ECHO, false).limit("network_requests", 3));
            gated.must_count(3, TRIED - 3);
            assert_eq!(gated.seen.tcp, 3);
        }
    });
}

#[test]
fn executions_at_the_same_time_count_for_themselves() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let ids: Vec<String> = (1..=8)
            .map(|limit| daemon.start(&contacts("tcp", "threads", ECHO, false).limit("network_requests", limit)))
            .collect();
        for (id, limit) in ids.iter().zip(1u64..) {
            let end = daemon.wait(id, std::time::Duration::from_secs(30) * World::current().slowness());
            assert_eq!(
                (end.usage("network_requests"), end.usage("network_denied")),
                (Some(limit), Some(TRIED - limit))
            );
        }
        assert_eq!(network.seen().tcp, (1..=8).sum::<u64>());
    });
}
