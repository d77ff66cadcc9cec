//! Which world this is, and what it has to be able to do.

use std::path::{Path, PathBuf};

/// Where the test runs. The inner ones are set by whoever put us there (`EXECD_WORLD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// This machine, root or not, whatever cgroups it has.
    Here,
    /// A default Docker container.
    Docker,
    /// `--cap-drop ALL`, no_new_privs, uid 65534.
    DockerLocked,
    /// A kernel of our own with execd as its init and a whole cgroup v2 tree.
    Machine,
}

impl World {
    /// Read from the environment.
    pub fn current() -> World {
        match std::env::var("EXECD_WORLD").as_deref() {
            Ok("docker") => World::Docker,
            Ok("docker-locked") => World::DockerLocked,
            Ok("vm") => World::Machine,
            Ok("here") | Err(_) => World::Here,
            Ok(other) => panic!("EXECD_WORLD={other} is not a world"),
        }
    }

    /// execd is PID 1 and this test is its main command.
    pub fn is_inner(self) -> bool {
        self != World::Here
    }

    /// An emulated processor: figures that are about speed get this much more room.
    pub fn slowness(self) -> u32 {
        if self == World::Machine { 8 } else { 1 }
    }

    /// Executions may try to kill everything, because everything is ours.
    pub fn is_expendable(self) -> bool {
        self.is_inner()
    }
}

/// Says loudly that a test did not run; where CI=true this is a failure instead.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
    println!("SKIPPED: {why}");
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// True when we are root; else the test is skipped (or fails in CI).
pub fn needs_root() -> bool {
    if !is_root() {
        skip("this test needs root");
    }
    is_root()
}

/// True when all tools are installed; else the test is skipped (or fails in CI).
pub fn needs_tools(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools.iter().filter(|tool| which(tool).is_none()).collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {missing:?}"));
    }
    missing.is_empty()
}

/// Finds a program as a shell would, with the folders of system programs added.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin";
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

/// The execd binary: `EXECD_BIN` (the stripped release one in `make test`), else cargo's.
pub fn execd() -> PathBuf {
    if World::current().is_inner() {
        return PathBuf::from("/execd");
    }
    std::env::var_os("EXECD_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_execd")), PathBuf::from)
}

/// The workload binary; built on demand, so that plain `cargo test` works.
pub fn workload() -> PathBuf {
    if World::current().is_inner() {
        return PathBuf::from("/workload");
    }
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(build_workload).clone()
}

fn build_workload() -> PathBuf {
    if let Some(path) = std::env::var_os("EXECD_WORKLOAD") {
        return PathBuf::from(path);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = std::process::Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["build", "--quiet", "--release", "--package", "workload"])
        .current_dir(root)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "workload does not build");
    // TARGET/x86_64-unknown-linux-musl/debug/execd → …/release/workload
    let profiles = Path::new(env!("CARGO_BIN_EXE_execd")).ancestors().nth(2).expect("a target folder");
    profiles.join("release/workload")
}

/// A folder that survives the test run: the kernel of the virtual machine lives here.
pub fn cache() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".worlds");
    std::fs::create_dir_all(&folder).expect("cache folder");
    folder
}

/// A fresh folder, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("execd-{name}-{}-{number}", std::process::id()));
        // In a world without a writable folder this fails; whoever needs it will say so.
        let _ = std::fs::create_dir_all(&path);
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
