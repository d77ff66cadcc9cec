//! Attacks on one process by another of the same uid, each named; `attack all PID` tries them one after another.
//!
//! `reached` is what the kernel would have done (errno 0); the test decides what must be refused.

use crate::attack_process::ATTACKS;
use crate::json::{Object, print_line};

/// Runs one attack, or all that do not end the target for good, against `pid`.
pub(crate) fn run(name: &str, pid: i32) {
    let chosen: Vec<_> = ATTACKS.iter().filter(|(attack, _)| name == "all" || *attack == name).collect();
    if chosen.is_empty() {
        eprintln!("workload: unknown attack {name}");
        std::process::exit(2);
    }
    let lines: Vec<String> = chosen.iter().map(|(attack, call)| describe(attack, pid, call(pid))).collect();
    print_line(&format!("[{}]", lines.join(",")));
}

fn describe(attack: &str, pid: i32, errno: i32) -> String {
    Object::new().text("attack", attack).value("pid", pid).value("errno", errno).value("reached", errno == 0).render()
}
