//! What execd costs when nobody wants anything of it.

use crate::support::{Daemon, Start, proc, world};
use crate::table::Table;
use std::time::Duration;

const MIB: f64 = 1048576.0;

pub fn binary_size(table: &mut Table) {
    let bytes = std::fs::metadata(world::execd()).expect("binary").len();
    table.at_most("stripped static binary", bytes as f64 / MIB, 3.0, "MiB");
}

/// PSS of the daemon and everything below it that is execd.
fn family_pss(daemon: &Daemon) -> f64 {
    let own = proc::descendants(daemon.pid).into_iter().filter(|p| p.name.starts_with("execd")).map(|p| p.pid);
    let sum: u64 = own.chain([daemon.pid]).filter_map(proc::pss).sum();
    sum as f64
}

pub fn idle_memory(table: &mut Table) {
    let daemon = Daemon::own(&[]);
    std::thread::sleep(Duration::from_secs(1));
    let fresh = family_pss(&daemon);
    table.at_most("idle PSS, daemon and zygote", fresh / MIB, 3.0, "MiB");
    // Warm it first: the pages that the first execution touches are not the price of the twentieth.
    let ids: Vec<String> = (0..20).map(|_| daemon.start(&Start::workload(&["sleep-ms", "60000"]))).collect();
    std::thread::sleep(Duration::from_secs(1));
    let twenty = family_pss(&daemon);
    for id in &ids {
        daemon.cancel(id);
    }
    table.at_most("PSS per running execution (20)", (twenty - fresh) / 20.0 / 1024.0, 500.0, "KiB");
}

pub fn context_switches(table: &mut Table) {
    let daemon = Daemon::own(&[]);
    daemon.run(&Start::workload(&["exit", "0"]));
    // What follows an execution (a spare supervisor, helper threads that time out) is not idling yet.
    std::thread::sleep(Duration::from_secs(15));
    let family: Vec<i32> = proc::descendants(daemon.pid).into_iter().map(|p| p.pid).chain([daemon.pid]).collect();
    let count = |pid: &i32| proc::context_switches(*pid).unwrap_or(0);
    let before: Vec<u64> = family.iter().map(count).collect();
    std::thread::sleep(Duration::from_secs(30));
    let switches: u64 = family.iter().zip(before).map(|(pid, before)| count(pid).saturating_sub(before)).sum();
    table.at_most("context switches in 30 idle seconds", switches as f64, 0.0, "");
}
