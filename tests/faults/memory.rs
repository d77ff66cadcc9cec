//! Rows about memory: what counts is what the kernel cannot take back, once, and the page cache never kills.

use crate::support::{Daemon, Start, World, percentile};
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn start(words: &[&str]) -> Start {
    Start::workload(words).limit("memory_bytes", 64 * MIB).limit("wall_time_ms", 30_000)
}

fn must_be_killed_at_the_limit(words: &[&str]) {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&start(words));
    end.must_breach("memory_bytes", "memory_limit");
    println!("{:?} ms", end.usage("wall_ms"));
}

#[test]
fn one_process_at_twice_the_memory_limit_is_killed() {
    must_be_killed_at_the_limit(&["alloc", &(128 * MIB).to_string()]);
}

#[test]
fn sixty_four_small_processes_at_twice_the_memory_limit_are_killed() {
    must_be_killed_at_the_limit(&["alloc-many", "64", &(2 * MIB).to_string()]);
}

#[test]
fn shared_anonymous_memory_counts() {
    must_be_killed_at_the_limit(&["mmap-shared", &(128 * MIB).to_string()]);
}

#[test]
fn a_mapped_memfd_counts() {
    must_be_killed_at_the_limit(&["memfd", &(128 * MIB).to_string()]);
}

#[test]
fn a_file_in_shared_memory_counts_where_the_kernel_charges_it() {
    let daemon = Daemon::of_this_world();
    if daemon.enforcement("memory_bytes").1 != "enforced" || !std::path::Path::new("/dev/shm").is_dir() {
        return;
    }
    let path = format!("/dev/shm/execd-test-{}", std::process::id());
    let end = daemon.run(&start(&["fill-file", &path, &(128 * MIB).to_string()]));
    let _ = std::fs::remove_file(&path);
    end.must_breach("memory_bytes", "memory_limit");
}

#[test]
fn memory_that_is_shared_after_a_fork_counts_once() {
    let daemon = Daemon::of_this_world();
    daemon.run(&start(&["share-after-fork", &(40 * MIB).to_string(), "5"])).must_end("completed", "exit");
}

#[test]
fn page_cache_alone_kills_nobody() {
    let daemon = Daemon::of_this_world();
    let folder = disk_folder();
    let path = format!("{folder}/execd-test-cache-{}", std::process::id());
    let end = daemon.run(&start(&["page-cache", &path, &(256 * MIB).to_string()]));
    let _ = std::fs::remove_file(&path);
    end.must_end("completed", "exit");
    assert_eq!(daemon.report(end.id())["written"], 256 * MIB);
}

/// A folder on a disk: in the machine the root is memory, so its second disk is mounted.
fn disk_folder() -> &'static str {
    if World::current() == World::Machine {
        let flags = nix::mount::MsFlags::empty();
        match nix::mount::mount(Some("/dev/nvme0n1"), "/work", Some("ext4"), flags, None::<&str>) {
            // Busy: an earlier row has done it.
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => panic!("/dev/nvme0n1 on /work: {error}"),
        }
        return "/work";
    }
    "/tmp"
}

#[test]
fn growth_at_a_gigabyte_a_second_is_noticed_in_time() {
    let daemon = Daemon::of_this_world();
    let (_, strength) = daemon.enforcement("memory_bytes");
    if World::current() == World::Machine || strength == "unavailable" {
        return;
    }
    let mut over = Vec::new();
    for _ in 0..10 {
        let rate = 1_000_000_000u64;
        let end = daemon.run(&start(&["alloc", &(512 * MIB).to_string(), &rate.to_string()]));
        end.must_breach("memory_bytes", "memory_limit");
        let peak = end.usage("memory_peak_bytes").unwrap();
        // At one GB/s, bytes over the limit are nanoseconds after crossing it.
        over.push(Duration::from_nanos(peak.saturating_sub(64 * MIB)));
    }
    let median = percentile(&mut over, 50);
    println!("killed {median:?} after crossing (median), worst {:?}", over[over.len() - 1]);
    assert!(median <= Duration::from_millis(50), "{median:?} after crossing");
}

#[test]
fn a_big_allocation_that_is_never_touched_is_free() {
    let daemon = Daemon::of_this_world();
    if World::current().is_inner() || !crate::support::world::needs_tools(&["python3"]) {
        return;
    }
    let code = "import mmap; m = mmap.mmap(-1, 4 << 30); m[0] = 1; print(len(m))";
    let end = daemon.run(&Start::command("VALIDATION", &["python3", "-c", code]).limit("memory_bytes", 64 * MIB));
    end.must_end("completed", "exit");
}

/// Only where the container itself is small; see `outer`.
#[test]
fn more_than_the_container_has_kills_the_execution_and_not_the_daemon() {
    if std::env::var_os("EXECD_TEST_OOM").is_none() {
        return;
    }
    let daemon = Daemon::of_this_world();
    let start = Start::workload(&["alloc", &(400 * MIB).to_string()]).set("agent_type", "IMPLEMENTATION");
    let end = daemon.run(&start.limit("wall_time_ms", 60_000));
    assert_eq!(end.status(), "failed", "{:#}", end.object);
    println!("{} {:?}", end.reason(), end.object["signal"]);
    // The kernel's OOM killer or our watchdog was first; either way the evidence is named.
    assert!(["memory_limit", "signal"].contains(&end.reason()), "{:#}", end.object);
    daemon.run(&Start::workload(&["exit", "0"])).must_end("completed", "exit");
}

#[test]
fn a_lower_limit_dies_alone_below_a_group_that_is_killed_as_a_whole() {
    if World::current() != World::Machine {
        return;
    }
    let enter = "mkdir -p /sys/fs/cgroup/box; echo 1 > /sys/fs/cgroup/box/memory.oom.group; \
        echo 268435456 > /sys/fs/cgroup/box/memory.max; echo 0 > /sys/fs/cgroup/box/cgroup.procs";
    let daemon = Daemon::own_with(&[], &[], |command| crate::support::daemon::under_shell(command, enter));
    let bystander = daemon.start(&start(&["sleep-ms", "30000"]));
    daemon.run(&start(&["alloc", &(128 * MIB).to_string()])).must_breach("memory_bytes", "memory_limit");
    assert_eq!(daemon.get(&bystander)["status"], "running");
}

/// A container whose cgroup files are read-only and whose out-of-memory kill would take the daemon along.
#[test]
fn the_watchdog_is_ahead_of_a_container_that_dies_as_a_whole() {
    if World::current() != World::Machine {
        return;
    }
    let enter = "mkdir -p /sys/fs/cgroup/whole; echo 1 > /sys/fs/cgroup/whole/memory.oom.group; \
        echo 268435456 > /sys/fs/cgroup/whole/memory.max; echo 0 > /sys/fs/cgroup/whole/cgroup.procs; \
        exec busybox unshare -m sh -c 'busybox mount -o bind /sys/fs/cgroup /sys/fs/cgroup && \
        busybox mount -o remount,bind,ro /sys/fs/cgroup && exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let daemon = Daemon::own_with(&[], &[], |command| crate::support::daemon::under_shell(command, enter));
    let start = Start::workload(&["alloc", &(400 * MIB).to_string()]).set("agent_type", "IMPLEMENTATION");
    let end = daemon.run(&start.limit("wall_time_ms", 60_000));
    end.must_end("failed", "memory_limit");
    assert_eq!(end.object["breach"]["allowed"], 256 * MIB, "{:#}", end.object);
    assert_eq!(end.object["breach"]["mechanism"], "watchdog", "{:#}", end.object);
    daemon.run(&Start::workload(&["exit", "0"])).must_end("completed", "exit");
}
