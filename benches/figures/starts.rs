//! How long until the first answer, and from a start request to its verdict.

use crate::keepalive::Connection;
use crate::support::{Daemon, World, daemon, percentile, world};
use crate::table::Table;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn first_answer(table: &mut Table) {
    let mut times: Vec<Duration> = (0..60).map(|_| one_first_answer()).collect();
    let (median, p90) = (ms(percentile(&mut times, 50)), ms(percentile(&mut times, 90)));
    if World::current().is_inner() {
        table.at_most("exec → first 200 on /health, median", median, 3.0, "ms");
        table.at_most("exec → first 200 on /health, p90", p90, 5.0, "ms");
    } else {
        table.at_most("exec → first 200 on /health with cgroups, median", median, 15.0, "ms");
    }
}

fn one_first_answer() -> Duration {
    let addr = daemon::free_address();
    let folder = world::Scratch::new("start");
    let begun = Instant::now();
    let mut child = Command::new(world::execd())
        .args(["serve", "--listen", &addr.to_string(), "--state-dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("execd");
    let took = loop {
        if health(addr).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "no answer");
        std::thread::sleep(Duration::from_micros(50));
    };
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("pid"));
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let _ = child.wait();
    took
}

fn health(addr: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").ok()?;
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).ok()?;
    Some(String::from_utf8_lossy(&head).into_owned())
}

pub fn verdict(table: &mut Table) {
    let daemon = Daemon::own(&[]);
    let mut connection = Connection::open(daemon.client.addr);
    let body = r#"{"agent_type":"VALIDATION","command":["/bin/true"]}"#;
    let mut run = || {
        let begun = Instant::now();
        let (status, answer) = connection.ask("POST", "/v1/executions?wait=true", "application/json", body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        begun.elapsed()
    };
    let plain = || {
        let begun = Instant::now();
        let _ = Command::new("/bin/true").stdin(Stdio::null()).stdout(Stdio::null()).status();
        begun.elapsed()
    };
    for _ in 0..20 {
        run();
        plain();
    }
    // Taken in turns and after the same pause, so that whatever else this machine does, and how warm its caches are, hits both alike.
    let pause = || std::thread::sleep(Duration::from_millis(5));
    let (mut ours, mut floor): (Vec<_>, Vec<_>) = (0..300)
        .map(|_| {
            pause();
            let ours = run();
            pause();
            (ours, plain())
        })
        .unzip();
    let (median, base) = (ms(percentile(&mut ours, 50)), ms(percentile(&mut floor, 50)));
    table.at_most("start → verdict of /bin/true, median", median, 2.0, "ms");
    table.at_most(&format!("the same against posix_spawn + wait ({base:.2} ms)"), median / base, 2.5, "×");
    let mut slow: Vec<_> = (0..150)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            run()
        })
        .collect();
    table.at_most("the same at one start per 100 ms, p99", ms(percentile(&mut slow, 99)), 12.0, "ms");
}
