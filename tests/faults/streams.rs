//! Rows about output, input and clients that behave badly.

use crate::support::{Daemon, Start, World, percentile, proc, wait_for};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn output_that_nobody_reads_neither_grows_the_daemon_nor_stops_the_child() {
    let daemon = Daemon::of_this_world();
    daemon.run(&Start::workload(&["exit", "0"]));
    let before = proc::rss(daemon.pid).unwrap();
    let end = daemon.run(&Start::workload(&["yes", "10000"]).limit("wall_time_ms", 60_000));
    end.must_end("completed", "exit");
    let (bytes, lost) = (end.usage("output_bytes").unwrap(), end.usage("output_lost_bytes").unwrap());
    let grown = proc::rss(daemon.pid).unwrap().saturating_sub(before);
    println!("{bytes} bytes, {lost} lost, daemon grew by {grown}");
    assert!(bytes > 8 << 20 && lost > 0 && lost < bytes, "{:#}", end.object);
    assert!(grown <= 16 << 20, "the daemon grew by {grown} bytes");
}

#[test]
fn a_mebibyte_to_stderr_and_then_to_stdout_arrives() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["interleave", "1048576"]));
    end.must_end("completed", "exit");
    assert_eq!(end.usage("output_bytes"), Some(2 << 20));
    for (stream, byte) in [("stderr", b'e'), ("stdout", b'o')] {
        let answer = daemon.client.get(&format!("/v1/executions/{}/output?stream={stream}", end.id()));
        let kept = answer.body.len();
        assert!(answer.body.iter().all(|b| *b == byte), "{stream}: foreign bytes");
        // Without a state directory only the ring is kept; then what is missing is named.
        let lost = answer.header("execd-output-lost").and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
        assert!(kept == 1 << 20 || kept + lost >= 1 << 20, "{stream}: {kept} bytes kept, {lost} said to be lost");
    }
}

#[test]
fn ten_mebibytes_go_in_and_come_out() {
    let daemon = Daemon::of_this_world();
    let id = daemon.start(&Start::workload(&["echo-stdin"]).limit("wall_time_ms", 60_000));
    let input: Vec<u8> = (0..10u32 << 20).map(|i| (i % 251) as u8).collect();
    for (n, part) in input.chunks(1 << 20).enumerate() {
        let last = if n == 9 { "?close=true" } else { "" };
        let answer = daemon.client.put(&format!("/v1/executions/{id}/stdin{last}"), part);
        assert!(answer.status < 300, "{}: {}", answer.status, answer.text());
    }
    let end = daemon.wait(&id, Duration::from_secs(60));
    end.must_end("completed", "exit");
    let said = String::from_utf8(daemon.output(&id, "stderr")).unwrap();
    let said: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(said["bytes"], 10 << 20);
    assert_eq!(said["sum"], input.iter().map(|b| u64::from(*b)).sum::<u64>());
    assert!(end.usage("output_bytes").unwrap() >= 10 << 20);
}

#[test]
fn a_stream_that_is_cut_a_hundred_times_resumes_without_gap_or_repeat() {
    let daemon = Daemon::of_this_world();
    let lines = 2000;
    let script = format!("i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done");
    let id = daemon.start(&Start::shell(&script).limit("wall_time_ms", 120_000));
    let (mut text, mut last, mut cuts, mut ended) = (String::new(), None::<String>, 0, false);
    while !ended {
        let mut events = daemon.client.events(&format!("/v1/executions/{id}/logs?follow=true"), last.as_deref());
        events.patience(Duration::from_secs(20));
        let mut taken = 0;
        for event in events.by_ref() {
            last = event.id.clone().or(last);
            match event.name.as_str() {
                "output" => text.push_str(event.json()["data"].as_str().expect("text")),
                "gap" => panic!("a gap inside the ring: {event:?}"),
                "end" => ended = true,
                _ => {}
            }
            taken += 1;
            if ended || (cuts < 100 && taken >= 2) {
                break;
            }
        }
        assert!(taken > 0, "no event after {last:?}");
        cuts += 1;
        events.cut();
    }
    let expected: String = (0..lines).map(|i| format!("line {i}\n")).collect();
    assert!(text == expected, "{} bytes instead of {} after {cuts} cuts", text.len(), expected.len());
}

#[test]
fn a_client_that_resets_its_connection_leaves_the_execution_running() {
    let daemon = Daemon::of_this_world();
    let id = daemon
        .start(&Start::shell("i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done").limit("wall_time_ms", 60_000));
    let follow = format!("/v1/executions/{id}/logs?follow=true");
    // The execution has its own files open once it has written something.
    assert!(daemon.client.events(&follow, None).next().is_some());
    std::thread::sleep(Duration::from_millis(500));
    let before = proc::open_fds(daemon.pid);
    for _ in 0..20 {
        let mut events = daemon.client.events(&follow, None);
        events.patience(Duration::from_secs(5));
        assert!(events.next().is_some());
        events.cut();
    }
    let freed = wait_for(Duration::from_secs(5), || (proc::open_fds(daemon.pid) <= before).then_some(()));
    assert!(freed.is_some(), "{:?} descriptors, {before:?} before", proc::open_fds(daemon.pid));
    assert_eq!(daemon.get(&id)["status"], "running");
    daemon.cancel(&id);
}

#[test]
fn two_hundred_clients_that_stop_reading_disturb_nobody() {
    let daemon = Daemon::of_this_world();
    let before = proc::rss(daemon.pid).unwrap();
    let path = "/metrics/watch?interval_ms=100";
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.client.addr).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.client.addr).unwrap();
            stream
        })
        .collect();
    let mut events = daemon.client.events(path, None);
    events.patience(Duration::from_secs(10));
    let begun = Instant::now();
    let mut seen = 0;
    while begun.elapsed() < Duration::from_secs(10) && events.next().is_some() {
        seen += 1;
    }
    let grown = proc::rss(daemon.pid).unwrap().saturating_sub(before);
    println!("{seen} events, daemon grew by {grown}");
    assert!(seen >= 50, "{seen} events in ten seconds at ten a second");
    assert!(grown <= 200 * (64 << 10), "the daemon grew by {grown} bytes");
    drop(idle);
}

#[test]
fn a_thousand_connections_at_256_descriptors_are_survived() {
    let daemon = Daemon::own_with(&[], &[], |command| crate::support::daemon::under_shell(command, "ulimit -n 256"));
    let cpu_before = proc::cpu_ms(daemon.pid).unwrap();
    let connections: Vec<_> = (0..1000).filter_map(|_| TcpStream::connect(daemon.client.addr).ok()).collect();
    std::thread::sleep(Duration::from_secs(2));
    let burnt = proc::cpu_ms(daemon.pid).unwrap() - cpu_before;
    assert!(burnt <= 500 * u64::from(World::current().slowness()), "{burnt} ms of CPU in two seconds: it spins");
    drop(connections);
    let recovered = wait_for(Duration::from_secs(1) * World::current().slowness(), || {
        daemon.probe("/livez", Duration::from_millis(500)).filter(|(status, _)| *status == 200)
    });
    assert!(recovered.is_some(), "no answer one second after the connections went");
    daemon.run(&Start::workload(&["exit", "0"])).must_end("completed", "exit");
}

#[test]
fn malformed_and_oversized_requests_get_a_4xx_and_change_nothing() {
    let daemon = Daemon::of_this_world();
    let count = || daemon.client.get("/v1/executions?limit=1000").expect(200)["executions"].as_array().map(Vec::len);
    let before = count();
    let json = [("Content-Type", "application/json")];
    let post = |body: &[u8]| daemon.client.try_request("POST", "/v1/executions", &json, body).unwrap();
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    let deep = format!("{{\"agent_type\":\"VALIDATION\",\"command\":{deep}}}");
    for (body, status) in [
        (r#"{"agent_type":"NOBODY","command":["true"]}"#.as_bytes(), 422),
        (br#"{"agent_type":"VALIDATION","command":[]}"#, 422),
        (br#"{"agent_type":"VALIDATION","command":["true"],"cwd":"/no/such/folder"}"#, 422),
        (br#"{"agent_type":"VALIDATION","command":["true"],"limits":{"memory_bytes":99999999999}}"#, 403),
        (br#"{"agent_type":"VALIDATION","command":"true"}"#, 400),
        (br#"{"agent_type":"VALIDATION","#, 400),
        (deep.as_bytes(), 400),
    ] {
        let answer = post(body);
        assert_eq!(
            answer.status,
            status,
            "{}: {}",
            String::from_utf8_lossy(&body[..body.len().min(100)]),
            answer.text()
        );
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json();
        assert!(problem["code"].is_string() && problem["message"].is_string(), "{problem}");
    }
    let large = vec![b' '; 3 << 20];
    assert_eq!(post(&large).status, 413);
    assert_eq!(daemon.client.get("/v1/executions/nobody").status, 404);
    let huge = "x".repeat(10 << 20);
    let answer = daemon.client.try_request("GET", "/health", &[("X-Big", &huge)], b"");
    assert!(answer.is_err() || answer.is_ok_and(|a| (400..500).contains(&a.status)), "a header of 10 MB");
    let odd = daemon.client.try_request("BREW", "/v1/executions", &[], b"").unwrap();
    assert!((400..=501).contains(&odd.status), "{}", odd.status);
    assert_eq!(count(), before, "something was created");
}

#[test]
fn livez_stays_quick_under_every_load_at_once() {
    let daemon = Daemon::of_this_world();
    let loads: Vec<String> = [
        Start::workload(&["spin", "4"]),
        Start::workload(&["forkbomb"]).limit("pids", 64),
        Start::workload(&["alloc", "400000000", "200000000"]),
        Start::workload(&["many-files", ".", "20000", "4096"]),
        Start::workload(&["yes"]),
    ]
    .iter()
    .map(|load| daemon.start(&load.clone().limit("wall_time_ms", 20_000)))
    .collect();
    let mut answers = Vec::new();
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        let (status, took) = daemon.probe("/livez", Duration::from_secs(10)).expect("an answer");
        assert_eq!(status, 200);
        answers.push(took);
        std::thread::sleep(Duration::from_millis(20));
    }
    for load in &loads {
        daemon.cancel(load);
    }
    for load in &loads {
        daemon.wait(load, Duration::from_secs(20) * World::current().slowness());
    }
    let p99 = percentile(&mut answers, 99);
    println!("/livez p99 {p99:?} of {} under load", answers.len());
    assert!(p99 <= Duration::from_millis(250) * World::current().slowness(), "/livez p99 {p99:?}");
}
