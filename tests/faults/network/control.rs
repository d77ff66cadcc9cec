//! The daemon's own port, which executions reach on no address without a token, and types that kill.

use super::{POLICY, native, program, run};
use crate::support::Daemon;
use crate::support::network::{self, BOX_V4, BOX_V6, ECHO};
use serde_json::{Value, json};

/// Every address of the box by which its own ports are reached.
fn own_addresses(port: u16) -> Vec<String> {
    let v4 = ["127.0.0.1", "127.1.2.3", "0.0.0.0", BOX_V4];
    let v6 =
        ["::1", "::ffff:127.0.0.1", "::", "::ffff:0.0.0.0", BOX_V6, &format!("::ffff:{BOX_V4}")].map(str::to_owned);
    let v4 = v4.iter().map(|ip| format!("{ip}:{port}"));
    v4.chain(v6.iter().map(|ip| format!("[{ip}]:{port}"))).collect()
}

/// A daemon that listens on every address.
pub(super) fn daemon_on_all_addresses(flags: &[&str]) -> Daemon {
    Daemon::own_with(flags, &[], |command| {
        let words = crate::support::daemon::words(command).1;
        let listen = words.iter().position(|word| word == "--listen").expect("a flag of every daemon") + 1;
        let port = words[listen].to_string_lossy().rsplit(':').next().expect("a port").to_owned();
        let changed = words
            .iter()
            .enumerate()
            .map(|(index, word)| if index == listen { format!("[::]:{port}").into() } else { word.clone() });
        let changed: Vec<std::ffi::OsString> = changed.collect();
        let program = command.get_program().to_owned();
        crate::support::daemon::wrap(command, program.as_ref(), &[], "serve".as_ref(), &changed[1..]);
    })
}

fn each(addresses: &[String]) -> Vec<String> {
    std::iter::once("connect-each".to_owned()).chain(addresses.iter().cloned()).collect()
}

#[test]
fn without_a_token_executions_reach_the_control_port_on_no_address() {
    network::inside(|network| {
        let daemon = daemon_on_all_addresses(&[]);
        let addresses = own_addresses(daemon.client.addr.port());
        let start = program(&each(&addresses));
        let bare = run(network, &daemon, &native(&start));
        assert_eq!(bare.said, json!(vec![0; addresses.len()]), "{addresses:?}");
        let gated = run(network, &daemon, &start);
        assert_eq!(gated.said, json!(vec![POLICY; addresses.len()]), "{addresses:?}");
        // No request was made, and the limit refused none.
        gated.must_count(0, 0);
        // By the other ways.
        for way in ["tfo-sendto", "tfo-sendmsg", "tfo-connect", "tcp-nonblocking", "tcp-by-mptcp"] {
            for addr in [&addresses[0], &addresses[4]] {
                let gated = run(network, &daemon, &program(&["contact", way, "3", "seq", addr]));
                assert_eq!(gated.said["errnos"]["0"], Value::Null, "{way} {addr}: {}", gated.said);
            }
        }
    });
}

#[test]
fn a_flipped_address_does_not_reach_the_control_port() {
    network::inside(|network| {
        let daemon = daemon_on_all_addresses(&[]);
        let port = daemon.client.addr.port();
        let control = format!("127.0.0.1:{port}");
        let start = program(&["flip-address", "connect", "127.0.0.1:1", &control, &super::races::rounds()]);
        // A connection to loopback is decided at once; port 1 refuses, so any success is the control port.
        let gated = run(network, &daemon, &start);
        assert_eq!(gated.said["errnos"]["0"], Value::Null, "{}", gated.said);
    });
}

#[test]
fn with_a_token_the_control_port_is_counted() {
    network::inside(|network| {
        let token = "a-secret-that-nobody-prints-0123456789";
        let file = network.scratch.path().join("token");
        std::fs::write(&file, token).unwrap();
        let mut daemon = daemon_on_all_addresses(&["--access-token-file", &file.display().to_string()]);
        daemon.client.token = Some(token.to_owned());
        let addresses = own_addresses(daemon.client.addr.port());
        let gated = run(network, &daemon, &program(&each(&addresses)).limit("network_requests", 4));
        let expected: Vec<i32> = (0..addresses.len()).map(|i| if i < 4 { 0 } else { super::OVER }).collect();
        assert_eq!(gated.said, json!(expected));
        gated.must_count(4, addresses.len() as u64 - 4);
    });
}

#[test]
fn a_type_that_kills_ends_with_its_own_reason_and_code() {
    network::inside(|network| {
        let config = network.scratch.path().join("config.toml");
        let text = "[agent_types.STRICT]\nextends = \"VALIDATION\"\nnetwork_requests = 3\non_network = \"kill\"\n";
        std::fs::write(&config, text).unwrap();
        let config = config.display().to_string();
        let daemon = Daemon::own(&["--config", &config]);
        for mode in ["seq", "threads", "forks"] {
            network.reset();
            let end = daemon.run(&program(&["contact", "tcp", "20", mode, ECHO]).set("agent_type", "STRICT"));
            end.must_breach("network_requests", "network_limit");
            assert_eq!(
                (&end.object["breach"]["allowed"], &end.object["breach"]["mechanism"]),
                (&json!(3), &json!("seccomp"))
            );
            assert_eq!(end.usage("network_requests"), Some(3), "{:#}", end.object);
            assert_eq!(network.seen().total(), 3, "{mode}: {:?}", network.seen());
        }
        // Exactly the limit is no breach.
        let end = daemon.run(&program(&["contact", "tcp", "3", "seq", ECHO]).set("agent_type", "STRICT"));
        end.must_end("completed", "exit");
        drop(daemon);
        let mut command = std::process::Command::new(crate::support::world::execd());
        command.args(["run", "--config", &config, "--agent-type", "STRICT", "--"]);
        command.arg(crate::support::world::workload()).args(["net", "contact", "tcp", "20", "seq", ECHO]);
        let out = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(out.status.code(), Some(154), "{out:?}");
    });
}

#[test]
fn a_refusal_is_seen_from_outside() {
    network::inside(|network| {
        let daemon = Daemon::own(&[]);
        run(network, &daemon, &program(&["contact", "tcp", "9", "seq", ECHO]).limit("network_requests", 4))
            .must_count(4, 5);
        // A log line with the destination.
        let log = daemon.log();
        assert!(log.lines().any(|line| line.contains("203.0.113.1:7")), "{log}");
        let (mechanism, strength) = daemon.enforcement("network_requests");
        assert_eq!((mechanism.as_str(), strength.as_str()), ("seccomp", "enforced"));
    });
}
