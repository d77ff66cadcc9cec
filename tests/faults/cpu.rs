//! Rows about CPU time: one budget for everything an execution forks, however it hides.

use crate::support::{Daemon, Finished, Start, World};

/// CPU milliseconds that a budget of one second may be overrun by.
fn allowed_over(daemon: &Daemon) -> u64 {
    let (mechanism, _) = daemon.enforcement("cpu_time_ms");
    let over = if mechanism.starts_with("cgroup") { 50 } else { 100 };
    // An emulated processor needs many times as long to kill.
    if World::current() == World::Machine { over * 4 } else { over }
}

fn must_stop_at_one_second(daemon: &Daemon, end: &Finished) {
    end.must_breach("cpu_time_ms", "cpu_time_limit");
    assert_eq!(end.object["breach"]["allowed"], 1000, "{:#}", end.object);
    let (used, most) = (end.cpu_ms(), 1000 + allowed_over(daemon));
    println!("used {used} ms of 1000");
    // 10 ms below: the kernel's own books may round down.
    assert!((990..=most).contains(&used), "{used} ms used, at most {most}: {:#}", end.object);
}

#[test]
fn two_spinning_threads_stop_at_their_cpu_budget() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["spin", "2"]).limit("cpu_time_ms", 1000));
    must_stop_at_one_second(&daemon, &end);
}

#[test]
fn fifty_short_forks_add_up_to_one_cpu_budget() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["fork-spin", "50", "40"]).limit("cpu_time_ms", 1000));
    must_stop_at_one_second(&daemon, &end);
}

#[test]
fn children_of_a_parent_that_ignores_sigchld_are_charged() {
    let daemon = Daemon::of_this_world();
    let start = Start::workload(&["spin-autoreap", "100"]).limit("cpu_time_ms", 1000).limit("wall_time_ms", 10_000);
    let end = daemon.run(&start);
    end.must_breach("cpu_time_ms", "cpu_time_limit");
    let used = end.object["breach"]["used"].as_u64().unwrap();
    assert!((990..=1000 + 2 * allowed_over(&daemon)).contains(&used), "{used} ms: {:#}", end.object);
    // One child spins at a time, so the wall clock bounds what it can have used; others may want the processor too.
    let wall = end.usage("wall_ms").unwrap();
    let room = if World::current() == World::Machine { 6000 } else { 3000 };
    assert!(wall <= room, "one spinning child at a time ran {wall} ms under a budget of one second");
}

#[test]
fn a_program_that_sleeps_spends_nothing() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["sleep-ms", "1500"]).limit("cpu_time_ms", 300));
    end.must_end("completed", "exit");
}
