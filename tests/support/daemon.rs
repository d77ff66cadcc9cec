//! A running execd: the one that is PID 1 of this world, or one of the test's own.

use super::execution::{Finished, Start};
use super::http::Client;
use super::world::{self, Scratch, World};
use super::{proc, wait_for};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Tests of faults measure times: they run one after another, whatever the number of test threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A daemon to test.
pub struct Daemon {
    pub client: Client,
    pub pid: i32,
    child: Option<Child>,
    /// State directory, log file and everything else of a daemon of our own.
    pub scratch: Scratch,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// Waits for this test's turn.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Daemon {
    /// The daemon of this world: PID 1 where it is that, else a fresh companion without a token.
    pub fn of_this_world() -> Daemon {
        if !World::current().is_inner() {
            return Daemon::own(&[]);
        }
        let url = std::env::var("EXECD_URL").unwrap_or_else(|_| "http://127.0.0.1:44772".to_owned());
        let addr = url.trim_start_matches("http://").parse().expect("EXECD_URL is http://ADDRESS:PORT");
        // We are its main command; it need not be PID 1 (docker --init).
        let pid = nix::unistd::getppid().as_raw();
        let scratch = Scratch::new("shared");
        let daemon = Daemon { client: Client::new(addr), pid, child: None, scratch, _turn: Some(turn()) };
        daemon.wait_until_live();
        daemon
    }

    /// A fresh companion with these flags.
    pub fn own(flags: &[&str]) -> Daemon {
        Daemon::own_with(flags, &[], |_| {})
    }

    /// A fresh companion with these flags and main command; `adjust` may change how it is spawned.
    pub fn own_with(flags: &[&str], main: &[&str], adjust: impl FnOnce(&mut Command)) -> Daemon {
        let turn = turn();
        let scratch = Scratch::new("daemon");
        Daemon::spawn(scratch, flags, main, adjust, Some(turn))
    }

    /// Starts another daemon on this one's folder, after `kill`.
    pub fn restart(mut self, flags: &[&str]) -> Daemon {
        self.stop();
        let turn = self._turn.take();
        let scratch = std::mem::replace(&mut self.scratch, Scratch::new("left"));
        Daemon::spawn(scratch, flags, &[], |_| {}, turn)
    }

    fn spawn(
        scratch: Scratch,
        flags: &[&str],
        main: &[&str],
        adjust: impl FnOnce(&mut Command),
        turn: Option<MutexGuard<'static, ()>>,
    ) -> Daemon {
        let addr = free_address();
        let log =
            std::fs::File::options().create(true).append(true).open(scratch.path().join("log")).expect("log file");
        let mut command = Command::new(world::execd());
        command.arg("serve").arg("--listen").arg(addr.to_string());
        if !flags.contains(&"--state-dir") {
            command.arg("--state-dir").arg(scratch.path().join("state"));
        }
        command.args(flags).env_remove("EXECD_URL").env_remove("EXECD_WORLD").stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log file")).stderr(log);
        if !main.is_empty() {
            command.arg("--").args(main);
        }
        adjust(&mut command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let pid = i32::try_from(child.id()).expect("pid");
        let daemon = Daemon { client: Client::new(addr), pid, child: Some(child), scratch, _turn: turn };
        daemon.wait_until_live();
        daemon
    }

    fn wait_until_live(&self) {
        let limit = Duration::from_secs(5) * World::current().slowness();
        let live =
            wait_for(limit, || self.probe("/readyz", Duration::from_secs(1)).filter(|(status, _)| *status == 200));
        assert!(live.is_some(), "the daemon does not answer; its log:\n{}", self.log());
    }

    /// Status and time of one GET; `None` when there was no answer in time.
    pub fn probe(&self, path: &str, limit: Duration) -> Option<(u16, Duration)> {
        let start = Instant::now();
        let response = self.client.with_timeout(limit).try_request("GET", path, &[], b"").ok()?;
        Some((response.status, start.elapsed()))
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// True when this test started it, so that it may be killed.
    pub fn is_own(&self) -> bool {
        self.child.is_some()
    }

    /// Creates an execution; its id.
    pub fn start(&self, start: &Start) -> String {
        let created = self.client.post("/v1/executions", &start.json()).expect(201);
        created["id"].as_str().expect("an id").to_owned()
    }

    /// Runs an execution to its end.
    pub fn run(&self, start: &Start) -> Finished {
        let begun = Instant::now();
        let object = self.client.post("/v1/executions?wait=true", &start.json()).expect(200);
        Finished { object, replied_after: begun.elapsed() }
    }

    /// The object of an execution now.
    pub fn get(&self, id: &str) -> Value {
        self.client.get(&format!("/v1/executions/{id}")).expect(200)
    }

    /// Waits until the execution is in a final status.
    pub fn wait(&self, id: &str, limit: Duration) -> Finished {
        let begun = Instant::now();
        let object = wait_for(limit, || {
            let object = self.get(id);
            matches!(object["status"].as_str(), Some("completed" | "failed" | "terminated")).then_some(object)
        });
        Finished {
            object: object.unwrap_or_else(|| panic!("{id} did not end in {limit:?}: {}", self.get(id))),
            replied_after: begun.elapsed(),
        }
    }

    /// Captured bytes of `stdout`, `stderr` or `both`.
    pub fn output(&self, id: &str, stream: &str) -> Vec<u8> {
        let response = self.client.get(&format!("/v1/executions/{id}/output?stream={stream}"));
        assert_eq!(response.status, 200, "{}", response.text());
        response.body
    }

    /// What the workload printed as its one JSON line on stdout.
    pub fn report(&self, id: &str) -> Value {
        let bytes = self.output(id, "stdout");
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error}: {text:?}; stderr {:?}", self.output(id, "stderr")))
    }

    /// Asks for the end of an execution.
    pub fn cancel(&self, id: &str) {
        let response = self.client.delete(&format!("/v1/executions/{id}"));
        assert!(matches!(response.status, 200 | 202 | 204 | 409), "{}: {}", response.status, response.text());
    }

    /// Sends a signal to all processes of an execution.
    pub fn signal_execution(&self, id: &str, signal: &str) {
        let answer = self.client.post(&format!("/v1/executions/{id}/signal"), &serde_json::json!({ "signal": signal }));
        assert!(answer.status < 300, "{}: {}", answer.status, answer.text());
    }

    /// Mechanism and strength that `/health` claims for a limit.
    pub fn enforcement(&self, limit: &str) -> (String, String) {
        let health = self.client.get("/health").expect(200);
        let row = &health["enforcement"][limit];
        let text = |key: &str| row[key].as_str().unwrap_or("none").to_owned();
        (text("mechanism"), text("strength"))
    }

    /// The supervisor of a running execution: the parent of its first process.
    pub fn supervisor_of(&self, id: &str) -> i32 {
        let found = wait_for(Duration::from_secs(5), || {
            let members = proc::of_execution(id);
            members.iter().find(|p| !members.iter().any(|other| other.pid == p.parent)).map(|p| p.parent)
        });
        found.unwrap_or_else(|| panic!("{id} has no process"))
    }

    /// Sends a signal to the daemon itself.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal);
    }

    /// Waits for the end of a daemon of our own.
    pub fn wait_for_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("only a daemon of our own ends");
        wait_for(limit, || child.try_wait().expect("our own child"))
    }

    fn stop(&mut self) {
        if self.child.is_none() {
            return;
        }
        let family = proc::descendants(self.pid);
        self.signal(nix::sys::signal::Signal::SIGTERM);
        if self.wait_for_exit(Duration::from_secs(15)).is_none() {
            self.signal(nix::sys::signal::Signal::SIGKILL);
            self.wait_for_exit(Duration::from_secs(5));
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
        self.child = None;
        let stays = |p: &proc::Stat| proc::stat(p.pid).is_some_and(|now| now.name == p.name && now.state != 'Z');
        let gone = wait_for(Duration::from_secs(3), || (!family.iter().any(stays)).then_some(()));
        let left: Vec<_> = family.iter().filter(|p| stays(p)).collect();
        assert!(gone.is_some() || std::thread::panicking(), "outlived the daemon: {left:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    listener.local_addr().expect("bound")
}

/// Program and arguments of a command that is not started yet.
pub fn words(command: &Command) -> (OsString, Vec<OsString>) {
    (command.get_program().to_owned(), command.get_args().map(ToOwned::to_owned).collect())
}

/// Makes `command` start `wrapper FLAGS… PROGRAM ARGUMENTS…` instead; its log files stay.
pub fn wrap(command: &mut Command, wrapper: &Path, flags: &[&str], program: &OsStr, arguments: &[OsString]) {
    let log = command.get_args().skip_while(|word| *word != "--state-dir").nth(1).map(Path::new).and_then(Path::parent);
    let log = log.map(|folder| folder.join("log"));
    *command = Command::new(wrapper);
    command.args(flags).arg(program).args(arguments).stdin(Stdio::null());
    command.env_remove("EXECD_URL").env_remove("EXECD_WORLD");
    if let Some(file) = log.and_then(|log| std::fs::File::options().create(true).append(true).open(log).ok()) {
        command.stdout(file.try_clone().expect("log file")).stderr(file);
    }
}

/// Makes `command` start after a shell line, as the same process.
pub fn under_shell(command: &mut Command, line: &str) {
    let (program, arguments) = words(command);
    let script = format!("{line}; exec \"$0\" \"$@\"");
    wrap(command, Path::new("/bin/sh"), &["-c", &script], &program, &arguments);
}
