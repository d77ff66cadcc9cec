//! What a caller can change while it is being decided about: thousands of rounds, and nothing gets elsewhere.

use super::{native, only_made_sockets, program, run};
use crate::support::network::{self, ECHO, ECHO_V6};
use crate::support::{Daemon, Start, World};

/// Over IPv6 a quarter. Fewer where everything is slower.
const ROUNDS: u64 = 20_000;

pub(super) fn rounds() -> String {
    let part = if World::current() == World::Here { 1 } else { 16 };
    (ROUNDS / part).to_string()
}

fn fewer_rounds() -> String {
    (ROUNDS / if World::current() == World::Here { 4 } else { 16 }).to_string()
}

/// With no request allowed, nothing may reach the peer; without a gate the same program does reach it.
fn nothing_gets_through(name: &str, start: &Start) {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let bare = run(network, &daemon, &native(start));
        assert!(bare.seen.total() > 0, "{name}: the attack does not work even without a gate: {}", bare.said);
        let gated = run(network, &daemon, &start.clone().limit("network_requests", 0));
        println!("{name}: {} elsewhere without a gate; gated {} {:?}", bare.seen.total(), gated.said, gated.seen);
        assert_eq!(gated.seen.total(), 0, "{name}: {} {:?}", gated.said, gated.seen);
        assert_eq!(gated.requests(), Some(0), "{name}");
    });
}

#[test]
fn an_address_flipped_under_connect() {
    nothing_gets_through("connect", &program(&["flip-address", "connect", "127.0.0.1:1", ECHO, &rounds()]));
    nothing_gets_through("connect v6", &program(&["flip-address", "connect", "[::1]:1", ECHO_V6, &fewer_rounds()]));
}

#[test]
fn an_address_flipped_under_sendto() {
    nothing_gets_through("sendto", &program(&["flip-address", "sendto", "127.0.0.1:1", ECHO, &rounds()]));
}

#[test]
fn an_address_flipped_under_fast_open() {
    nothing_gets_through("fast open", &program(&["flip-address", "fast-open", "127.0.0.1:1", ECHO, &rounds()]));
}

#[test]
fn a_message_name_flipped_under_sendmsg() {
    nothing_gets_through("name", &program(&["flip-name", "127.0.0.1:1", ECHO, &rounds()]));
}

#[test]
fn a_descriptor_flipped_between_kinds_of_sockets() {
    nothing_gets_through("descriptor", &program(&["flip-fd", ECHO, &rounds()]));
    nothing_gets_through("descriptor v6", &program(&["flip-fd", ECHO_V6, &fewer_rounds()]));
}

#[test]
fn memory_that_comes_and_goes_is_an_errno() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = program(&["unmap", ECHO, "3000"]).limit("network_requests", 5);
        let gated = run(network, &daemon, &start);
        assert!(gated.seen.total() <= 5, "{:?}", gated.seen);
        assert!(gated.requests() <= Some(5));
        let known = [0, libc::EFAULT, libc::EPERM, libc::EINPROGRESS, libc::EAFNOSUPPORT];
        // In a container the supervisor keeps so many sockets, and learns with delay that one is closed.
        let room = only_made_sockets().then_some(libc::EMFILE);
        let known: Vec<String> = known.into_iter().chain(room).map(|errno| errno.to_string()).collect();
        let errnos = gated.said["errnos"].as_object().unwrap();
        assert!(errnos.keys().all(|errno| known.contains(errno)), "{}", gated.said);
    });
}

/// A flag of the file that the supervisor shares: were it trusted, the supervisor would sleep in the call and keep no limit any more.
#[test]
fn blocking_switched_on_under_a_connect_holds_up_no_limit() {
    network::inside(|_| {
        let daemon = Daemon::own(&[]);
        let end = daemon.run(&program(&["flip-blocking"]).limit("wall_time_ms", 2000));
        assert_eq!(daemon.output(end.id(), "stdout"), b"full\n", "{:#}", end.object);
        end.must_breach("wall_time_ms", "wall_time_limit");
        // The program ignores nothing, so no grace was needed.
        assert!(end.usage("wall_ms").unwrap() < 4000 * u64::from(World::current().slowness()), "{:#}", end.object);
    });
}
