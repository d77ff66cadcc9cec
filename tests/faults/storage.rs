//! Rows about disk: what an execution adds is bounded, and a full disk stops nothing of ours.

use crate::support::{Daemon, Start, World, wait_for, world};
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn must_breach_storage(words: &[&str]) {
    let daemon = Daemon::of_this_world();
    let start = Start::workload(words).limit("storage_bytes", 10 * MIB).limit("wall_time_ms", 60_000);
    let end = daemon.run(&start);
    end.must_breach("storage_bytes", "storage_limit");
    let wall = end.usage("wall_ms").unwrap();
    // The program's own time is in it, and where everything is emulated that is the most of it.
    let slowness = u64::from(World::current().slowness());
    assert!(wall <= 2_500 * slowness * slowness.min(2), "noticed after {wall} ms");
}

#[test]
fn a_large_file_in_the_work_directory_breaks_the_storage_limit() {
    must_breach_storage(&["fill-disk", "big", &(20 * MIB).to_string()]);
}

#[test]
fn a_deleted_file_that_is_still_open_counts_as_storage() {
    must_breach_storage(&["deleted-open-file", "gone", &(20 * MIB).to_string()]);
}

#[test]
fn many_small_files_count_as_storage() {
    must_breach_storage(&["many-files", ".", "2000", "16384"]);
}

#[test]
fn a_single_file_may_not_pass_its_size_limit() {
    let daemon = Daemon::of_this_world();
    let end =
        daemon.run(&Start::workload(&["fill-disk", "big", &(20 * MIB).to_string()]).limit("file_size_bytes", MIB));
    end.must_end("failed", "signal");
    assert_eq!(end.object["signal"], "SIGXFSZ");
}

#[test]
fn open_files_are_limited_by_the_kernel() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["open-many-fds", "1000"]).limit("open_files", 64));
    end.must_end("completed", "exit");
    let report = daemon.report(end.id());
    assert_eq!(report["errno"], 24, "EMFILE: {report}");
    assert!(report["opened"].as_u64().unwrap() <= 64);
}

#[test]
fn a_full_state_directory_stops_no_execution_and_is_reported() {
    if World::current() == World::Docker || World::current() == World::DockerLocked || !world::needs_root() {
        return;
    }
    let disk = Tmpfs::mount(256 << 10);
    let state = disk.0.path().display().to_string();
    let daemon = Daemon::own(&["--state-dir", &state]);
    let filler = disk.0.path().join("filler");
    let _ = std::fs::write(&filler, vec![0u8; 1 << 20]);
    for code in 0..20 {
        let end = daemon.run(&Start::shell(&format!("echo {}; exit {code}", "x".repeat(2000))));
        assert_eq!(end.exit_code(), Some(code), "{:#}", end.object);
    }
    let told = daemon.client.get("/readyz?verbose").text();
    assert!(told.to_lowercase().contains("state"), "/readyz?verbose says nothing about the state directory: {told}");
    let _ = std::fs::remove_file(&filler);
    let recovered = wait_for(Duration::from_secs(10), || {
        daemon.run(&Start::workload(&["exit", "0"]));
        (daemon.client.get("/readyz").status == 200).then_some(())
    });
    assert!(recovered.is_some(), "not ready again: {}", daemon.client.get("/readyz?verbose").text());
}

/// A small file system of its own.
struct Tmpfs(world::Scratch);

impl Tmpfs {
    fn mount(bytes: u64) -> Tmpfs {
        let folder = world::Scratch::new("tmpfs");
        let options = format!("size={bytes}");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(options.as_str())).unwrap();
        Tmpfs(folder)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
