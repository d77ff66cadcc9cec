//! Layouts of the worlds in which execd runs, on trees in a temporary folder.

use super::*;
use std::fs;

/// A fake machine that is removed with the value.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, mountinfo: &str, cgroup: &str, groups: &[&str]) -> Machine {
        let root = std::env::temp_dir().join(format!("execd-mounts-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(root.join("proc/self/mountinfo"), mountinfo).unwrap();
        fs::write(root.join("proc/self/cgroup"), cgroup).unwrap();
        for group in groups {
            fs::create_dir_all(root.join(group)).unwrap();
        }
        Machine(root)
    }

    /// Trusts every existing folder below a `cgroup` folder: v2 when "2" or "unified" is in its path.
    fn layout(&self) -> Layout {
        let trust = |dir: &Path| {
            let rest = dir.strip_prefix(&self.0).ok()?.to_str()?;
            let version = if rest.contains("cgroup2") || rest.contains("unified") { Version::V2 } else { Version::V1 };
            (dir.is_dir() && rest.contains("cgroup")).then_some(version)
        };
        Layout::detect_with(&self.0, &trust).unwrap()
    }

    fn dir(&self, place: Option<&Place>) -> String {
        place.map_or_else(|| "none".into(), |p| p.dir.strip_prefix(&self.0).unwrap().display().to_string())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn docker_v1_bind_mounts_the_containers_own_group() {
    let m = Machine::new(
        "docker1",
        "1 0 0:1 /docker/ab /cgroup/memory ro - cgroup cgroup rw,memory\n\
         2 0 0:2 /docker/ab /cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
         3 0 0:3 /docker/ab /cgroup/systemd ro - cgroup cgroup rw,name=systemd\n",
        "3:name=systemd:/docker/ab\n2:cpu,cpuacct:/docker/ab\n1:memory:/docker/ab\n",
        &["cgroup/memory", "cgroup/cpu,cpuacct", "cgroup/systemd"],
    );
    let layout = m.layout();
    let memory = layout.v1(Controller::Memory).unwrap();
    assert_eq!(m.dir(Some(memory)), "cgroup/memory");
    assert!(memory.read_only && memory.exact && memory.chain.len() == 1);
    assert_eq!(memory.mount_root, PathBuf::from("/docker/ab"));
    assert_eq!(m.dir(layout.v1(Controller::Cpu)), "cgroup/cpu,cpuacct");
    assert_eq!(m.dir(layout.v1(Controller::Cpuacct)), "cgroup/cpu,cpuacct");
    assert_eq!(layout.v1(Controller::Pids), None);
    assert_eq!(layout.v2, None);
}

#[test]
fn a_host_sees_all_ancestors() {
    let m = Machine::new(
        "host",
        "1 0 0:1 / /cgroup2 rw - cgroup2 cgroup2 rw\n",
        "0::/kube/pod/c\n",
        &["cgroup2/kube/pod/c"],
    );
    let v2 = m.layout().v2.unwrap();
    let names: Vec<_> = v2.chain.iter().map(|d| d.strip_prefix(&m.0).unwrap().display().to_string()).collect();
    assert_eq!(names, ["cgroup2/kube/pod/c", "cgroup2/kube/pod", "cgroup2/kube", "cgroup2"]);
    assert!(!v2.read_only && v2.machine_root);
}

#[test]
fn hybrid_has_both() {
    let m = Machine::new(
        "hybrid",
        "1 0 0:1 / /cgroup/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / /cgroup/unified rw - cgroup2 none rw\n",
        "4:memory:/a/b\n0::/\n",
        &["cgroup/memory/a/b", "cgroup/unified"],
    );
    let layout = m.layout();
    assert_eq!(m.dir(layout.v2.as_ref()), "cgroup/unified");
    assert_eq!(m.dir(layout.v1(Controller::Memory)), "cgroup/memory/a/b");
    assert_eq!(layout.v1(Controller::Memory).unwrap().chain.len(), 3);
}

#[test]
fn namespaces() {
    // (mount root, our path, folder, exact)
    let table = [
        ("/", "/", "cgroup2", true),
        ("/", "/leaf", "cgroup2/leaf", true),
        ("/", "/../x", "cgroup2", false),
        ("/", "/gone", "cgroup2", false),
        ("/..", "/../x", "cgroup2/x", true),
        ("/..", "/", "none", false),
        ("/docker/ab", "/docker/ab/leaf", "cgroup2/leaf", true),
        ("/docker/ab", "/docker/abc", "cgroup2", false),
    ];
    for (mount_root, ours, dir, exact) in table {
        let mountinfo = format!("1 0 0:1 {mount_root} /cgroup2 ro - cgroup2 none rw\n");
        let m = Machine::new("namespaces", &mountinfo, &format!("0::{ours}\n"), &["cgroup2/leaf", "cgroup2/x"]);
        let v2 = m.layout().v2;
        assert_eq!(m.dir(v2.as_ref()), dir, "{mount_root} {ours}");
        assert_eq!(v2.is_some_and(|p| p.exact), exact, "{mount_root} {ours}");
    }
}

#[test]
fn a_sandbox_without_memberships_still_has_its_mount() {
    let m = Machine::new("nomember", "1 0 0:1 / /cgroup/memory ro - cgroup none rw,memory\n", "", &["cgroup/memory"]);
    let memory = m.layout().v1(Controller::Memory).cloned().unwrap();
    assert!(!memory.exact);
}

#[test]
fn of_two_mounts_the_writable_one_is_taken() {
    let m = Machine::new(
        "two",
        "1 0 0:1 / /cgroup2 ro - cgroup2 none rw\n2 0 0:1 / /mnt/cgroup2 rw - cgroup2 none rw\n",
        "0::/\n",
        &["cgroup2", "mnt/cgroup2"],
    );
    assert_eq!(m.dir(m.layout().v2.as_ref()), "mnt/cgroup2");
}

#[test]
fn a_fake_tree_is_not_trusted() {
    let m = Machine::new("fake", "1 0 0:1 / /cgroup2 rw - cgroup2 none rw\n", "0::/\n", &["cgroup2"]);
    fs::write(m.0.join("cgroup2/cgroup.controllers"), "memory pids\n").unwrap();
    assert!(Layout::detect(&m.0).unwrap().is_empty(), "statfs says that this is an ordinary folder");
}

#[test]
fn no_proc_no_cgroups() {
    assert!(Layout::detect(Path::new("/nonexistent")).unwrap().is_empty());
}

#[test]
fn this_machine_does_not_fail() {
    let layout = Layout::detect(Path::new("/")).unwrap();
    for place in Controller::ALL.iter().filter_map(|c| layout.v1(*c)).chain(&layout.v2) {
        assert!(place.dir.starts_with(&place.mount_point) && place.chain.first() == Some(&place.dir), "{place:?}");
        assert!(!place.dir.as_os_str().to_string_lossy().ends_with('/'), "{place:?}");
    }
}
