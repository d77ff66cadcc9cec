//! Programs that people really run, under every built-in agent type: limits must not break what stays within them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should panic where it stands")]

mod support;

use support::{Daemon, Finished, Start, world};

const TYPES: [&str; 6] = ["ELICITATION", "TEST_WRITER", "IMPLEMENTATION", "CONTEXT_GATHERING", "VALIDATION", "DEFAULT"];

fn agent(file: &str) -> String {
    format!("{}/tests/agents/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn must_complete(daemon: &Daemon, end: &Finished) {
    let said = String::from_utf8_lossy(&daemon.output(end.id(), "stderr")).into_owned();
    assert_eq!(end.reason(), "exit", "{said}\n{:#}", end.object);
    assert_eq!(end.exit_code(), Some(0), "{said}\n{:#}", end.object);
}

#[test]
fn a_python_agent_completes_under_every_agent_type() {
    if !world::needs_tools(&["python3"]) {
        return;
    }
    let daemon = Daemon::own(&[]);
    for agent_type in TYPES {
        let start = Start::command(agent_type, &["python3", &agent("agent.py")]).set("task_id", "task-7");
        let end = daemon.run(&start);
        must_complete(&daemon, &end);
        let report = daemon.report(end.id());
        assert_eq!((&report["lines"], &report["digests"]), (&1000.into(), &100.into()), "{report}");
        assert_eq!((&report["agent_type"], &report["task_id"]), (&agent_type.into(), &"task-7".into()), "{report}");
        assert!(end.usage("memory_peak_bytes").unwrap_or(0) > 1 << 20, "{:#}", end.object);
    }
}

#[test]
fn a_node_program_completes_under_every_agent_type() {
    if !world::needs_tools(&["node"]) {
        return;
    }
    let daemon = Daemon::own(&[]);
    for agent_type in TYPES {
        let end = daemon.run(&Start::command(agent_type, &["node", &agent("agent.js")]));
        must_complete(&daemon, &end);
        assert_eq!(daemon.report(end.id())["listed"], "a.txt");
    }
}

#[test]
fn cargo_builds_a_small_crate_under_the_implementation_type() {
    if !world::needs_tools(&["cargo"]) {
        return;
    }
    let daemon = Daemon::own(&[]);
    // Its own home and rustup come from the environment of whoever runs the tests.
    let mut start = Start::shell("cargo init --quiet --name small . && cargo build --quiet && ./target/debug/small");
    start = start.set("agent_type", "IMPLEMENTATION").env("CARGO_TARGET_DIR", "target");
    for key in ["HOME", "PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Ok(value) = std::env::var(key) {
            start = start.env(key, &value);
        }
    }
    let end = daemon.run(&start);
    must_complete(&daemon, &end);
    assert_eq!(daemon.output(end.id(), "stdout"), b"Hello, world!\n");
}
