//! Peers that never answer hold up nobody else, and a supervisor that dies lets nothing out.

use super::{program, roomy_daemon, run};
use crate::support::network::{self, BLACKHOLE, BLACKHOLE_V6, ECHO};
use crate::support::{Daemon, Start, World, wait_for, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// BLOCKED threads wait for a silent address while COUNT connections are made; VALIDATION's own limit is too low for that.
fn beside(network: &network::Network, silent: &str, blocked: u64, count: u64) -> (Daemon, Start) {
    let daemon = roomy_daemon(network);
    let start = program(&["beside", silent, ECHO, &blocked.to_string(), &count.to_string()]).set("agent_type", "ROOMY");
    (daemon, start)
}

fn wait_for_report(daemon: &Daemon, id: &str) -> serde_json::Value {
    let limit = SOON * World::current().slowness();
    let said = wait_for(limit, || (!daemon.output(id, "stdout").is_empty()).then(|| daemon.report(id)));
    said.unwrap_or_else(|| panic!("the others wait: {}", daemon.get(id)))
}

#[test]
fn silent_peers_hold_up_no_other_connection() {
    for (silent, blocked) in [(BLACKHOLE, 1), (BLACKHOLE_V6, 1), (BLACKHOLE, 64)] {
        network::inside(|network| {
            let (daemon, start) = beside(network, silent, blocked, 100);
            let id = daemon.start(&start);
            let said = wait_for_report(&daemon, &id);
            assert_eq!(said["errnos"], serde_json::json!({"0": 100}), "{said}");
            let longest = said["longest_us"].as_u64().unwrap();
            assert!(longest < 100_000 * u64::from(World::current().slowness()), "one of the others took {longest} µs");
            assert_eq!(daemon.get(&id)["usage"]["network_requests"], 100 + blocked);
            assert_eq!(network.seen().tcp, 100 + blocked);
            daemon.cancel(&id);
            daemon.wait(&id, SOON).must_end("terminated", "cancelled");
        });
    }
}

#[test]
fn a_silent_peer_holds_up_no_end() {
    network::inside(|network| {
        let (daemon, start) = beside(network, BLACKHOLE, 1, 1);
        let ask = || {
            let id = daemon.start(&start);
            wait_for_report(&daemon, &id);
            id
        };
        let slowness = World::current().slowness();
        // A cancel, a signal, and the wall limit; the grace of five seconds is not needed.
        let id = ask();
        let begun = Instant::now();
        daemon.cancel(&id);
        daemon.wait(&id, SOON).must_end("terminated", "cancelled");
        assert!(begun.elapsed() < Duration::from_secs(1) * slowness, "cancelled after {:?}", begun.elapsed());
        let id = ask();
        let begun = Instant::now();
        daemon.signal_execution(&id, "SIGKILL");
        assert_eq!(daemon.wait(&id, SOON).object["signal"], "SIGKILL");
        assert!(begun.elapsed() < Duration::from_secs(1) * slowness, "killed after {:?}", begun.elapsed());
        let end = daemon.run(&start.clone().limit("wall_time_ms", 1000));
        end.must_breach("wall_time_ms", "wall_time_limit");
        let took = end.usage("wall_ms").unwrap();
        assert!(took < 1500 * u64::from(slowness), "ended after {took} ms");
    });
}

#[test]
fn a_killed_supervisor_lets_nothing_out() {
    if !world::is_root() {
        return;
    }
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        for round in 0..10 {
            network.reset();
            let id = daemon.start(&program(&["knock", ECHO, "8"]).limit("network_requests", 5));
            wait_for_report(&daemon, &id);
            kill(Pid::from_raw(daemon.supervisor_of(&id)), Signal::SIGKILL).unwrap();
            daemon.wait(&id, SOON).must_end("failed", "lost");
            assert!(network.seen().total() <= 5, "round {round}: {:?}", network.seen());
        }
    });
}

#[test]
fn a_supervisor_killed_while_somebody_waits_takes_everybody_along() {
    if !world::is_root() {
        return;
    }
    network::inside(|network| {
        let (daemon, start) = beside(network, BLACKHOLE, 16, 1);
        let id = daemon.start(&start);
        wait_for_report(&daemon, &id);
        let begun = Instant::now();
        kill(Pid::from_raw(daemon.supervisor_of(&id)), Signal::SIGKILL).unwrap();
        daemon.wait(&id, SOON).must_end("failed", "lost");
        let gone = wait_for(SOON, || crate::support::proc::of_execution(&id).is_empty().then_some(()));
        assert!(
            gone.is_some() && begun.elapsed() < Duration::from_secs(2) * World::current().slowness(),
            "gone after {:?}",
            begun.elapsed()
        );
        // The daemon goes on.
        run(network, &daemon, &program(&["connect-each", ECHO])).must_count(1, 0);
    });
}
