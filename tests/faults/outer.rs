//! Runs the rows in the other worlds. Nothing of this module runs inside one.

use crate::support::container::{Container, Docker};
use crate::support::verdict::Verdict;
use crate::support::{World, daemon, machine};
use std::time::Duration;

const ROWS: &[&str] = &["/tests/faults", "--test-threads=1", "--skip", "outer::"];

#[test]
fn rows_hold_in_a_default_container() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(docker) = Docker::start() else {
        return;
    };
    let container = Container { world: "docker", command: ROWS, ..Container::default() };
    let (code, printed) = docker.run(&container, Duration::from_secs(900));
    Verdict::read(&printed).must_pass("docker", 1);
    assert_eq!(code, Some(0), "the exit code of the main command is the container's");
}

#[test]
fn rows_hold_in_a_machine_of_our_own_with_cgroup_v2() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(printed) = machine::run("", &ROWS.join(" "), Duration::from_secs(900)) else {
        return;
    };
    Verdict::read(&printed).must_pass("vm", 1);
}
