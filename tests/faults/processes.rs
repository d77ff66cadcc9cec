//! Rows about processes: how they end, who waits for them, and that all of them end.

use crate::support::{Daemon, Start, World, percentile, proc, wait_for, world};
use std::time::{Duration, Instant};

#[test]
fn every_exit_code_is_exact_through_the_api() {
    let daemon = Daemon::of_this_world();
    for code in 0..=255 {
        let end = daemon.run(&Start::workload(&["exit", &code.to_string()]));
        assert_eq!(end.exit_code(), Some(code), "{:#}", end.object);
        end.must_end(if code == 0 { "completed" } else { "failed" }, "exit");
    }
}

#[test]
fn a_death_by_signal_is_named() {
    use nix::sys::signal::Signal;
    let daemon = Daemon::of_this_world();
    for signal in Signal::iterator().filter(|signal| ends_a_process(*signal)) {
        let end = daemon.run(&Start::workload(&["signal", &(signal as i32).to_string()]));
        end.must_end("failed", "signal");
        assert_eq!(end.object["signal"], signal.as_str(), "{:#}", end.object);
    }
}

/// Signals whose default action is to end the process.
pub fn ends_a_process(signal: nix::sys::signal::Signal) -> bool {
    use nix::sys::signal::Signal::*;
    !matches!(signal, SIGCHLD | SIGCONT | SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU | SIGURG | SIGWINCH)
}

#[test]
fn orphans_in_a_storm_leave_no_zombie_and_no_short_execution_is_lost_in_it() {
    let daemon = Daemon::of_this_world();
    // Here in full; in the other worlds a fifth of it, so that all worlds together stay within a coffee break.
    let (orphans, executions) = if World::current().is_inner() { (2_000u64, 1_000u64) } else { (10_000, 5_000) };
    let (orphans, executions) = match World::current() {
        World::Machine => (orphans / 4, executions / 10),
        _ => (orphans, executions),
    };
    daemon.run(&Start::workload(&["exit", "0"]));
    let before = Footprint::of(&daemon);
    let storm = Start::workload(&["orphans", &orphans.to_string(), "200"]);
    let most_zombies = std::sync::atomic::AtomicUsize::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                most_zombies.fetch_max(proc::zombies_of(daemon.pid), std::sync::atomic::Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let storm = scope.spawn(|| daemon.run(&storm));
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let daemon = &daemon;
                scope.spawn(move || {
                    for i in (worker..executions).step_by(2) {
                        let code = i64::try_from(i % 256).unwrap();
                        let end = daemon.run(&Start::workload(&["exit", &code.to_string()]));
                        assert_eq!(end.exit_code(), Some(code), "{:#}", end.object);
                    }
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        let end = storm.join();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let end = end.expect("the storm has a result");
        assert!(results.iter().all(Result::is_ok), "a short execution was lost or wrong");
        end.must_end("completed", "exit");
    });
    let most = most_zombies.into_inner();
    assert!(most <= 50, "{most} zombies at once");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(proc::zombies_of(daemon.pid), 0, "zombies one second after the end");
    // Helper threads of the file system side go after ten idle seconds.
    let back = wait_for(Duration::from_secs(15), || (Footprint::of(&daemon).threads <= before.threads).then_some(()));
    assert!(back.is_some(), "threads: {:?} after {before:?}", Footprint::of(&daemon));
    Footprint::of(&daemon).must_be_back_to(&before);
}

/// What executions must not leave behind.
#[derive(Debug)]
struct Footprint {
    fds: Option<usize>,
    threads: u64,
    descendants: usize,
    rss: u64,
    groups: usize,
}

impl Footprint {
    fn of(daemon: &Daemon) -> Footprint {
        Footprint {
            fds: proc::open_fds(daemon.pid),
            threads: proc::stat(daemon.pid).map_or(0, |stat| stat.threads),
            descendants: proc::descendants(daemon.pid).iter().filter(|p| p.name == "execd").count(),
            rss: proc::rss(daemon.pid).unwrap_or(0),
            groups: count_groups(daemon.pid),
        }
    }

    fn must_be_back_to(&self, before: &Footprint) {
        assert!(self.threads <= before.threads, "{self:?} after {before:?}");
        // The supervisor in reserve has a group in each hierarchy.
        assert!(self.groups <= before.groups + 8, "{self:?} after {before:?}");
        assert!(self.descendants <= before.descendants + 4, "{self:?} after {before:?}");
        assert!(self.fds <= before.fds.map(|fds| fds + 12), "{self:?} after {before:?}");
        assert!(self.rss <= before.rss + (24 << 20), "{self:?} after {before:?}");
    }
}

/// Groups of this daemon and all below them; others may run beside it.
fn count_groups(daemon: i32) -> usize {
    fn below(folder: &std::path::Path, depth: u32, own: Option<&str>) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let folders = entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        folders
            .map(|e| match own {
                Some(prefix) if !e.file_name().to_string_lossy().starts_with(prefix) => match depth {
                    0 => 0,
                    depth => below(&e.path(), depth - 1, own),
                },
                _ => 1 + below(&e.path(), depth, None),
            })
            .sum()
    }
    below(std::path::Path::new("/sys/fs/cgroup"), 4, Some(&format!("execd-{daemon}-")))
}

#[test]
fn a_daemonized_process_that_ignores_term_is_gone_half_a_second_after_the_grace() {
    let daemon = Daemon::of_this_world();
    let begun = Instant::now();
    let id = daemon.start(&Start::workload(&["daemonize", "300"]).limit("wall_time_ms", 1000));
    let slack = Duration::from_millis(500) * World::current().slowness();
    let end = daemon.wait(&id, Duration::from_secs(15) + slack);
    end.must_breach("wall_time_ms", "wall_time_limit");
    let gone = wait_for(slack, || proc::of_execution(&id).is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", proc::of_execution(&id));
    // 1 s limit, 5 s grace
    assert!(begun.elapsed() <= Duration::from_secs(6) + slack, "{:?}", begun.elapsed());
}

#[test]
fn a_daemonized_process_does_not_outlive_a_main_process_that_ends_well() {
    let daemon = Daemon::of_this_world();
    let program = world::workload().display().to_string();
    let end = daemon.run(&Start::shell(&format!("{program} daemonize 300 & sleep 0.3; exit 0")));
    end.must_end("completed", "exit");
    let gone = wait_for(Duration::from_secs(2), || proc::of_execution(end.id()).is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", proc::of_execution(end.id()));
}

#[test]
fn a_sleeper_that_holds_stdout_does_not_hold_the_result() {
    let daemon = Daemon::of_this_world();
    let end = daemon.run(&Start::workload(&["hold-stdout", "300", "3"]));
    end.must_end("failed", "exit");
    assert_eq!(end.exit_code(), Some(3));
    assert_eq!(end.object["pipes_held_open"], true, "{:#}", end.object);
    let limit = Duration::from_millis(350) * World::current().slowness();
    assert!(end.replied_after <= limit, "{:?}", end.replied_after);
    let gone = wait_for(Duration::from_secs(1), || proc::of_execution(end.id()).is_empty().then_some(()));
    assert!(gone.is_some(), "the sleeper still lives");
}

#[test]
fn the_wall_limit_is_kept_to_a_tenth_of_a_second_with_every_core_busy() {
    let daemon = Daemon::of_this_world();
    // The emulated machine cannot even start twenty-five at once in a tenth of a second.
    let (rounds, at_once) = match World::current() {
        World::Here => (8, 25),
        World::Docker | World::DockerLocked => (1, 25),
        World::Machine => (4, 4),
    };
    let spinner = daemon.start(&Start::workload(&["spin", "2"]).limit("wall_time_ms", 60_000));
    let (mut sent, mut replied) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..at_once)
                .map(|_| scope.spawn(|| daemon.run(&Start::workload(&["obey-term", "0"]).limit("wall_time_ms", 1000))))
                .collect();
            for run in runs {
                let end = run.join().unwrap();
                end.must_breach("wall_time_ms", "wall_time_limit");
                assert_eq!(end.exit_code(), Some(0), "a program that obeys keeps its code: {:#}", end.object);
                sent.push(Duration::from_millis(end.usage("wall_ms").unwrap()));
                replied.push(end.replied_after);
            }
        });
    }
    daemon.cancel(&spinner);
    let room = World::current().slowness();
    let (p99, last) = (percentile(&mut sent, 99), percentile(&mut replied, 100));
    assert!(sent[0] >= Duration::from_millis(1000), "too early: {:?}", sent[0]);
    assert!(p99 <= Duration::from_millis(1000) + Duration::from_millis(100) * room, "p99 {p99:?}");
    assert!(last <= Duration::from_millis(1000) + Duration::from_millis(500) * room, "reply after {last:?}");
}

#[test]
fn a_fork_bomb_stops_nobody_else_and_dies_whole() {
    let daemon = Daemon::of_this_world();
    let bomb = daemon.start(&Start::workload(&["forkbomb"]).limit("pids", 64).limit("wall_time_ms", 60_000));
    let mut answers = Vec::new();
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let (status, took) = daemon.probe("/livez", Duration::from_secs(5)).expect("an answer");
        assert_eq!(status, 200);
        answers.push(took);
        std::thread::sleep(Duration::from_millis(10));
    }
    let pids = daemon.get(&bomb)["usage"]["pids_peak"].as_u64().unwrap_or(0);
    daemon.signal_execution(&bomb, "SIGKILL");
    let gone = wait_for(Duration::from_secs(1) * World::current().slowness(), || {
        proc::of_execution(&bomb).is_empty().then_some(())
    });
    if gone.is_none() {
        daemon.cancel(&bomb);
    }
    assert!(gone.is_some(), "{} left one second after the stop", proc::of_execution(&bomb).len());
    let p99 = percentile(&mut answers, 99);
    assert!(p99 <= Duration::from_millis(250) * World::current().slowness(), "/livez p99 {p99:?}");
    assert!(pids <= 64 + 8, "{pids} tasks under a limit of 64");
    daemon.run(&Start::workload(&["exit", "0"])).must_end("completed", "exit");
}

#[test]
fn threads_count_as_processes() {
    let daemon = Daemon::of_this_world();
    if daemon.enforcement("pids").1 != "enforced" {
        return;
    }
    let end = daemon.run(&Start::workload(&["threads", "100"]).limit("pids", 32));
    end.must_end("completed", "exit");
    let started = daemon.report(end.id())["started"].as_u64().unwrap();
    assert!((20..32).contains(&started), "{started} threads under a limit of 32 tasks");
    assert!(end.usage("pids_denied").unwrap_or(0) >= 1, "{:#}", end.object);
}

/// A supervisor that hangs enforces nothing: the daemon has it killed, and its tree with it.
#[test]
fn a_supervisor_that_does_not_answer_is_ended() {
    let daemon = Daemon::of_this_world();
    let id = daemon.start(&Start::workload(&["sleep-ms", "120000"]));
    let supervisor = daemon.supervisor_of(&id);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    daemon.cancel(&id);
    // Five seconds of grace and as many of patience.
    daemon.wait(&id, Duration::from_secs(30)).must_end("terminated", "cancelled");
    let room = World::current().slowness();
    assert!(begun.elapsed() < Duration::from_secs(11) * room, "ended after {:?}", begun.elapsed());
    let gone = wait_for(Duration::from_millis(500) * room, || proc::of_execution(&id).is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", proc::of_execution(&id));
}

#[test]
fn a_dead_supervisor_takes_its_whole_tree_along() {
    let daemon = Daemon::of_this_world();
    let id = daemon.start(&Start::workload(&["daemonize", "300"]));
    assert!(wait_for(Duration::from_secs(5), || (proc::of_execution(&id).len() >= 2).then_some(())).is_some());
    let supervisor = daemon.supervisor_of(&id);
    assert_ne!(supervisor, daemon.pid);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGKILL).unwrap();
    let limit = Duration::from_millis(500) * World::current().slowness();
    let gone = wait_for(limit, || proc::of_execution(&id).is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", proc::of_execution(&id));
    daemon.wait(&id, Duration::from_secs(2)).must_end("failed", "lost");
}

/// Starts one that waits for its release, and waits until it does.
fn held(daemon: &Daemon, start: Start) -> String {
    let id = daemon.start(&start.set("hold", true));
    let ready = wait_for(Duration::from_secs(10), || (daemon.get(&id)["status"] == "ready").then_some(()));
    assert!(ready.is_some(), "{:#}", daemon.get(&id));
    id
}

fn release(daemon: &Daemon, id: &str) -> u16 {
    daemon.client.post(&format!("/v1/executions/{id}/start"), &serde_json::json!({})).status
}

#[test]
fn a_held_command_runs_when_it_is_released_and_its_clock_starts_then() {
    let daemon = Daemon::of_this_world();
    // A wall limit shorter than the wait.
    let id = held(&daemon, Start::shell("echo ran").limit("wall_time_ms", 400));
    std::thread::sleep(Duration::from_millis(800));
    let view = daemon.get(&id);
    assert_eq!((&view["status"], &view["started_at"]), (&"ready".into(), &serde_json::Value::Null), "{view:#}");
    assert!(view["pid"].as_i64().is_some_and(|pid| pid > 0), "{view:#}");
    assert_eq!(daemon.output(&id, "both"), b"");
    assert!(release(&daemon, &id) < 300);
    daemon.wait(&id, Duration::from_secs(10)).must_end("completed", "exit");
    assert_eq!(daemon.output(&id, "both"), b"ran\n");
    assert_eq!(release(&daemon, &id), 409);
}

#[test]
fn a_held_command_can_be_cancelled_and_not_signalled() {
    let daemon = Daemon::of_this_world();
    let id = held(&daemon, Start::shell("echo ran; sleep 30"));
    let signal = serde_json::json!({ "signal": "TERM" });
    let refused = daemon.client.post(&format!("/v1/executions/{id}/signal"), &signal);
    assert_eq!(refused.expect(409)["code"], "WRONG_STATUS");
    assert_eq!(daemon.get(&id)["status"], "ready");
    daemon.cancel(&id);
    daemon.wait(&id, Duration::from_secs(10)).must_end("terminated", "cancelled");
    assert_eq!(daemon.output(&id, "both"), b"");
}

#[test]
fn a_signal_right_after_the_start_is_not_lost() {
    let daemon = Daemon::of_this_world();
    for signal in ["TERM", "KILL"].repeat(10) {
        let id = daemon.start(&Start::shell("sleep 30"));
        daemon.signal_execution(&id, signal);
        let end = daemon.wait(&id, Duration::from_secs(10));
        let name = format!("SIG{signal}");
        assert_eq!((end.reason(), &end.object["signal"]), ("signal", &name.into()), "{:#}", end.object);
    }
    // Were it the stub that stops, no wall limit would hold.
    let id = daemon.start(&Start::shell("sleep 30").limit("wall_time_ms", 500));
    daemon.signal_execution(&id, "STOP");
    daemon.wait(&id, Duration::from_secs(20)).must_breach("wall_time_ms", "wall_time_limit");
}
