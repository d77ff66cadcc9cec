//! What the network gate costs: a connection, a build, a thousand small files, memory. Gated and bare types differ in nothing else.

use crate::support::network::{self, ECHO, Network};
use crate::support::{Daemon, Start, percentile, proc, world};
use crate::table::Table;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Two types that differ in the gate only, with room for everything.
fn daemon(network: &Network) -> Daemon {
    let file = network.scratch.path().join("gate.toml");
    let common = "extends = \"IMPLEMENTATION\"\nnetwork_requests = 1000000\ncpu_time_ms = \"1h\"\nwall_time_ms = \"1h\"\n\
        storage_bytes = \"4GiB\"\nfile_size_bytes = \"2GiB\"\npids = 1024\n";
    let text = format!("[agent_types.GATED]\n{common}\n[agent_types.BARE]\n{common}network_gate = false\n");
    std::fs::write(&file, text).expect("configuration");
    Daemon::own(&["--config", &file.display().to_string()])
}

fn workload(kind: &str, words: &[&str]) -> Start {
    Start::workload(&[&["net"][..], words].concat()).set("agent_type", kind)
}

pub fn connect(table: &mut Table) {
    network::inside(|network| {
        let daemon = daemon(network);
        // A local address that is not a loopback one.
        let listener = TcpListener::bind((network::BOX_V4, 0)).expect("our own address");
        let addr = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let mut added = Vec::new();
        let (mut bare, mut gated) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            let one = |kind| median_connect(&daemon, &workload(kind, &["latency", &addr, "2000"]));
            let (without, with) = (one("BARE"), one("GATED"));
            added.push(with.saturating_sub(without));
            bare.push(without);
            gated.push(with);
        }
        let us = |samples: &mut [Duration]| percentile(samples, 50).as_secs_f64() * 1e6;
        let name = format!("connect() through the gate, added ({:.0} → {:.0} µs)", us(&mut bare), us(&mut gated));
        table.at_most(&name, us(&mut added), if has_sync_wake_up() { 20.0 } else { 70.0 }, "µs");
    });
}

/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP came with Linux 6.6.
fn has_sync_wake_up() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

fn median_connect(daemon: &Daemon, start: &Start) -> Duration {
    let end = daemon.run(start);
    end.must_end("completed", "exit");
    let report = daemon.report(end.id());
    let mut times: Vec<Duration> = report["nanoseconds"]
        .as_array()
        .expect("times")
        .iter()
        .map(|time| Duration::from_nanos(time.as_u64().expect("a time")))
        .collect();
    assert_eq!(times.len(), 2000, "every connection was made");
    percentile(&mut times, 50)
}

/// Ordinary work, interleaved, each round a pair; the figure is the median of the ratios.
pub fn ordinary_work(table: &mut Table) {
    network::inside(|network| {
        let daemon = daemon(network);
        let folder = network.scratch.path();
        let works = [
            ("cargo build of a small crate", small_crate(&folder.join("crate")), 15),
            ("python3 -m compileall", compileall(&folder.join("python")), 25),
            ("git status in a large tree", large_tree(&folder.join("tree")), 25),
        ];
        for (name, line, rounds) in works {
            let run = |kind: &str| {
                let start = Start::shell(&line).set("agent_type", kind);
                let environment = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
                let known = environment.iter().filter_map(|key| Some((key, std::env::var(key).ok()?)));
                let end = daemon.run(&known.fold(start, |start, (key, value)| start.env(key, &value)));
                assert_eq!(end.reason(), "exit", "{:#}", end.object);
                end.must_end("completed", "exit");
                [end.replied_after.as_secs_f64(), end.cpu_ms().max(1) as f64]
            };
            run("BARE");
            run("GATED");
            // Whoever goes first goes second the next time.
            let ratios: Vec<[f64; 2]> = (0..rounds)
                .map(|round| {
                    let first = run(if round % 2 == 0 { "BARE" } else { "GATED" });
                    let second = run(if round % 2 == 0 { "GATED" } else { "BARE" });
                    let (bare, gated) = if round % 2 == 0 { (first, second) } else { (second, first) };
                    [gated[0] / bare[0], gated[1] / bare[1]]
                })
                .collect();
            let [time, cpu] = [0, 1].map(|which| {
                let mut column: Vec<f64> = ratios.iter().map(|ratio| ratio[which]).collect();
                column.sort_by(f64::total_cmp);
                (column[column.len() / 2] - 1.0) * 100.0
            });
            // CPU time hardly feels what else this machine does, so it tells a cost from a neighbour.
            table.at_most(&format!("{name}: time added by the gate (CPU time {cpu:.1} %)"), time, 2.0, "%");
        }
    });
}

fn shell(line: &str) {
    let done = Command::new("sh").args(["-ec", line]).output().expect("sh");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

fn small_crate(folder: &Path) -> String {
    std::fs::create_dir_all(folder.join("src")).expect("folder");
    std::fs::write(folder.join("Cargo.toml"), "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
        .expect("manifest");
    let functions: String = (0..200)
        .map(|i| format!("fn f{i}(v: &[String]) -> String {{ v.iter().map(|s| s.repeat({i} + 1)).collect() }}\n"))
        .collect();
    let calls: String = (0..200).map(|i| format!("println!(\"{{}}\", f{i}(&v).len());\n")).collect();
    let main = format!("{functions}fn main() {{ let v: Vec<String> = std::env::args().collect();\n{calls} }}\n");
    std::fs::write(folder.join("src/main.rs"), main).expect("source");
    format!("cd {} && rm -rf out && cargo build --offline --quiet --target-dir out", folder.display())
}

fn compileall(folder: &Path) -> String {
    let at = folder.display();
    shell(&format!(
        "mkdir -p {at} && cp -r /usr/lib/python3/../python3.11/asyncio /usr/lib/python3.11/email \
        /usr/lib/python3.11/json /usr/lib/python3.11/http /usr/lib/python3.11/unittest {at} && rm -rf {at}/*/__pycache__"
    ));
    format!("python3 -m compileall -q -f {at}")
}

fn large_tree(folder: &Path) -> String {
    let at = folder.display();
    shell(&format!(
        "mkdir -p {at} && cd {at} && git init -q . && for d in $(seq 200); do mkdir d$d; \
        for f in $(seq 100); do echo $d $f > d$d/f$f; done; done && git add . && \
        git -c user.name=t -c user.email=t@t commit -q -m t"
    ));
    format!(
        "cd {at} && export GIT_OPTIONAL_LOCKS=0 && for i in 1 2 3 4 5; do git -c safe.directory='*' status --porcelain; done"
    )
}

/// What one more gated execution takes, beyond one without a gate, after it has used the network.
pub fn memory(table: &mut Table) {
    const RUNNING: u64 = 20;
    network::inside(|network| {
        let daemon = daemon(network);
        let family = || -> u64 {
            let below =
                proc::descendants(daemon.pid).into_iter().filter(|p| p.name.starts_with("execd")).map(|p| p.pid);
            below.chain([daemon.pid]).filter_map(proc::pss).sum()
        };
        let line = format!("{} net contact tcp 40 threads {ECHO}; exec sleep 600", world::workload().display());
        let grown = |kind: &str| {
            let before = family();
            let ids: Vec<String> =
                (0..RUNNING).map(|_| daemon.start(&Start::shell(&line).set("agent_type", kind))).collect();
            for id in &ids {
                let said = crate::support::wait_for(Duration::from_secs(20), || {
                    (!daemon.output(id, "stdout").is_empty()).then_some(())
                });
                assert!(said.is_some(), "{}", daemon.get(id));
            }
            let after = family();
            for id in &ids {
                daemon.cancel(id);
                daemon.wait(id, Duration::from_secs(10));
            }
            after.saturating_sub(before) as f64 / RUNNING as f64 / 1024.0
        };
        // Warm both: the pages that the first ones touch are not the price of the twentieth.
        grown("BARE");
        grown("GATED");
        let (bare, gated) = (grown("BARE"), grown("GATED"));
        table.at_most(
            &format!("gate memory per execution ({bare:.0} → {gated:.0} KiB PSS)"),
            gated - bare,
            200.0,
            "KiB",
        );
    });
}
