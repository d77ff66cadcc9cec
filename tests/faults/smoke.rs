//! The few rows that every shape of container has to pass, quick enough to run in all of them.

use crate::support::{Daemon, Start, World, proc, world};
use std::time::Duration;

const MIB: u64 = 1 << 20;

#[test]
fn it_is_up_within_a_second() {
    let daemon = Daemon::of_this_world();
    if World::current().is_inner() {
        let late = proc::started_ms(std::process::id().cast_signed()).unwrap() - proc::started_ms(daemon.pid).unwrap();
        assert!(late <= 1000, "the main command was started {late} ms after the daemon");
    }
    let (status, took) = daemon.probe("/health", Duration::from_secs(1)).expect("an answer");
    assert_eq!(status, 200, "after {took:?}");
    assert!(["healthy", "degraded"].contains(&daemon.client.get("/health").json()["status"].as_str().unwrap()));
}

#[test]
fn an_execution_runs_and_its_code_and_output_are_exact() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::shell("echo out; echo err >&2; exit 3"));
    end.must_end("failed", "exit");
    assert_eq!(end.exit_code(), Some(3));
    assert_eq!(daemon.output(end.id(), "stdout"), b"out\n");
    assert_eq!(daemon.output(end.id(), "stderr"), b"err\n");
}

#[test]
fn the_memory_limit_kills() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["alloc", &(128 * MIB).to_string()]).limit("memory_bytes", 64 * MIB));
    end.must_breach("memory_bytes", "memory_limit");
}

#[test]
fn the_cpu_limit_kills() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["spin", "2"]).limit("cpu_time_ms", 500));
    end.must_breach("cpu_time_ms", "cpu_time_limit");
    assert!(end.cpu_ms() <= 650, "{:#}", end.object);
}

#[test]
fn the_wall_limit_ends() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["obey-term", "0"]).limit("wall_time_ms", 500));
    end.must_breach("wall_time_ms", "wall_time_limit");
}

#[test]
fn another_uid_is_given_where_the_daemon_can() {
    let daemon = Daemon::of_this_world();
    if !world::is_root() || proc::has_capability(daemon.pid, 7) != Some(true) {
        return;
    }
    let end = daemon.run(&Start::workload(&["caps"]).set("uid", 1234).set("gid", 1234));
    end.must_end("completed", "exit");
    let report = daemon.report(end.id());
    assert_eq!(report["Uid"], "1234\t1234\t1234\t1234", "{report}");
    assert_eq!(report["Gid"], "1234\t1234\t1234\t1234", "{report}");
    assert_eq!(report["Groups"], "", "{report}");
}
