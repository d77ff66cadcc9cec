//! Each known way around the gate, and that it fails.
//!
//! | way | row |
//! |---|---|
//! | another system call: sendto, sendmsg, sendmmsg, fast open | `counting` |
//! | a fork, a thread, IPv6, a mapped address | `counting` |
//! | a message or address changed after the look, a descriptor exchanged | `races` |
//! | `int 0x80` (connect, socketcall, sendto) and x32 | `calls_by_another_entry_are_killed` |
//! | io_uring | `rings_are_refused` |
//! | raw, packet and foreign address families (vsock, AF_ALG, tipc, …), ping sockets, UDP-Lite, SCTP, SMC | `other_sockets_are_refused` |
//! | MPTCP | `multipath_is_counted_or_refused` |
//! | an address that is read as another family, or not where the packet goes (source routes, segments) | `crooked_addresses_count_as_what_they_reach` |
//! | a socket passed by another execution or by an ungated process | `sockets_made_by_others_are_counted` |
//! | a socket inherited as standard input | `a_socket_as_standard_input_is_not_handed_on` |
//! | a connected socket that lets go of a free peer and takes another | `counting::connects_on_a_socket_that_was_free_before` |
//! | memory that the supervisor may not read | `a_process_that_hides_its_memory_gains_nothing` |
//! | a port 53 that is not the resolver's | `counting::connects_to_a_port_53_that_is_no_resolver` |
//! | a new network namespace, a new user namespace | `a_namespace_of_its_own_leads_nowhere` |
//! | killing the supervisor | `slow::a_killed_supervisor_lets_nothing_out` |

use super::{OVER, POLICY, native, only_made_sockets, program, run, tally};
use crate::support::network::{self, ECHO, ECHO_V6};
use crate::support::{Daemon, Start, World, wait_for, world};
use serde_json::Value;
use std::time::Duration;

#[test]
fn calls_by_another_entry_are_killed() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for (way, addr) in [
            ("i386-connect", ECHO),
            ("i386-connect", ECHO_V6),
            ("i386-socketcall", ECHO),
            ("i386-sendto", ECHO),
            ("x32-connect", ECHO),
            ("x32-sendto", ECHO),
        ] {
            let start = program(&["contact", way, "3", "seq", addr]).limit("network_requests", 0);
            let end = daemon.run(&start);
            assert_eq!(end.object["signal"], "SIGSYS", "{way}: {:#}", end.object);
            assert_eq!(network.seen().total(), 0, "{way}: {:?}", network.seen());
        }
    });
}

#[test]
fn rings_are_refused() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for way in ["uring-connect", "uring-sendmsg"] {
            let start = program(&["contact", way, "3", "seq", ECHO]);
            let gated = run(network, &daemon, &start);
            assert_eq!(gated.said["errnos"], tally(0, libc::ENOSYS, 3), "{way}");
            assert_eq!(gated.seen.total(), 0, "{way}: {:?}", gated.seen);
        }
    });
}

/// Families that stay; everything else is refused with EAFNOSUPPORT, as a kernel without them does.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

#[test]
fn other_sockets_are_refused() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = program(&["families"]);
        let bare = run(network, &daemon, &native(&start)).said;
        let gated = run(network, &daemon, &start).said;
        println!("bare  {bare}\ngated {gated}");
        for family in 0..48 {
            let said = gated[family.to_string()].as_i64().unwrap() as i32;
            if FAMILIES.contains(&family) {
                assert_eq!(said, 0, "family {family}");
            } else {
                assert!([libc::EAFNOSUPPORT, libc::EPERM, libc::EACCES].contains(&said), "family {family}: {said}");
            }
        }
        for family in ["inet", "inet6"] {
            for kind in ["stream", "datagram"] {
                assert_eq!(gated[format!("{family} {kind}")], 0, "{family} {kind}");
            }
            let others =
                ["raw", "raw udp", "raw with flags", "packet", "icmp", "sctp", "sctp seqpacket", "dccp", "l2tp", "smc"];
            for kind in others {
                assert_ne!(gated[format!("{family} {kind}")], 0, "{family} {kind} can be had");
            }
        }
    });
}

#[test]
fn multipath_is_counted_or_refused() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for way in ["tcp-by-mptcp", "udplite", "ping"] {
            let start = program(&["contact", way, "8", "seq", ECHO]).limit("network_requests", 3);
            let gated = run(network, &daemon, &start);
            assert!(gated.seen.total() <= 3, "{way}: {:?} {}", gated.seen, gated.said);
            assert!(gated.seen.total() <= gated.requests().unwrap(), "{way}: {:#}", gated.end.object);
        }
    });
}

#[test]
fn crooked_addresses_count_as_what_they_reach() {
    const TO: &str = "203.0.113.100:7";
    const TO_V6: &str = "[2001:db8:1::50]:7";
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let mut through = Vec::new();
        for (way, addr) in [
            ("unspec-sendto", TO),
            ("unspec-sendmsg", TO),
            ("inet-on-inet6-sendto", TO),
            ("inet-on-inet6-sendmsg", TO),
            ("inet-on-inet6-connect", TO),
            ("source-route-sendto", TO),
            ("source-route-message", TO),
            ("source-route-tcp", TO),
            ("segments-sendto", TO_V6),
            ("segments-tcp", TO_V6),
        ] {
            let start = program(&["contact", way, "8", "seq", addr, "1"]);
            let bare = run(network, &daemon, &native(&start));
            let gated = run(network, &daemon, &start.limit("network_requests", 3));
            println!("{way}: bare {} {}; gated {} {}", bare.said, bare.seen.total(), gated.said, gated.seen.total());
            // Detours take a capability that nobody has in the locked container.
            let works = bare.seen.total() > 0 || World::current() == World::DockerLocked;
            assert!(works, "{way} does not work even without a gate: {} {:?}", bare.said, bare.seen);
            if gated.seen.total() > gated.requests().unwrap().min(3) {
                through.push(format!("{way}: {} arrived, {:?} counted", gated.seen.total(), gated.requests()));
            }
        }
        assert_eq!(through, Vec::<String>::new());
    });
}

/// Takes sockets from whoever gives them at `path`: they count like its own, or are of no use.
fn take(network: &network::Network, daemon: &Daemon, path: &str, addr: &str) {
    let start = program(&["take", path, addr, "5"]).limit("network_requests", 4);
    let gated = run(network, daemon, &start);
    if only_made_sockets() {
        assert_eq!((&gated.said["tcp"], &gated.said["udp"]), (&tally(0, POLICY, 5), &tally(0, POLICY, 5)), "{addr}");
        assert_eq!(gated.seen.total(), 0, "{:?}", gated.seen);
        return;
    }
    // Five connections are asked for, then five datagrams to other addresses.
    assert_eq!(gated.said["tcp"], tally(4, OVER, 1), "{addr}");
    assert_eq!(gated.said["udp"], tally(0, OVER, 5), "{addr}");
    assert_eq!((gated.seen.tcp, gated.seen.udp), (4, 0), "{:?}", gated.seen);
    gated.must_count(4, 6);
    let gated = run(network, daemon, &program(&["take", path, addr, "5"]).limit("network_requests", 8));
    assert_eq!((gated.seen.tcp, gated.seen.udp), (5, 3), "{:?}", gated.seen);
    gated.must_count(8, 2);
}

#[test]
fn sockets_made_by_others_are_counted() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for (number, kind) in ["DEFAULT", "VALIDATION"].into_iter().enumerate() {
            for (other, addr) in [ECHO, ECHO_V6].into_iter().enumerate() {
                let path = network.scratch.path().join(format!("giver-{number}-{other}")).display().to_string();
                let giver = daemon.start(&program(&["give", &path, addr]).set("agent_type", kind));
                let ready =
                    wait_for(Duration::from_secs(5), || (!daemon.output(&giver, "stdout").is_empty()).then_some(()));
                assert!(ready.is_some(), "the giver is not there: {}", daemon.get(&giver));
                take(network, &daemon, &path, addr);
                daemon.cancel(&giver);
                daemon.wait(&giver, Duration::from_secs(10));
            }
        }
    });
}

#[test]
fn a_socket_as_standard_input_is_not_handed_on() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    network::inside(|network| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let mut command = std::process::Command::new(world::execd());
        command.args(["run", "--agent-type", "VALIDATION", "--network-requests", "0", "--"]);
        command.arg(world::workload()).args(["net", "stdin", ECHO]).stdin(socket);
        let out = command.output().unwrap();
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
        assert_eq!(said["errnos"], tally(0, libc::ENOTSOCK, 1), "a pipe, whatever execd itself was given");
        assert_eq!(network.seen().total(), 0);
    });
}

#[test]
fn a_process_that_hides_its_memory_gains_nothing() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = program(&["hidden", ECHO, "5"]).limit("network_requests", 3);
        let gated = run(network, &daemon, &start);
        hidden_gained_nothing(&gated.said, gated.seen.total(), gated.requests());
    });
}

#[test]
fn a_program_that_cannot_be_read_gains_nothing() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let copy = network.scratch.path().join("unreadable");
        std::fs::copy(world::workload(), &copy).unwrap();
        std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o111)).unwrap();
        let mut start = program(&["hidden", ECHO, "5", &copy.display().to_string()]).limit("network_requests", 3);
        // Root reads everything; somebody else is whom this is about.
        if world::is_root() && World::current() != World::Docker {
            std::fs::set_permissions(network.scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            start = start.set("uid", 1234).set("gid", 1234);
        }
        let gated = run(network, &daemon, &start);
        hidden_gained_nothing(&gated.said, gated.seen.total(), gated.requests());
    });
}

/// Where the supervisor may read everything it serves and counts as always; otherwise it refuses.
fn hidden_gained_nothing(said: &Value, seen: u64, requests: Option<u64>) {
    assert_eq!(said["hidden"], true, "{said}");
    let let_through = said["errnos"]["0"].as_u64().unwrap_or(0);
    assert!(let_through <= 3 && seen <= 3, "{said}, {seen} seen");
    assert_eq!((seen, requests), (let_through, Some(let_through)), "{said}");
    println!("hidden: {said}");
}

#[test]
fn a_namespace_of_its_own_leads_nowhere() {
    if world::which("unshare").is_none() {
        return;
    }
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let workload = world::workload().display().to_string();
        for flags in ["--net", "--user --map-root-user --net"] {
            let line = format!("unshare {flags} {workload} net connect-each {ECHO} || true");
            let end = daemon.run(&Start::shell(&line).limit("network_requests", 0));
            end.must_end("completed", "exit");
            assert_eq!(network.seen().total(), 0, "{flags}");
        }
    });
}
