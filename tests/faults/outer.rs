//! Runs the rows in the other worlds. Nothing of this module runs inside one.

use crate::support::container::{Container, Docker};
use crate::support::network::outer::Wired;
use crate::support::verdict::Verdict;
use crate::support::{World, daemon, machine, wait_for, world};
use std::time::Duration;

const BINARY: &str = "/tests/inner";
/// Every row; what applies in a world is each row's own knowledge.
const ROWS: &[&str] = &[BINARY, "--test-threads=1", "--skip", "outer::", "--skip", "smoke::"];
const LIMIT: Duration = Duration::from_secs(1200);

/// As nobody, without capabilities, without a way to gain any.
const LOCKED: &[&str] = &["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534"];

#[test]
fn rows_hold_in_a_default_container() {
    rows_in_docker("docker", &[]);
}

#[test]
fn rows_hold_as_nobody_without_capabilities() {
    rows_in_docker("docker-locked", LOCKED);
}

fn rows_in_docker(name: &str, flags: &[&str]) {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(docker) = Docker::start() else { return };
    let wired = Wired::start(&docker, name);
    let found = wired.flags();
    let flags: Vec<&str> = flags.iter().copied().chain(found.iter().map(String::as_str)).collect();
    let network_of = Some(wired.name.as_str());
    let container = Container { world: name, flags: &flags, command: ROWS, network_of, ..Container::default() };
    let (code, printed) = docker.run(&container, LIMIT);
    Verdict::read(&printed).must_pass(name, 100);
    assert_eq!(code, Some(0), "the exit code of the main command is the container's");
}

#[test]
fn rows_hold_in_a_machine_of_our_own_with_cgroup_v2() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(printed) = machine::run("", &ROWS.join(" "), LIMIT) else { return };
    Verdict::read(&printed).must_pass("vm", 100);
    assert!(printed.contains("Power down") || printed.contains("reboot:"), "init powers off in order: {printed}");
}

#[test]
fn every_shape_of_container_starts_and_holds_the_basic_limits() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(docker) = Docker::start() else { return };
    let read_only_locked = [LOCKED, &["--read-only"]].concat();
    let shapes: &[(&str, &[&str])] = &[
        ("read-only root", &["--read-only"]),
        ("read-only root as nobody", &read_only_locked),
        ("under docker-init", &["--init"]),
        ("with a pids limit", &["--pids-limit", "64"]),
        ("with a memory limit", &["--memory", "256m", "--memory-swap", "256m"]),
        ("with one CPU", &["--cpus", "1"]),
        ("another uid", &["--user", "1234:1234"]),
        ("without a filter", &["--security-opt", "seccomp=unconfined"]),
        ("no network of its own name", &["--hostname", "a-b.c", "--user", "0:65534"]),
        ("unwritable tmp", &["--tmpfs", "/tmp:ro", "--tmpfs", "/work:ro", "--read-only"]),
    ];
    let command = [BINARY, "--test-threads=1", "smoke::"];
    for (name, flags) in shapes {
        if flags.contains(&"--init") && world::which("docker-init").is_none() {
            world::skip("docker-init is not installed");
            continue;
        }
        let shape = Container { world: "docker", flags, command: &command, ..Container::default() };
        let (code, printed) = docker.run(&shape, Duration::from_secs(120));
        Verdict::read(&printed).must_pass(name, 5);
        assert_eq!(code, Some(0), "{name}");
    }
}

#[test]
fn the_daemon_survives_the_containers_own_oom() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(docker) = Docker::start() else { return };
    let flags = ["--memory", "192m", "--memory-swap", "192m", "-e", "EXECD_TEST_OOM=1"];
    let command = [BINARY, "--test-threads=1", "memory::more_than_the_container_has"];
    let container = Container { world: "docker", flags: &flags, command: &command, ..Container::default() };
    let (code, printed) = docker.run(&container, Duration::from_secs(120));
    Verdict::read(&printed).must_pass("container OOM", 1);
    assert_eq!(code, Some(0));
}

#[test]
fn a_container_gets_the_exit_code_of_its_main_command() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(docker) = Docker::start() else { return };
    for (words, expected) in [(["exit", "0"], 0), (["exit", "42"], 42), (["signal", "9"], 137), (["signal", "15"], 143)]
    {
        let command = ["/workload", words[0], words[1]];
        let container = Container { world: "docker", command: &command, ..Container::default() };
        let (code, printed) = docker.run(&container, Duration::from_secs(30));
        assert_eq!(code, Some(expected), "{words:?}: {printed}");
    }
}

#[test]
fn both_images_build_without_a_registry_and_become_healthy() {
    if World::current().is_inner() {
        return;
    }
    let _turn = daemon::turn();
    let Some(docker) = Docker::start() else { return };
    let context = build_context();
    let folder = context.path().display().to_string();
    for target in ["execd", "shell"] {
        let tag = format!("built:{target}");
        let build = ["build", "--quiet", "--network", "none", "--target", target, "--tag", &tag, &folder];
        let built = docker.docker(&build).env("DOCKER_BUILDKIT", "0").output().unwrap();
        assert!(built.status.success(), "{target}: {}", String::from_utf8_lossy(&built.stderr));
    }
    let types =
        docker.docker(&["run", "--rm", "--network", "none", "built:execd", "/execd", "agent-types"]).output().unwrap();
    assert!(String::from_utf8_lossy(&types.stdout).contains("VALIDATION"), "{types:?}");
    let run =
        docker.docker(&["run", "--detach", "--network", "none", "--name", "healthy", "built:shell", "sleep", "60"]);
    assert!({ run }.output().unwrap().status.success());
    let format = "{{.State.Health.Status}}";
    let healthy = wait_for(Duration::from_secs(40), || {
        let said = docker.docker(&["inspect", "--format", format, "healthy"]).output().ok()?;
        (said.stdout == b"healthy\n").then_some(())
    });
    let _ = docker.docker(&["rm", "--force", "healthy"]).output();
    assert!(healthy.is_some(), "the health check of the image never passed");
}

/// What `make image` sends to Docker.
fn build_context() -> world::Scratch {
    let context = world::Scratch::new("context");
    let at = |name: &str| context.path().join(name);
    std::fs::create_dir(at("dist")).unwrap();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile"), at("Dockerfile")).unwrap();
    std::fs::copy(world::execd(), at("dist/execd")).unwrap();
    std::fs::copy(world::which("busybox").unwrap(), at("dist/busybox")).unwrap();
    context
}

#[test]
#[ignore = "for looking around: EXECD_MACHINE_COMMAND says what to run"]
fn machine_by_hand() {
    let command = std::env::var("EXECD_MACHINE_COMMAND").unwrap();
    println!("{}", machine::run("", &command, Duration::from_secs(120)).unwrap_or_default());
}
