//! A program hears under the gate what it would hear without: the same errnos, values and times.

use super::{POLICY, native, only_made_sockets, program, roomy_daemon, run};
use crate::support::Daemon;
use crate::support::network::{self, BLACKHOLE, BLACKHOLE_V6, ECHO, ECHO_V6, REFUSED};
use serde_json::{Value, json};

/// Runs a sequence bare and gated and compares everything that was said and seen; what it costs is `requests`.
fn as_without_a_gate(sequence: &str, addr: &str, requests: u64) {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        let start = program(&["sequence", sequence, addr]);
        let bare = run(network, &daemon, &native(&start));
        let gated = run(network, &daemon, &start);
        println!("{sequence} {addr}: {}", bare.said);
        let ((said, times), (expected, expected_times)) =
            (timed(&gated.said), timed(&as_expected(sequence, &bare.said)));
        assert_eq!(said, expected, "{sequence} {addr} (left: gated)");
        let late = |(at, expected): (&i64, &i64)| !(expected - 1..=expected + LATE).contains(at);
        let lates = times.iter().zip(&expected_times).any(late) || times.len() != expected_times.len();
        assert!(!lates, "{sequence} {addr}: {times:?} for {expected_times:?}");
        assert_eq!(gated.seen.by_destination, bare.seen.by_destination, "{sequence} {addr} (left: gated)");
        gated.must_count(requests, 0);
    });
}

/// Tenths of a second, or alarms, that a busy machine may be late.
const LATE: i64 = 10;

/// What was said, and how long it took: that is no more exact than the machine is idle.
fn timed(said: &Value) -> (Vec<Value>, Vec<i64>) {
    let (times, words): (Vec<Value>, Vec<Value>) =
        said.as_array().unwrap().iter().cloned().partition(|step| step[0] == "tenths" || step[0] == "alarms");
    (words, times.iter().map(|step| step[1].as_i64().unwrap()).collect())
}

/// What is connected or was not made by the supervisor is out of its reach in a container: one more connect there is refused.
fn as_expected(sequence: &str, bare: &Value) -> Value {
    if !only_made_sockets() || !["listening", "accepted", "fast-open"].contains(&sequence) {
        return bare.clone();
    }
    let steps = bare
        .as_array()
        .unwrap()
        .iter()
        .map(|step| if step[1] == libc::EISCONN { json!([step[0], POLICY]) } else { step.clone() });
    steps.collect()
}

macro_rules! sequences {
    ($($name:ident($sequence:expr, $requests:expr, $($addr:expr),+);)+) => {
        $(#[test] fn $name() { $(as_without_a_gate($sequence, $addr, $requests);)+ })+
    };
}

sequences! {
    connecting_without_blocking("nonblocking", 1, ECHO, ECHO_V6);
    connecting_without_blocking_to_loopback("nonblocking", 0, "127.0.0.1:1", "[::1]:1");
    connecting_without_blocking_to_silence("nonblocking-silent", 1, BLACKHOLE, BLACKHOLE_V6);
    connecting_and_waiting("blocking", 1, ECHO, ECHO_V6);
    connecting_from_a_bound_port("bound", 1, ECHO, ECHO_V6);
    connecting_a_listening_socket("listening", 0, ECHO);
    using_an_accepted_socket("accepted", 0, ECHO);
    sending_datagrams("udp", 2, ECHO, ECHO_V6);
    sending_datagrams_by_message("udp-by-message", 2, ECHO, ECHO_V6);
    opening_fast("fast-open", 3, ECHO, ECHO_V6);
    sending_before_connecting("send-unconnected", 1, ECHO);
    a_duplicated_socket("dup", 1, ECHO);
    a_send_timeout("timeout", 1, BLACKHOLE, BLACKHOLE_V6);
    a_send_timeout_again_and_again("timeout-again", 1, BLACKHOLE);
    an_alarm_interrupts("alarm", 1, BLACKHOLE);
    an_alarm_restarts("alarm-restart", 1, BLACKHOLE);
    a_descriptor_closed_under_way("closed-under-way", 1, BLACKHOLE);
}

#[test]
fn dissolving_and_connecting_anew() {
    // There the association of a connected stream stays.
    if !only_made_sockets() {
        for addr in [ECHO, ECHO_V6] {
            as_without_a_gate("unspec", addr, 3);
        }
    }
}

#[test]
fn connecting_without_blocking_to_a_refused_port() {
    // Each call after the refusal was told is a new attempt; the peer says how many there were.
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for sequence in ["nonblocking", "blocking"] {
            let start = program(&["sequence", sequence, REFUSED]);
            let bare = run(network, &daemon, &native(&start));
            let gated = run(network, &daemon, &start);
            assert_eq!(gated.said, bare.said, "{sequence} (left: gated)");
            assert_eq!(gated.seen.tcp, bare.seen.tcp, "{sequence}");
            gated.must_count(gated.seen.tcp, 0);
        }
    });
}

#[test]
fn wrong_arguments_get_the_kernels_own_errno() {
    network::inside(|network| {
        let daemon = roomy_daemon(network);
        for addr in [ECHO, ECHO_V6] {
            let start = program(&["errors", addr]).set("agent_type", "ROOMY");
            let bare = run(network, &daemon, &native(&start));
            let gated = run(network, &daemon, &start);
            // A descriptor that is only a path is no socket either.
            let same = |a: &Value, b: &Value| a == b || (only_made_sockets() && a.to_string().contains("connect path"));
            let pairs = gated.said.as_array().unwrap().iter().zip(bare.said.as_array().unwrap());
            let differ: Vec<String> =
                pairs.filter(|(a, b)| !same(a, b)).map(|(a, b)| format!("{a} instead of {b}")).collect();
            assert_eq!(differ, Vec::<String>::new(), "{addr}");
            // Datagrams to one address are one request.
            assert!(gated.seen.tcp <= gated.requests().unwrap(), "{:?}", gated.seen);
        }
    });
}
