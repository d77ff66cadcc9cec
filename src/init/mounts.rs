//! What a real init mounts when nobody else has: proc, sysfs, devtmpfs, cgroup2, tmpfs; and the loopback interface.

use nix::mount::{MsFlags, mount};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

struct Wanted {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: Option<&'static str>,
    /// something that is there when it is mounted already
    sign: &'static str,
}

const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC).union(MsFlags::MS_NODEV);

const ALL: [Wanted; 8] = [
    Wanted { source: "proc", target: "/proc", kind: "proc", flags: QUIET, options: None, sign: "/proc/self/stat" },
    Wanted { source: "sysfs", target: "/sys", kind: "sysfs", flags: QUIET, options: None, sign: "/sys/kernel" },
    Wanted {
        source: "devtmpfs",
        target: "/dev",
        kind: "devtmpfs",
        flags: MsFlags::MS_NOSUID,
        options: Some("mode=0755"),
        sign: "/dev/null",
    },
    Wanted {
        source: "devpts",
        target: "/dev/pts",
        kind: "devpts",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        options: Some("mode=0620,ptmxmode=0666"),
        sign: "/dev/pts/ptmx",
    },
    Wanted {
        source: "shm",
        target: "/dev/shm",
        kind: "tmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        options: Some("mode=1777"),
        sign: "",
    },
    Wanted {
        source: "cgroup2",
        target: "/sys/fs/cgroup",
        kind: "cgroup2",
        flags: QUIET,
        options: Some("nsdelegate"),
        sign: "/sys/fs/cgroup/cgroup.procs",
    },
    Wanted {
        source: "tmpfs",
        target: "/tmp",
        kind: "tmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        options: Some("mode=1777"),
        sign: "",
    },
    Wanted {
        source: "tmpfs",
        target: "/run",
        kind: "tmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        options: Some("mode=0755"),
        sign: "",
    },
];

/// Mounts what is missing. Each failure is a line for the log; none keeps the machine from coming up.
pub fn mount_missing() -> Vec<String> {
    let mut problems = Vec::new();
    // As a machine's init: what is mounted later shall reach executions with mounts of their own (mount_namespaces(7)).
    if let Err(error) = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>) {
        problems.push(format!("share the mounts of /: {error}"));
    }
    for wanted in &ALL {
        if let Err(error) = mount_one(wanted) {
            problems.push(format!("mount {} on {}: {error}", wanted.kind, wanted.target));
        }
    }
    if let Err(error) = bring_up_loopback() {
        problems.push(format!("bring up the loopback interface: {error}"));
    }
    problems
}

fn mount_one(wanted: &Wanted) -> io::Result<()> {
    let there = if wanted.sign.is_empty() { is_mount_point(wanted.target) } else { Path::new(wanted.sign).exists() };
    if there {
        return Ok(());
    }
    // A read-only root has its mount points or goes without.
    let _ = fs::create_dir_all(wanted.target);
    mount(Some(wanted.source), wanted.target, Some(wanted.kind), wanted.flags, wanted.options)?;
    Ok(())
}

fn is_mount_point(path: &str) -> bool {
    let device = |path: &Path| nix::sys::stat::stat(path).map(|stat| stat.st_dev).ok();
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    device(Path::new(path)).is_some_and(|own| Some(own) != device(parent))
}

/// netdevice(7): `SIOCSIFFLAGS` with `IFF_UP`. The addresses come by themselves.
fn bring_up_loopback() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let name = CString::new("lo").unwrap_or_default();
    crate::sys::network::set_up(socket.as_raw_fd(), &name)
}
