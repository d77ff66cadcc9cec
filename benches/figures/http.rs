//! Requests as an orchestrator and Prometheus make them.

use crate::floor;
use crate::keepalive::Connection;
use crate::support::{Daemon, percentile, world};
use crate::table::Table;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

/// Requests per second that wrk gets out of an address in three seconds.
fn wrk(addr: SocketAddr) -> f64 {
    let url = format!("http://{addr}/health");
    let output = Command::new("wrk").args(["-t1", "-c32", "-d3s", &url]).output().expect("wrk");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("wrk said {text}"))
}

pub fn throughput(table: &mut Table) {
    if !world::needs_tools(&["wrk"]) {
        return;
    }
    let daemon = Daemon::own(&[]);
    let floor = floor::serve(&daemon.client.get("/health").text());
    wrk(daemon.client.addr);
    let mut ratios: Vec<(f64, f64)> = (0..3)
        .map(|_| {
            let (base, ours) = (wrk(floor), wrk(daemon.client.addr));
            (ours / base, base)
        })
        .collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, base) = ratios[1];
    table.at_least(&format!("/health against an epoll loop ({base:.0}/s)"), ratio, 0.85, "×");
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
