//! Rows about the daemon's own life: how it ends, what it leaves, what it finds again.

use crate::support::{Daemon, Start, World, percentile, proc, wait_for, world};
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_killed_daemon_leaves_no_process_and_its_successor_calls_them_lost() {
    let mut daemon = Daemon::own(&[]);
    let finished = daemon.run(&Start::workload(&["exit", "4"]));
    let ids: Vec<String> = (0..3).map(|_| daemon.start(&Start::workload(&["daemonize", "300"]))).collect();
    for id in &ids {
        assert!(wait_for(Duration::from_secs(5), || (proc::of_execution(id).len() >= 2).then_some(())).is_some());
    }
    daemon.signal(Signal::SIGKILL);
    daemon.wait_for_exit(Duration::from_secs(5)).unwrap();
    let gone = wait_for(Duration::from_millis(500) * World::current().slowness(), || {
        ids.iter().all(|id| proc::of_execution(id).is_empty()).then_some(())
    });
    assert!(gone.is_some(), "the supervisors did not end their trees");
    let daemon = daemon.restart(&[]);
    for id in &ids {
        let object = daemon.get(id);
        assert_eq!((&object["status"], &object["reason"]), (&"failed".into(), &"lost".into()), "{object:#}");
    }
    let old = daemon.get(finished.id());
    assert_eq!((&old["exit_code"], &old["reason"]), (&4.into(), &"exit".into()), "history is there: {old:#}");
    let all = daemon.client.get("/v1/executions?limit=100").expect(200);
    assert_eq!(all["executions"].as_array().unwrap().len(), 4, "counted once each: {all:#}");
}

#[test]
fn term_at_any_moment_ends_it_in_order() {
    let _turn = crate::support::daemon::turn();
    let rounds = if World::current() == World::Machine { 20 } else { 200 };
    for round in 0..rounds {
        let delay = Duration::from_micros(50_000 * round / rounds);
        let folder = world::Scratch::new("term");
        let mut child = Command::new(world::execd())
            .args(["serve", "--listen", &crate::support::daemon::free_address().to_string(), "--state-dir"])
            .arg(folder.path())
            .arg("--")
            .arg(world::workload())
            .args(["obey-term", "7"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        std::thread::sleep(delay);
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        let limit = Duration::from_secs(3) * World::current().slowness();
        let Some(status) = wait_for(limit, || child.try_wait().unwrap()) else {
            let _ = child.kill();
            panic!("TERM after {delay:?}: still there after {limit:?}");
        };
        // Before the first instruction of main nobody can have blocked anything.
        let too_early = delay < Duration::from_millis(2) * World::current().slowness() && status.signal() == Some(15);
        // 7: the child obeyed; 143: it was told before it had installed its handler, or had not been started yet.
        let orderly = matches!(status.code(), Some(7 | 143));
        assert!(orderly || too_early, "TERM after {delay:?}: {status:?}");
    }
}

#[test]
fn a_hundred_thousand_signals_disturb_nobody() {
    let daemon = Daemon::own(&[]);
    let pid = nix::unistd::Pid::from_raw(daemon.pid);
    let begun = Instant::now();
    let (mut sent, mut answers) = (0u32, Vec::new());
    while sent < 100_000 && begun.elapsed() < Duration::from_secs(5) {
        for signal in [Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGURG] {
            nix::sys::signal::kill(pid, signal).unwrap();
            sent += 1;
        }
        if sent.is_multiple_of(1000) {
            answers.push(daemon.probe("/livez", Duration::from_secs(5)).expect("an answer").1);
        }
    }
    println!("{sent} signals in {:?}", begun.elapsed());
    let p99 = percentile(&mut answers, 99);
    assert!(p99 <= Duration::from_millis(250) * World::current().slowness(), "/livez p99 {p99:?}");
    daemon.run(&Start::workload(&["exit", "9"])).must_end("failed", "exit");
}

#[test]
fn a_shutdown_ends_executions_with_their_reason_and_readyz_says_so_first() {
    let mut daemon = Daemon::own(&[]);
    let id = daemon.start(&Start::workload(&["obey-term", "0"]));
    assert!(wait_for(Duration::from_secs(5), || (!daemon.output(&id, "stdout").is_empty()).then_some(())).is_some());
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait_for_exit(Duration::from_secs(10)).expect("ends");
    assert!(status.code().is_some(), "{status:?}");
    assert!(proc::of_execution(&id).is_empty());
    let daemon = daemon.restart(&[]);
    let object = daemon.get(&id);
    assert_eq!((&object["status"], &object["reason"]), (&"terminated".into(), &"shutdown".into()), "{object:#}");
}

#[test]
fn a_broken_configuration_file_stops_the_start_with_its_place() {
    let folder = world::Scratch::new("config");
    let file = folder.path().join("execd.toml");
    std::fs::write(&file, "[agent_types.MINE]\nmemory = \"lots\"\n").unwrap();
    let address = crate::support::daemon::free_address().to_string();
    let output = Command::new(world::execd())
        .args(["serve", "--listen", &address, "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("execd.toml") && said.contains('2'), "file and line are named: {said}");
}

#[test]
fn a_broken_configuration_on_reload_changes_nothing_and_says_where() {
    let folder = world::Scratch::new("reload");
    let file = folder.path().join("execd.toml");
    let type_of = |wall: &str| format!("[agent_types.RELOADED]\nwall_time_ms = {wall}\n");
    std::fs::write(&file, type_of("\"7s\"")).unwrap();
    let daemon = Daemon::own(&["--config", file.to_str().unwrap()]);
    let wall = || {
        let object = daemon.run(&Start::command("RELOADED", &["true"]));
        daemon.get(object.id())["limits"]["wall_time_ms"]["value"].as_u64()
    };
    assert_eq!(wall(), Some(7_000));

    std::fs::write(&file, type_of("\"soon\"")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let said = wait_for(Duration::from_secs(5), || daemon.log().contains("not reloaded").then(|| daemon.log()));
    let log = said.expect("the refusal is logged");
    assert!(log.contains("execd.toml:2:"), "says file and line: {log}");
    assert_eq!(wall(), Some(7_000), "the old types stay");

    std::fs::write(&file, type_of("\"9s\"")).unwrap();
    daemon.signal(Signal::SIGHUP);
    assert!(
        wait_for(Duration::from_secs(5), || (wall() == Some(9_000)).then_some(())).is_some(),
        "a good one is taken"
    );
}
