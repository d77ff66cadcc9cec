//! A gibibyte from `cat` to a client that keeps up.

use crate::support::{Daemon, Start, world};
use crate::table::Table;
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;

pub fn gibibyte(table: &mut Table) {
    let folder = world::Scratch::new("gib");
    let file = folder.path().join("file");
    let mut out = std::fs::File::create(&file).expect("file");
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..GIB >> 20 {
        out.write_all(&chunk).expect("disk space");
    }
    drop(out);
    let path = file.display().to_string();
    let daemon = Daemon::own(&[]);
    let (mut ratios, mut lost) = (Vec::new(), 0);
    for _ in 0..3 {
        let floor = pipe(&path);
        let (took, missing) = follow(&daemon, &path);
        ratios.push((floor.as_secs_f64() / took.as_secs_f64(), floor));
        lost += missing;
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, floor) = ratios[1];
    let base = GIB as f64 / floor.as_secs_f64() / 1e9;
    table.at_least(&format!("1 GiB followed, against cat | cat ({base:.1} GB/s)"), ratio, 0.4, "×");
    table.at_most("bytes of it lost", lost as f64, 0.0, "");
}

fn pipe(path: &str) -> Duration {
    let begun = Instant::now();
    let status = Command::new("sh").args(["-c", "cat \"$0\" | cat >/dev/null", path]).status().expect("sh");
    assert!(status.success());
    begun.elapsed()
}

fn follow(daemon: &Daemon, path: &str) -> (Duration, u64) {
    let held = Start::command("VALIDATION", &["cat", path]).set("hold", true);
    let id = daemon.start(&held);
    let begun = Instant::now();
    let target = format!("/v1/executions/{id}/output?stream=stdout&follow=true");
    let (status, _, mut body) = daemon.client.open("GET", &target, &[], b"").expect("follow");
    assert_eq!(status, 200);
    let started = daemon.client.post(&format!("/v1/executions/{id}/start"), &serde_json::json!({}));
    assert!(started.status < 300, "{}", started.text());
    let (mut buffer, mut bytes) = (vec![0u8; 1 << 20], 0u64);
    loop {
        match body.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => bytes += n as u64,
        }
    }
    let took = begun.elapsed();
    let end = daemon.wait(&id, Duration::from_secs(60));
    let lost = end.usage("output_lost_bytes").unwrap_or(0).max(GIB.saturating_sub(bytes));
    (took, lost)
}
