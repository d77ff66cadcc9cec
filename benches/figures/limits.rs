//! How far an execution gets beyond its limits, and what others feel of it.

use crate::support::{Daemon, Start, World, percentile};
use crate::table::Table;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

pub fn cpu_over_run(table: &mut Table) {
    let daemon = Daemon::of_this_world();
    let (mechanism, _) = daemon.enforcement("cpu_time_ms");
    let limit = if mechanism.starts_with("cgroup") { 50.0 } else { 100.0 };
    let start = Start::workload(&["spin", "2"]).limit("cpu_time_ms", 1000);
    let mut over: Vec<_> =
        (0..9).map(|_| Duration::from_millis(daemon.run(&start).cpu_ms().saturating_sub(1000))).collect();
    let median = percentile(&mut over, 50).as_millis() as f64;
    table.at_most(&format!("CPU over-run, two threads ({mechanism})"), median, limit, "ms");
}

pub fn memory_over_run(table: &mut Table) {
    let daemon = Daemon::of_this_world();
    let limit = 128 * MIB;
    let words = ["alloc".to_owned(), (2048 * MIB).to_string(), 1_000_000_000u64.to_string()];
    let start = Start::workload(&words).limit("memory_bytes", limit);
    let (mut over, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let end = daemon.run(&start);
        end.must_breach("memory_bytes", "memory_limit");
        let peak = end.usage("memory_peak_bytes").expect("a peak");
        // At one GB/s a byte beyond the limit is a nanosecond after it.
        over.push(Duration::from_nanos(peak.saturating_sub(limit)));
        let crossing = Duration::from_nanos(limit);
        gone.push(Duration::from_millis(end.usage("wall_ms").expect("a time")).saturating_sub(crossing));
    }
    let ms = |samples: &mut [Duration]| percentile(samples, 50).as_secs_f64() * 1000.0;
    table.at_most("memory, crossing at 1 GB/s → KILL", ms(&mut over), 50.0, "ms");
    let allowed = 50.0 + 150.0 * limit as f64 / f64::from(1 << 30);
    table.at_most("memory, crossing → all gone", ms(&mut gone), allowed.round(), "ms");
}

pub fn livez_under_load(table: &mut Table) {
    let daemon = Daemon::of_this_world();
    let loads: Vec<String> = [
        Start::workload(&["spin", "4"]),
        Start::workload(&["forkbomb"]).limit("pids", 64),
        Start::workload(&["alloc", "400000000", "100000000"]),
        Start::workload(&["many-files", ".", "20000", "4096"]),
        Start::workload(&["yes"]),
    ]
    .iter()
    .map(|load| daemon.start(&load.clone().limit("wall_time_ms", 30_000)))
    .collect();
    let begun = Instant::now();
    let mut answers = Vec::new();
    while begun.elapsed() < Duration::from_secs(10) {
        answers.push(daemon.probe("/livez", Duration::from_secs(10)).expect("an answer").1);
        std::thread::sleep(Duration::from_millis(10));
    }
    for load in &loads {
        daemon.cancel(load);
    }
    for load in &loads {
        daemon.wait(load, Duration::from_secs(30));
    }
    let p99 = percentile(&mut answers, 99).as_secs_f64() * 1000.0;
    let room = f64::from(World::current().slowness());
    table.at_most("/livez p99 under CPU, forks, memory, disk, output", p99, 250.0 * room, "ms");
}
