//! Lists of domains: what is on them works through the proxy, all else is refused, and there is no way around.
//!
//! | way around | row |
//! |---|---|
//! | a client that knows no proxy; IPv6, UDP, fast open, another name server | `nothing_but_the_proxy_leads_out` |
//! | a name that leads to this machine, a private network or a metadata service; an address instead of a name | `names_lead_nowhere_else` |
//! | an allowed name in the target and another in Host | `one_name_is_asked_for_and_meant` |
//! | an allowed name in CONNECT and another in TLS | `egress::tls_goes_through_and_must_name_what_is_allowed` |
//! | the proxy of somebody else | `another_executions_proxy_serves_nobody_else` |
//! | the control port through the proxy | `the_control_port_is_no_destination` |

use super::{POLICY, program, run};
use crate::support::network::{self, Network, RESOLVER};
use crate::support::{Daemon, Start, wait_for};
use serde_json::json;
use std::time::Duration;

pub(super) fn get(url: &str) -> String {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    format!("GET {url} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n")
}

fn ask(domains: &[&str], request: &str) -> Start {
    program(&["ask", "env", request]).set("allowed_domains", json!(domains))
}

/// Status of the answer to one request, with what was counted: let through, over the limit, by the list.
fn status(network: &Network, daemon: &Daemon, start: &Start) -> (u64, [Option<u64>; 3]) {
    let outcome = run(network, daemon, start);
    let counted = ["network_requests", "network_denied", "network_denied_domain"].map(|key| outcome.end.usage(key));
    (outcome.said["status"].as_u64().unwrap(), counted)
}

const LET_THROUGH: [Option<u64>; 3] = [Some(1), Some(0), Some(0)];
const OVER_LIMIT: [Option<u64>; 3] = [Some(0), Some(1), Some(0)];
const BY_LIST: [Option<u64>; 3] = [Some(0), Some(0), Some(1)];

#[test]
fn what_is_on_the_list_works_and_the_rest_is_refused() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let list = ["public.test", "*.public.test:80", "!bad.public.test"];
        let on_the_list = ["http://public.test/", "http://PUBLIC.test./a?b", "http://www.public.test/"];
        for url in on_the_list {
            assert_eq!(status(network, &daemon, &ask(&list, &get(url))), (200, LET_THROUGH), "{url}");
            assert_eq!(network.seen().tcp, 1, "{url}");
        }
        let elsewhere = [
            "http://other.test/",
            "http://www.public.test:81/",
            "http://bad.public.test/",
            "http://notpublic.test/",
            "http://public.test.other.test/",
            "http://45.67.89.20/",
            "http://[2a12:3456:789a::21]/",
        ];
        for url in elsewhere {
            assert_eq!(status(network, &daemon, &ask(&list, &get(url))), (403, BY_LIST), "{url}");
            let seen = network.seen();
            assert_eq!((seen.total(), seen.resolver), (0, 0), "{url}: nothing is even looked up: {seen:?}");
        }
        let over = ask(&list, &get("http://public.test/")).limit("network_requests", 0);
        assert_eq!(status(network, &daemon, &over), (429, OVER_LIMIT));
        assert_eq!(network.seen().total(), 0);
    });
}

#[test]
fn refusals_are_problems_that_name_reason_limit_and_used() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for (limit, url, reason) in [(5, "http://other.test/", "domain"), (0, "http://public.test/", "network_limit")] {
            let start = ask(&["public.test"], &get(url)).limit("network_requests", limit);
            let outcome = run(network, &daemon, &start);
            let problem: serde_json::Value = serde_json::from_str(outcome.said["reply"].as_str().unwrap()).unwrap();
            assert_eq!(problem["reason"], reason, "{problem}");
            assert_eq!((&problem["limit"], &problem["used"]), (&json!(limit), &json!(0)), "{problem}");
        }
    });
}

#[test]
fn tunnels_carry_whatever_is_put_in() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let tunnel = |to: &str| {
            let request = format!("CONNECT {to} HTTP/1.1\\r\\nHost: {to}\\r\\n\\r\\n");
            program(&["ask", "env", &request, "hello"])
                .set("allowed_domains", json!(["public.test:7", "public.test:443"]))
        };
        let outcome = run(network, &daemon, &tunnel("public.test:7"));
        assert_eq!(
            (&outcome.said["status"], &outcome.said["reply"]),
            (&json!(200), &json!("hello")),
            "{}",
            outcome.said
        );
        outcome.must_count(1, 0);
        assert_eq!(outcome.end.usage("network_bytes_out"), Some(5), "{:#}", outcome.end.object);
        assert_eq!(outcome.end.usage("network_bytes_in"), Some(5));
        for to in ["public.test:80", "other.test:7", "45.67.89.20:7", "127.0.0.1:7", "[::1]:7"] {
            assert_eq!(status(network, &daemon, &tunnel(to)), (403, BY_LIST), "{to}");
            assert_eq!(network.seen().total(), 0, "{to}");
        }
    });
}

#[test]
fn names_lead_nowhere_else() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let port = daemon.client.addr.port();
        let names = ["loopback", "loopback6", "private", "metadata", "mapped", "unspecified"];
        for url in names.map(|name| format!("http://{name}.test:{port}/v1/executions")) {
            let (said, counted) = status(network, &daemon, &ask(&["*.test"], &get(&url)));
            assert_eq!(said, 403, "{url}");
            assert_eq!(counted[2], Some(1), "{url}: {counted:?}");
            assert_eq!(network.seen().total(), 0, "{url}");
        }
        // Of a name with a good and a bad address the bad one is never taken.
        assert_ne!(
            status(network, &daemon, &ask(&["*.test"], &get(&format!("http://mixed-public.test:{port}/")))).0,
            200
        );
        for address in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f000001", "2130706433", "127.1"] {
            let url = format!("http://{address}:{port}/v1/executions");
            let (said, _) = status(network, &daemon, &ask(&["*.test"], &get(&url)));
            assert!((400..500).contains(&said), "{url}: {said}");
        }
    });
}

#[test]
fn the_control_port_is_no_destination() {
    network::inside(|network| {
        let daemon = super::control::daemon_on_all_addresses(&[]);
        let port = daemon.client.addr.port();
        // Even where somebody put these addresses on the list.
        let list = ["127.0.0.0/8", "loopback.test", network::BOX_V4];
        for host in ["127.0.0.1", "127.3.2.1", "loopback.test", network::BOX_V4] {
            let url = format!("http://{host}:{port}/health");
            let (said, _) = status(network, &daemon, &ask(&list, &get(&url)));
            assert_eq!(said, 403, "{url}");
        }
    });
}

#[test]
fn one_name_is_asked_for_and_meant() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for request in [
            "GET http://public.test/echo HTTP/1.1\\r\\nHost: other.test\\r\\nConnection: close\\r\\n\\r\\n",
            "GET http://public.test/echo HTTP/1.1\\r\\nHost: public.test\\r\\nHost: other.test\\r\\n\\r\\n",
            "GET / HTTP/1.1\\r\\nHost: other.test\\r\\n\\r\\n",
            "GET http://public.test@other.test/ HTTP/1.1\\r\\nHost: public.test\\r\\n\\r\\n",
            "CONNECT public.test HTTP/1.1\\r\\nHost: public.test\\r\\n\\r\\n",
        ] {
            let outcome = run(network, &daemon, &ask(&["public.test"], request));
            println!("{request}: {}", outcome.said);
            assert_eq!(outcome.seen.at("tcp 45.67.89.30:80"), 0, "{request}");
            // Either it is refused, or what goes out names only the host that was judged.
            if outcome.said["status"] == 200 {
                let arrived = outcome.said["reply"].as_str().unwrap().to_ascii_lowercase();
                assert!(
                    arrived.contains("host: public.test") && !arrived.contains("other.test"),
                    "{request}: {arrived}"
                );
            }
        }
    });
}

#[test]
fn a_kept_connection_counts_each_request() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let one = "GET http://public.test/ HTTP/1.1\\r\\nHost: public.test\\r\\n\\r\\n";
        let last = get("http://public.test/");
        let outcome = run(network, &daemon, &ask(&["public.test"], &format!("{one}{one}{last}")));
        outcome.must_count(3, 0);
        let outcome =
            run(network, &daemon, &ask(&["public.test"], &format!("{one}{one}{last}")).limit("network_requests", 2));
        outcome.must_count(2, 1);
        assert!(outcome.said["reply"].as_str().unwrap().contains("HTTP/1.1 429"), "{}", outcome.said);
    });
}

#[test]
fn nothing_but_the_proxy_leads_out() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let with_list = |start: Start| start.set("allowed_domains", json!(["public.test"]));
        for (way, addr) in [
            ("tcp", "45.67.89.20:80"),
            ("tcp", "203.0.113.1:7"),
            ("tcp", "[2001:db8:1::1]:7"),
            ("tcp-nonblocking", "[::ffff:45.67.89.20]:80"),
            ("tfo-sendto", "45.67.89.20:80"),
            ("tfo-sendmsg", "45.67.89.20:80"),
            ("tfo-connect", "45.67.89.20:80"),
            ("udp-sendto", "45.67.89.20:53"),
            ("udp-sendmmsg", "45.67.89.20:443"),
            ("udp-connect-send", "[2001:db8:1::1]:7"),
        ] {
            let outcome = run(network, &daemon, &with_list(program(&["contact", way, "3", "seq", addr])));
            assert_eq!(outcome.said["errnos"][POLICY.to_string()], 3, "{way} {addr}: {}", outcome.said);
            assert_eq!(outcome.seen.total(), 0, "{way} {addr}: {:?}", outcome.seen);
            outcome.must_count(0, 0);
            assert_eq!(outcome.end.usage("network_denied_domain"), Some(3), "{way} {addr}");
        }
        // A question to a name server carries as much as a request does.
        let resolver = format!("{RESOLVER}:53");
        for way in ["udp-sendto", "tcp"] {
            let outcome = run(network, &daemon, &with_list(program(&["contact", way, "3", "seq", &resolver])));
            assert_eq!(outcome.said["errnos"][POLICY.to_string()], 3, "{way}: {}", outcome.said);
            assert_eq!(outcome.seen.resolver, 0, "{way}");
        }
    });
}

#[test]
fn another_executions_proxy_serves_nobody_else() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let owner = daemon
            .start(&Start::shell("echo $http_proxy; exec sleep 60").set("allowed_domains", json!(["public.test"])));
        let said = wait_for(Duration::from_secs(10), || {
            let text = String::from_utf8(daemon.output(&owner, "stdout")).unwrap();
            text.ends_with('\n').then_some(text)
        });
        let proxy = said.expect("the owner's proxy").trim().trim_start_matches("http://").to_owned();
        let request = get("http://public.test/");
        for domains in [None, Some(json!([])), Some(json!(["other.test"]))] {
            let start = program(&["ask", &proxy, &request]).limit("network_requests", 0);
            let start = domains.iter().fold(start, |start, list| start.set("allowed_domains", list.clone()));
            let outcome = run(network, &daemon, &start);
            assert_eq!(outcome.said["status"], 0, "{domains:?}: {}", outcome.said);
            assert_eq!(outcome.seen.total(), 0, "{domains:?}: {:?}", outcome.seen);
        }
        // Nor does an ungated neighbour spend somebody else's requests.
        let outcome = run(network, &daemon, &super::native(&program(&["ask", &proxy, &request])));
        assert_eq!((&outcome.said["status"], outcome.seen.total()), (&json!(0), 0), "{}", outcome.said);
        assert_eq!(daemon.get(&owner)["usage"]["network_requests"].as_u64().unwrap_or(0), 0);
        daemon.cancel(&owner);
        daemon.wait(&owner, Duration::from_secs(10));
    });
}
