//! Rows about executions that attack what holds them, under the daemon's own uid.

use crate::support::{Daemon, Start, World, world};
use serde_json::Value;

/// Attacks that reached their target, as `attack@pid`.
fn reached(report: &Value, harmless: &[&str]) -> Vec<String> {
    let attacks = report.as_array().expect("an array of attacks");
    assert!(!attacks.is_empty());
    let hits = attacks.iter().filter(|a| a["reached"] == true);
    hits.filter(|a| !harmless.contains(&a["attack"].as_str().unwrap())).map(ToString::to_string).collect()
}

fn attack(daemon: &Daemon, target: &str) -> Value {
    let mut start = Start::workload(&["attack", "all", target]);
    if World::current().is_expendable() {
        start = start.env("WORKLOAD_MAY_KILL_ALL", "1");
    }
    let end = daemon.run(&start);
    end.must_end("completed", "exit");
    daemon.report(end.id())
}

/// Changes nothing but the attacker's own share of the disk.
const HARMLESS: &[&str] = &["ioprio_set"];

#[test]
fn an_execution_reaches_the_daemon_by_no_system_call() {
    let daemon = Daemon::of_this_world();
    let report = attack(&daemon, &daemon.pid.to_string());
    assert_eq!(reached(&report, HARMLESS), Vec::<String>::new());
    assert_eq!(daemon.probe("/livez", std::time::Duration::from_secs(5)).map(|(status, _)| status), Some(200));
}

#[test]
fn an_execution_reaches_its_supervisor_by_no_system_call() {
    let daemon = Daemon::of_this_world();
    let report = attack(&daemon, "parent");
    assert_eq!(reached(&report, HARMLESS), Vec::<String>::new());
}

#[test]
fn an_execution_of_another_uid_reaches_neither_daemon_nor_supervisor() {
    if !world::is_root() || World::current() == World::DockerLocked {
        return;
    }
    let daemon = Daemon::of_this_world();
    for target in [daemon.pid.to_string(), "parent".to_owned()] {
        let end = daemon.run(&Start::workload(&["attack", "all", &target]).set("uid", 1234).set("gid", 1234));
        end.must_end("completed", "exit");
        assert_eq!(reached(&daemon.report(end.id()), HARMLESS), Vec::<String>::new());
        let end = daemon.run(&Start::workload(&["attack-files", &target]).set("uid", 1234).set("gid", 1234));
        assert_eq!(reached(&daemon.report(end.id()), &[]), Vec::<String>::new());
    }
}

#[test]
fn an_execution_reads_and_writes_nothing_of_the_daemon_through_proc() {
    let daemon = Daemon::of_this_world();
    let before = std::fs::read(world::execd()).unwrap();
    let end = daemon.run(&Start::workload(&["attack-files", &daemon.pid.to_string()]));
    end.must_end("completed", "exit");
    // What a uid-0 process may write by file mode alone and what gives nothing away is not ours to stop.
    let by_mode_alone = ["write_oom_score_adj", "write_coredump_filter", "write_autogroup", "write_clear_refs"];
    assert_eq!(reached(&daemon.report(end.id()), &by_mode_alone), Vec::<String>::new());
    assert!(std::fs::read(world::execd()).unwrap() == before, "the binary was changed");
}

#[test]
fn an_execution_may_signal_and_limit_its_own() {
    let daemon = Daemon::of_this_world();
    let script = "sleep 100 & kill -9 $! && wait $!; [ $? = 137 ] || exit 9; kill -0 $$ || exit 8; kill -15 0; exit 7";
    let end = daemon.run(&Start::shell(script));
    end.must_end("failed", "signal");
    assert_eq!(end.object["signal"], "SIGTERM", "{:#}", end.object);
}

#[test]
fn an_execution_inherits_three_descriptors() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["fds"]));
    let report = daemon.report(end.id());
    let open: Vec<u64> = report["fds"].as_array().unwrap().iter().map(|fd| fd["fd"].as_u64().unwrap()).collect();
    assert_eq!(open, [0, 1, 2], "{report}");
}

#[test]
fn an_execution_gets_no_privilege_it_does_not_need() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["caps"]));
    let report = daemon.report(end.id());
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(report[set], "0000000000000000", "{set}: {report}");
    }
    assert_eq!(report["NoNewPrivs"], "1");
    assert_eq!(report["Seccomp"], "2");
    assert_eq!(report["sid"], report["pid"], "a session of its own");
}

/// More kinds of type than have a supervisor in reserve, in turns: each execution is confined as its own type says.
#[test]
fn executions_of_every_kind_of_type_get_the_confinement_of_their_own() {
    let kinds = ["open", "bare", "counted", "gated", "whole"];
    let of = |kind: &str| {
        let has = |kinds: &[&str]| kinds.contains(&kind);
        let (confined, gated) = (kind != "open", has(&["gated", "whole"]));
        let pids = if has(&["counted", "whole"]) { "pids = 64\n" } else { "" };
        format!("[agent_types.{kind}]\n{pids}network_gate = {gated}\nno_new_privs = {confined}\n")
    };
    let folder = world::Scratch::new("kinds");
    let config = folder.path().join("execd.toml");
    std::fs::write(&config, kinds.map(of).concat()).unwrap();
    let daemon = Daemon::own(&["--config", config.to_str().unwrap()]);
    let filters = |report: &serde_json::Value| report["Seccomp_filters"].as_str().unwrap().parse::<u32>().unwrap();
    let report = |kind: &str| {
        let workload = world::workload();
        let end = daemon.run(&Start::command(kind, &[&workload.display().to_string(), "caps"]));
        end.must_end("completed", "exit");
        // Nobody but the command was ever in its groups.
        assert!(end.usage("pids_peak").is_none_or(|peak| peak == 1), "{kind}: {:#}", end.object);
        daemon.report(end.id())
    };
    let open = report("open");
    for kind in kinds.iter().chain(kinds.iter().rev()).chain(["whole", "open", "gated", "whole"].iter()) {
        let seen = report(kind);
        let confined = *kind != "open";
        assert_eq!(filters(&seen), filters(&open) + u32::from(confined), "{kind}: {seen}");
        let no_new_privs = if confined { "1".into() } else { open["NoNewPrivs"].clone() };
        assert_eq!(seen["NoNewPrivs"], no_new_privs, "{kind}: {seen}");
    }
}

#[test]
fn an_execution_starts_with_a_clean_signal_state() {
    let daemon = Daemon::of_this_world();
    // cat: our own runtime would have changed the disposition of SIGPIPE before it could look.
    let end = daemon.run(&Start::command("VALIDATION", &["cat", "/proc/self/status"]));
    must_be_clean(&String::from_utf8_lossy(&daemon.output(end.id(), "stdout")));
}

#[test]
fn children_of_a_daemon_started_with_a_spoilt_signal_state_are_clean() {
    let daemon = Daemon::own_with(&[], &[], |command| {
        let (program, arguments) = crate::support::daemon::words(command);
        crate::support::daemon::wrap(command, &world::workload(), &["spoil-signals"], &program, &arguments);
    });
    let end = daemon.run(&Start::command("VALIDATION", &["cat", "/proc/self/status"]));
    must_be_clean(&String::from_utf8_lossy(&daemon.output(end.id(), "stdout")));
}

fn must_be_clean(status: &str) {
    for key in ["SigBlk", "SigIgn"] {
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        assert_eq!(value, Some("0000000000000000"), "{key} in\n{status}");
    }
}

#[test]
fn groups_cannot_be_changed_or_left_where_the_limit_is_called_enforced() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["attack-cgroup"]));
    end.must_end("completed", "exit");
    let report = daemon.report(end.id());
    let hits: Vec<_> = report.as_array().unwrap().iter().filter(|a| a["reached"] == true).collect();
    let on_groups = |hit: &&&Value| !hit["attack"].as_str().unwrap().starts_with("unshare");
    let enforced = ["memory_bytes", "pids"].iter().any(|limit| {
        let (mechanism, strength) = daemon.enforcement(limit);
        mechanism.starts_with("cgroup") && strength == "enforced"
    });
    if enforced {
        assert_eq!(hits.iter().filter(on_groups).collect::<Vec<_>>(), Vec::<&&Value>::new());
    }
}

#[test]
fn system_calls_by_another_entry_are_refused() {
    let daemon = Daemon::of_this_world();
    for entry in ["i386", "x32"] {
        let end = daemon.run(&Start::workload(&[entry]));
        if end.reason() == "signal" {
            assert!(["SIGSYS", "SIGSEGV"].contains(&end.object["signal"].as_str().unwrap()), "{:#}", end.object);
        } else {
            assert_eq!(daemon.report(end.id())["let_through"], false, "{entry}");
        }
    }
}

#[test]
fn the_token_is_in_no_environment_and_opens_what_is_guarded() {
    let token = "a-secret-that-nobody-prints-0123456789";
    let daemon = Daemon::own_with(&[], &[], |command| {
        command.env("EXECD_ACCESS_TOKEN", token);
    });
    let open = daemon.client.clone();
    for (method, path) in [("GET", "/v1/executions"), ("GET", "/ping"), ("POST", "/v1/executions")] {
        let headers: &[(&str, &str)] = if method == "POST" { &[("Content-Type", "application/json")] } else { &[] };
        let refused = open.try_request(method, path, headers, b"").unwrap();
        assert_eq!(refused.status, 401, "{method} {path}: {}", refused.text());
    }
    assert_eq!(open.with_token("another").get("/v1/executions").status, 401);
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(open.get(path).status, 200, "{path}");
    }
    let mut daemon = daemon;
    daemon.client.token = Some(token.to_owned());
    let end = daemon.run(&Start::workload(&["env"]));
    let seen = String::from_utf8(daemon.output(end.id(), "stdout")).unwrap();
    assert!(!seen.contains(token), "{seen}");
    assert!(seen.contains("EXECD_EXECUTION_ID"));
    if let Ok(environment) = std::fs::read(format!("/proc/{}/environ", daemon.pid)) {
        assert!(!String::from_utf8_lossy(&environment).contains(token), "still in the daemon's own environment");
    }
    assert!(!daemon.log().contains(token), "in the log");
}

#[test]
fn web_pages_of_others_get_nothing() {
    let daemon = Daemon::of_this_world();
    let json = ("Content-Type", "application/json");
    let body = br#"{"agent_type":"VALIDATION","command":["true"]}"#;
    let post = |headers: &[(&str, &str)]| daemon.client.try_request("POST", "/v1/executions", headers, body).unwrap();
    assert_eq!(post(&[json, ("Origin", "http://evil.example")]).status, 403);
    assert_eq!(post(&[json, ("Host", "evil.example")]).status, 403);
    assert_eq!(post(&[("Content-Type", "application/x-www-form-urlencoded")]).status, 415);
    assert_eq!(post(&[("Content-Type", "text/plain")]).status, 415);
    let answer = post(&[json]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.status, 201, "{}", answer.text());
}
