//! Requests as an orchestrator and Prometheus make them.

use crate::floor;
use crate::keepalive::Connection;
use crate::support::http::Response;
use crate::support::{Daemon, percentile, world};
use crate::table::Table;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

/// One server under wrk.
struct Load {
    addr: SocketAddr,
    /// The thread that serves.
    thread: String,
    /// Requests per second, and microseconds of CPU that each cost the server.
    seen: Vec<(f64, f64)>,
}

impl Load {
    fn new(addr: SocketAddr, pid: u32, thread: i32) -> Load {
        Load { addr, thread: format!("/proc/{pid}/task/{thread}/schedstat"), seen: Vec::new() }
    }

    /// Nanoseconds that the serving thread has had the CPU.
    fn cpu_ns(&self) -> f64 {
        let text = std::fs::read_to_string(&self.thread).expect("the serving thread");
        text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("schedstat begins with a time")
    }

    fn measure(&mut self) {
        let url = format!("http://{}/health", self.addr);
        let before = self.cpu_ns();
        let output = Command::new("wrk").args(["-t1", "-c32", "-d1s", &url]).output().expect("wrk");
        let cpu = self.cpu_ns() - before;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "wrk said {text}");
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<f64>().ok());
        let lines = || text.lines().map(str::trim);
        let rate = lines().find_map(|line| number(Some(line.strip_prefix("Requests/sec:")?.trim())));
        let count = lines().find_map(|line| line.contains(" requests in ").then(|| number(line.split(' ').next()))?);
        let (Some(rate), Some(count)) = (rate, count) else { panic!("wrk said {text}") };
        self.seen.push((rate, cpu / 1e3 / count));
    }

    fn cpu_us(&self) -> f64 {
        median(self.seen.iter().map(|seen| seen.1))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The two take turns second by second, so that both see the same noise. wrk itself needs more CPU per request than the loop: on two
/// idle cores it bounds both, and the CPU that a request costs says more; it stands beside the ratio.
pub fn throughput(table: &mut Table) {
    const TURNS: usize = 9;
    if !world::needs_tools(&["wrk"]) {
        return;
    }
    let daemon = Daemon::own(&[]);
    let (addr, thread) = floor::serve(on_the_wire(&daemon.client.get("/health")));
    let mut floor = Load::new(addr, std::process::id(), thread);
    let mut ours = Load::new(daemon.client.addr, daemon.pid.unsigned_abs(), daemon.pid);
    for _ in 0..=TURNS {
        floor.measure();
        ours.measure();
    }
    // The first turn only warms both.
    let pairs = ours.seen.iter().zip(&floor.seen).skip(1);
    let ratio = median(pairs.map(|(ours, floor)| ours.0 / floor.0));
    let rate = median(floor.seen.iter().map(|seen| seen.0));
    let (cpu, base) = (ours.cpu_us(), floor.cpu_us());
    let name = format!("/health against an epoll loop ({rate:.0}/s; CPU {cpu:.1} against {base:.1} µs)");
    table.at_least(&name, ratio, 0.85, "×");
}

/// The bytes of an answer on a connection that is kept alive.
fn on_the_wire(response: &Response) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} OK\r\n", response.status);
    for (name, value) in response.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", &response.body].concat()
}

pub fn metrics_latency(table: &mut Table) {
    let daemon = Daemon::own(&[]);
    let mut connection = Connection::open(daemon.client.addr);
    for (name, accept, limit) in
        [("GET /metrics p50, JSON", "application/json", 150.0), ("GET /metrics p50, Prometheus", "text/plain", 300.0)]
    {
        let mut times: Vec<_> = (0..2000)
            .map(|_| {
                let begun = Instant::now();
                let (status, _) = connection.ask("GET", "/metrics", accept, "");
                assert_eq!(status, 200);
                begun.elapsed()
            })
            .collect();
        table.at_most(name, percentile(&mut times, 50).as_secs_f64() * 1e6, limit, "µs");
    }
}
