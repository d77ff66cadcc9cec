//! Attacks on the group that holds an execution: lift its limits, leave it, mount another view, gain namespaces.

use crate::json::{Object, errno_of, print_line};
use std::ffi::CString;
use std::io::Write;

/// Tries them all and prints one array.
pub(crate) fn run() {
    let mut lines = Vec::new();
    for folder in own_groups() {
        for (file, value) in [
            ("memory.max", "max"),
            ("memory.limit_in_bytes", "-1"),
            ("memory.memsw.limit_in_bytes", "-1"),
            ("pids.max", "max"),
            ("cpu.max", "max"),
            ("cpu.cfs_quota_us", "-1"),
            ("memory.oom.group", "0"),
            ("freezer.state", "THAWED"),
            ("cgroup.subtree_control", "+memory"),
            ("notify_on_release", "1"),
            ("release_agent", "/bin/false"),
        ] {
            let path = format!("{folder}/{file}");
            if std::path::Path::new(&path).exists() {
                lines.push(describe(&format!("write {file}"), &path, write(&path, value)));
            }
        }
        let inner = format!("{folder}/escape");
        let made = std::fs::create_dir(&inner).err().map_or(0, |e| e.raw_os_error().unwrap_or(-1));
        lines.push(describe("mkdir", &inner, made));
        let _ = std::fs::remove_dir(&inner);
        if let Some((parent, _)) = folder.rsplit_once('/') {
            let path = format!("{parent}/cgroup.procs");
            lines.push(describe("leave", &path, write(&path, "0")));
        }
    }
    lines.extend(mounts());
    lines.extend(namespaces());
    print_line(&format!("[{}]", lines.join(",")));
}

/// The folders of our own groups, as far as they can be seen from here.
fn own_groups() -> Vec<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = controllers.trim_start_matches("name=");
        let roots = if name.is_empty() {
            vec!["/sys/fs/cgroup".to_owned(), "/sys/fs/cgroup/unified".to_owned()]
        } else {
            vec![format!("/sys/fs/cgroup/{name}")]
        };
        for root in roots {
            let folder = format!("{root}{}", path.trim_end_matches('/'));
            // Only a group that execd made: run by hand on a host, this must not touch what belongs to others.
            if folder.contains("execd") && std::path::Path::new(&format!("{folder}/cgroup.procs")).exists() {
                folders.push(folder);
            }
        }
    }
    folders
}

fn write(path: &str, value: &str) -> i32 {
    match std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes())) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

fn mounts() -> Vec<String> {
    let target = std::env::temp_dir().join(format!("cg{}", std::process::id()));
    let _ = std::fs::create_dir(&target);
    let path = CString::new(target.display().to_string()).unwrap_or_default();
    let mut lines = Vec::new();
    for (name, kind, data) in [("mount cgroup2", c"cgroup2", c""), ("mount cgroup v1", c"cgroup", c"memory")] {
        // SAFETY: valid strings; unmounted again if it worked
        let errno = unsafe {
            let errno =
                errno_of(libc::mount(c"none".as_ptr(), path.as_ptr(), kind.as_ptr(), 0, data.as_ptr().cast()).into());
            libc::umount2(path.as_ptr(), libc::MNT_DETACH);
            errno
        };
        lines.push(describe(name, "", errno));
    }
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    // SAFETY: valid strings; makes the tree writable if the kernel lets us
    let errno = unsafe {
        errno_of(
            libc::mount(c"none".as_ptr(), c"/sys/fs/cgroup".as_ptr(), c"".as_ptr(), flags, std::ptr::null()).into(),
        )
    };
    lines.push(describe("remount writable", "/sys/fs/cgroup", errno));
    let _ = std::fs::remove_dir(&target);
    lines
}

/// Each in a child of its own, so that one that works does not change the next.
fn namespaces() -> Vec<String> {
    [
        ("unshare user", libc::CLONE_NEWUSER),
        ("unshare mount", libc::CLONE_NEWNS),
        ("unshare cgroup", libc::CLONE_NEWCGROUP),
    ]
    .iter()
    .map(|(name, flag)| describe(name, "", in_child(*flag)))
    .collect()
}

fn in_child(flag: i32) -> i32 {
    // SAFETY: single-threaded; the child makes one call and exits with its errno
    unsafe {
        match libc::fork() {
            0 => libc::_exit(errno_of(libc::unshare(flag).into())),
            pid if pid > 0 => {
                let mut status = 0;
                libc::waitpid(pid, &raw mut status, 0);
                if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { libc::EPERM }
            }
            _ => errno_of(-1),
        }
    }
}

fn describe(attack: &str, path: &str, errno: i32) -> String {
    Object::new().text("attack", attack).text("path", path).value("errno", errno).value("reached", errno == 0).render()
}
