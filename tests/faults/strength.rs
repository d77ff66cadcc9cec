//! Rows about honesty: what `/health` claims in each world is what that world can do.

use crate::support::{Daemon, World, world};

/// Strengths that are true in a world; a stronger claim would be a lie, a weaker one a loss.
fn true_strengths(limit: &str) -> &'static [&'static str] {
    match (World::current(), limit) {
        (_, "wall_time_ms") => &["enforced"],
        (World::Machine, "memory_bytes" | "cpu_time_ms" | "pids" | "cpu_cores") => &["enforced"],
        (World::Docker | World::DockerLocked, "memory_bytes" | "cpu_time_ms") => &["sampled"],
        (World::Docker | World::DockerLocked, "pids") => &["enforced", "sampled"],
        (World::Docker | World::DockerLocked, "cpu_cores") => &["advisory", "unavailable"],
        (_, "storage_bytes") => &["sampled"],
        (_, "open_files" | "file_size_bytes") => &["enforced"],
        _ => &["enforced", "sampled", "advisory", "unavailable"],
    }
}

#[test]
fn the_enforcement_table_is_true_here() {
    let daemon = Daemon::of_this_world();
    for limit in ["memory_bytes", "cpu_time_ms", "wall_time_ms", "storage_bytes", "pids", "open_files", "cpu_cores"] {
        let (mechanism, strength) = daemon.enforcement(limit);
        println!("{limit}: {mechanism} {strength}");
        let fitting = true_strengths(limit);
        assert!(
            fitting.contains(&strength.as_str()),
            "{limit} is {strength} by {mechanism}, one of {fitting:?} is true"
        );
    }
}

#[test]
fn root_with_writable_groups_has_all_of_it_enforced() {
    if World::current() != World::Here || !world::needs_root() {
        return;
    }
    let daemon = Daemon::of_this_world();
    for limit in ["memory_bytes", "cpu_time_ms", "pids"] {
        let (mechanism, strength) = daemon.enforcement(limit);
        assert!(mechanism.starts_with("cgroup") && strength == "enforced", "{limit}: {mechanism} {strength}");
    }
}

#[test]
fn a_fake_cgroup_tree_is_not_trusted() {
    if World::current() != World::Here || !world::needs_root() || !world::needs_tools(&["unshare", "mount"]) {
        return;
    }
    let fake = "mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && mkdir memory pids cpuacct && \
        echo 'cpu memory pids' > cgroup.controllers && echo 1000000 > memory.max && echo 0 > memory.current && \
        echo 1000000 > memory/memory.limit_in_bytes && echo 0 > cgroup.procs && cd /";
    let daemon = Daemon::own_with(&[], &[], |command| {
        crate::support::daemon::under_shell(command, fake);
        let (program, arguments) = crate::support::daemon::words(command);
        crate::support::daemon::wrap(command, "unshare".as_ref(), &["--mount"], &program, &arguments);
    });
    let (mechanism, _) = daemon.enforcement("memory_bytes");
    assert!(!mechanism.starts_with("cgroup"), "memory is held by {mechanism} of a tree that anybody could have made");
    let metrics = daemon.client.get("/metrics").expect(200);
    assert!(metrics["mem_total_mib"].as_f64().unwrap() > 1.0, "{metrics}");
}

#[test]
fn metrics_follow_a_live_resize() {
    let group = std::path::Path::new("/sys/fs/cgroup/memory/execd-test-resize");
    if World::current() != World::Here || !world::needs_root() || !group.parent().unwrap().is_dir() {
        return;
    }
    let _ = std::fs::create_dir(group);
    let set = |mib: u64| std::fs::write(group.join("memory.limit_in_bytes"), (mib << 20).to_string()).unwrap();
    set(512);
    let daemon = Daemon::own_with(&[], &[], |command| {
        crate::support::daemon::under_shell(command, &format!("echo 0 > {}/cgroup.procs", group.display()));
    });
    let total = || daemon.client.get("/metrics").expect(200)["mem_total_mib"].as_f64().unwrap();
    let before = total();
    set(256);
    let after = total();
    drop(daemon);
    let _ = std::fs::remove_dir(group);
    assert!((before - 512.0).abs() < 1.0 && (after - 256.0).abs() < 1.0, "{before} MiB, then {after} MiB");
}
