//! Rows about `execd run`: exit codes and the verdict, without a daemon.

use crate::support::{World, daemon, world};
use std::process::{Command, Output, Stdio};

fn run(flags: &[&str], command: &[&str]) -> Output {
    let mut run = Command::new(world::execd());
    run.args(["run", "--agent-type", "VALIDATION"]).args(flags).arg("--").args(command);
    run.stdin(Stdio::null()).output().unwrap()
}

fn workload(words: &[&str]) -> Vec<String> {
    std::iter::once(world::workload().display().to_string()).chain(words.iter().map(ToString::to_string)).collect()
}

#[test]
fn the_exit_code_tells_which_limit_ended_the_run() {
    let _turn = daemon::turn();
    let cases: &[(&[&str], &[&str], i32)] = &[
        (&[], &["exit", "0"], 0),
        (&[], &["exit", "77"], 77),
        (&[], &["signal", "9"], 137),
        (&[], &["signal", "15"], 143),
        (&["--memory", "64MiB"], &["alloc", "134217728"], 137),
        (&["--cpu-time", "500ms"], &["spin", "2"], 152),
        (&["--wall-time", "500ms"], &["obey-term", "0"], 124),
        (&["--storage", "5MiB"], &["fill-disk", "big", "20971520"], 153),
    ];
    for (flags, words, code) in cases {
        let command = workload(words);
        let output = run(flags, &command.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{flags:?} {words:?}: {said}");
    }
    let cases: &[(&[&str], &str, i32)] =
        &[(&[], "/no/such/program", 127), (&[], "/etc/passwd", 126), (&["--memory", "lots"], "true", 125)];
    for (flags, program, code) in cases {
        let output = run(flags, &[program]);
        assert_eq!(output.status.code(), Some(*code), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_verdict_is_one_line_at_the_end() {
    let _turn = daemon::turn();
    let command = workload(&["alloc", "134217728"]);
    let output = run(&["--memory", "64MiB"], &command.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    let verdict = said.lines().last().unwrap_or_default();
    assert!(verdict.contains("memory_limit"), "{said}");
}

#[test]
fn the_final_object_goes_where_it_is_asked_to() {
    let _turn = daemon::turn();
    if World::current() == World::DockerLocked {
        return;
    }
    let folder = world::Scratch::new("run");
    let file = folder.path().join("result.json");
    let flag = format!("--json={}", file.display());
    let output = run(&[&flag], &["sh", "-c", "echo out; exit 5"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), b"out\n".as_slice()));
    let object: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&object["reason"], &object["exit_code"]), (&"exit".into(), &5.into()), "{object:#}");
}
