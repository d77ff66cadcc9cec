//! Docker of our own: its own daemon, folders and socket, no network, no registry.

use super::wait_for;
use super::world::{self, Scratch};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A private dockerd with one image that holds busybox, execd and the workload.
pub struct Docker {
    child: Child,
    host: String,
    tests: PathBuf,
    folder: Scratch,
}

/// How one container differs from the default one.
#[derive(Clone, Debug, Default)]
pub struct Container<'a> {
    /// More flags of `docker run`.
    pub flags: &'a [&'a str],
    /// Flags of execd before `--`.
    pub serve: &'a [&'a str],
    /// `EXECD_WORLD` inside.
    pub world: &'a str,
    /// The main command.
    pub command: &'a [&'a str],
    /// Another container whose network it shares; its own is only a loopback.
    pub network_of: Option<&'a str>,
}

impl Docker {
    /// Starts it; skipped (failed in CI) where it cannot be started.
    pub fn start() -> Option<Docker> {
        if !world::needs_root() || !world::needs_tools(&["dockerd", "docker", "runc", "busybox"]) {
            return None;
        }
        let folder = Scratch::new("docker");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let host = format!("unix://{}", path("socket"));
        let tests = test_binary(folder.path());
        let log = std::fs::File::create(folder.path().join("log")).expect("log file");
        let child = Command::new(world::which("dockerd").expect("checked"))
            .args([
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
                "--pidfile",
                &path("pid"),
                "--host",
                &host,
            ])
            // No bridge and no packet filter: nothing of this machine's network is touched.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"])
            .stdout(log.try_clone().expect("log file"))
            .stderr(log)
            .spawn()
            .expect("dockerd");
        let docker = Docker { child, host, tests, folder };
        let up = wait_for(Duration::from_secs(30), || {
            docker.docker(&["info"]).output().ok().filter(|out| out.status.success())
        });
        if up.is_none() {
            let log = std::fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default();
            world::skip(&format!("dockerd does not run here: {}", log.lines().last().unwrap_or_default()));
            return None;
        }
        docker.import();
        Some(docker)
    }

    /// A docker command against this daemon.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(world::which("docker").expect("checked"));
        command.env("DOCKER_HOST", &self.host).args(arguments).stdin(Stdio::null());
        command
    }

    /// Imports the image from a folder: there is no registry to pull from.
    fn import(&self) {
        let root = Scratch::new("image");
        let at = |name: &str| root.path().join(name);
        for folder in ["bin", "tmp", "etc", "proc", "sys", "dev", "work"] {
            std::fs::create_dir(at(folder)).expect("image folder");
        }
        for folder in ["tmp", "work"] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(at(folder), PermissionsExt::from_mode(0o1777)).expect("image folder");
        }
        std::fs::write(at("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n").expect("passwd");
        copy(&world::which("busybox").expect("checked"), &at("bin/busybox"));
        for applet in BUSYBOX {
            std::os::unix::fs::symlink("busybox", at("bin").join(applet)).expect("applet");
        }
        copy(&world::execd(), &at("execd"));
        copy(&world::workload(), &at("workload"));
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(root.path())
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let import = self
            .docker(&["import", "--change", "ENTRYPOINT [\"/execd\"]", "--change", "ENV PATH=/bin", "-", "execd-test"])
            .stdin(tar.stdout.take().expect("piped"))
            .output()
            .expect("docker import");
        assert!(tar.wait().is_ok_and(|status| status.success()), "tar");
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    }

    /// Runs a container to its end; exit code and everything it printed.
    pub fn run(&self, container: &Container, limit: Duration) -> (Option<i32>, String) {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let name = format!("execd-test-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let network = container.network_of.map_or_else(|| "none".to_owned(), |other| format!("container:{other}"));
        let mut command = self.docker(&["run", "--rm", "--name", &name, "--network", &network]);
        command.args(["-v", &format!("{}:/tests:ro", self.tests.display())]);
        command.args(["-e", &format!("EXECD_WORLD={}", container.world)]).args(container.flags).arg("execd-test");
        command.args(container.serve).arg("--").args(container.command);
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let mut child = command.stdout(writer.try_clone().expect("pipe")).stderr(writer).spawn().expect("docker run");
        drop(command);
        let printed = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = reader.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let ended = wait_for(limit, || child.try_wait().expect("our own child"));
        if ended.is_none() {
            let _ = self.docker(&["rm", "--force", &name]).output();
            let _ = child.wait();
        }
        (ended.and_then(|status| status.code()), printed.join().expect("reader"))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        if wait_for(Duration::from_secs(20), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
        }
        unmount_below(self.folder.path());
    }
}

/// dockerd leaves its network namespace mounted.
fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let inside =
        mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(folder));
    for at in inside {
        let _ = nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Commands that the rows of the fault list use.
pub const BUSYBOX: &[&str] = &[
    "sh", "cat", "true", "false", "sleep", "ls", "id", "echo", "env", "grep", "head", "wc", "mount", "touch", "dd",
    "rm", "kill", "ps",
];

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// This very test binary, without its debug information, in a folder to be mounted.
pub fn test_binary(folder: &Path) -> PathBuf {
    let tests = folder.join("tests");
    std::fs::create_dir_all(&tests).expect("tests folder");
    let target = tests.join("inner");
    let own = std::env::current_exe().expect("own path");
    let stripped = Command::new("strip").arg("-o").arg(&target).arg(&own).status();
    if !stripped.is_ok_and(|status| status.success()) {
        copy(&own, &target);
    }
    tests
}
