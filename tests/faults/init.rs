//! Rows about being PID 1: each run is the first process of a pid namespace of its own.

use crate::processes::ends_a_process;
use crate::support::{World, daemon, proc, wait_for, world};
use nix::sys::signal::Signal;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// execd as PID 1 with this main command; `None` where a namespace cannot be made.
fn pid_one(flags: &[&str], main: &[&str]) -> Option<Command> {
    if World::current() != World::Here || !world::needs_root() || !world::needs_tools(&["unshare"]) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(world::execd());
    command.args(["serve", "--listen", &daemon::free_address().to_string()]).args(flags).arg("--").args(main);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Some(command)
}

fn workload() -> String {
    world::workload().display().to_string()
}

#[test]
fn every_exit_code_of_the_main_command_is_the_daemons() {
    let _turn = daemon::turn();
    for code in 0..=255 {
        let Some(mut command) = pid_one(&[], &[&workload(), "exit", &code.to_string()]) else { return };
        assert_eq!(command.status().unwrap().code(), Some(code));
    }
}

#[test]
fn a_main_command_that_dies_of_a_signal_is_128_plus_n() {
    let _turn = daemon::turn();
    for signal in Signal::iterator().filter(|signal| ends_a_process(*signal)) {
        let Some(mut command) = pid_one(&[], &[&workload(), "signal", &(signal as i32).to_string()]) else { return };
        assert_eq!(command.status().unwrap().code(), Some(128 + signal as i32), "{signal}");
    }
}

#[test]
fn a_main_command_that_cannot_be_started_is_126_or_127() {
    let _turn = daemon::turn();
    for (program, code) in [("/no/such/program", 127), ("/etc/passwd", 126), ("no-such-program-in-path", 127)] {
        let Some(mut command) = pid_one(&[], &[program]) else { return };
        assert_eq!(command.status().unwrap().code(), Some(code), "{program}");
    }
}

#[test]
fn an_exit_code_can_be_mapped() {
    let _turn = daemon::turn();
    let Some(mut command) = pid_one(&["--remap-exit", "143:0"], &[&workload(), "exit", "143"]) else { return };
    assert_eq!(command.status().unwrap().code(), Some(0));
}

#[test]
fn signals_are_forwarded_to_the_main_command() {
    let _turn = daemon::turn();
    let Some(mut command) = pid_one(&[], &[&workload(), "obey-term", "42"]) else { return };
    let mut child = command.spawn().unwrap();
    wait_for_line(&mut child);
    let init = init_of(&child);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), Signal::SIGTERM).unwrap();
    let status = wait_for(Duration::from_secs(5), || child.try_wait().unwrap()).expect("ends");
    assert_eq!(status.code(), Some(42));
}

#[test]
fn orphans_of_the_main_command_are_reaped() {
    let _turn = daemon::turn();
    let script = format!("{} orphans 1000 500; sleep 2", workload());
    let Some(mut command) = pid_one(&[], &["sh", "-c", &script]) else { return };
    let mut child = command.spawn().unwrap();
    wait_for_line(&mut child);
    let init = init_of(&child);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(proc::zombies_of(init), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_term_kills_at_once() {
    let _turn = daemon::turn();
    let script = "trap '' TERM; echo '{}'; while :; do sleep 1; done";
    let Some(mut command) = pid_one(&[], &["sh", "-c", script]) else { return };
    let mut child = command.spawn().unwrap();
    wait_for_line(&mut child);
    let init = nix::unistd::Pid::from_raw(init_of(&child));
    nix::sys::signal::kill(init, Signal::SIGTERM).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "one TERM is only forwarded");
    nix::sys::signal::kill(init, Signal::SIGTERM).unwrap();
    let status = wait_for(Duration::from_secs(2), || child.try_wait().unwrap()).expect("ends");
    assert_eq!(status.code(), Some(137));
}

#[test]
fn the_end_is_written_where_kubernetes_reads_it() {
    let _turn = daemon::turn();
    let folder = world::Scratch::new("termination");
    let file = folder.path().join("log");
    std::fs::write(&file, "").unwrap();
    let flags = ["--termination-log", file.to_str().unwrap()];
    let Some(mut command) = pid_one(&flags, &[&workload(), "exit", "5"]) else { return };
    assert_eq!(command.status().unwrap().code(), Some(5));
    let line: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(line["exit_code"], 5, "{line}");
}

/// The first line of the main command's output.
fn wait_for_line(child: &mut Child) {
    use std::io::BufRead;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line:?}");
}

/// unshare's only child.
fn init_of(child: &Child) -> i32 {
    let parent = i32::try_from(child.id()).unwrap();
    let found = proc::all().into_iter().find(|p| p.parent == parent);
    found.expect("the first process of the namespace").pid
}
