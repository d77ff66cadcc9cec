//! Looks at fake machines in a temporary folder, one per world, and at the real one.

use super::super::snapshot::MemLimitSource;
use super::*;
use crate::cgroup::mountinfo::Version;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

const MIB: u64 = 1 << 20;
const MEMINFO: &str =
    "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\nCached: 1048576 kB\nAnonPages: 2048 kB\n";

/// A fake machine that is removed with the value.
struct Machine(PathBuf);

impl Machine {
    /// Files are written as given; every folder below `cg` counts as cgroup v1, below `cg2` as v2.
    fn new(name: &str, mountinfo: &str, cgroup: &str, files: &[(&str, &str)]) -> Machine {
        // Tests run side by side and share builders: a folder of its own for each machine.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("execd-sample-{}-{name}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let machine = Machine(root);
        machine.write("proc/self/mountinfo", mountinfo);
        machine.write("proc/self/cgroup", cgroup);
        machine.write("proc/meminfo", MEMINFO);
        for (path, content) in files {
            machine.write(path, content);
        }
        machine
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn owned(self) -> Machine {
        fs::create_dir_all(self.0.join("proc/self/ns")).unwrap();
        std::os::unix::fs::symlink("pid:[4026531836]", self.0.join("proc/self/ns/pid")).unwrap();
        self
    }

    fn layout(&self) -> Layout {
        let trust = |dir: &Path| match dir.strip_prefix(&self.0).ok()?.iter().next()?.to_str()? {
            "cg" => dir.is_dir().then_some(Version::V1),
            "cg2" => dir.is_dir().then_some(Version::V2),
            _ => None,
        };
        Layout::detect_with(&self.0, &trust).unwrap()
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(&self.0, &self.layout())
    }

    /// A look one second after the start, and the sampler for more.
    fn look(&self) -> (Snapshot, Sampler) {
        let mut sampler = self.sampler();
        let later = sampler.previous.at + Duration::from_secs(1);
        (sampler.look_at(later, 1), sampler)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A v2 container: its own group two levels below the mount point, the middle one with the tighter limits.
fn v2_container() -> Machine {
    Machine::new(
        "v2",
        "1 0 0:1 / /cg2 ro - cgroup2 none rw\n",
        "0::/pod/c\n",
        &[
            ("cg2/cgroup.events", "populated 1\n"),
            ("cg2/pod/memory.max", "134217728\n"),
            ("cg2/pod/cpu.max", "50000 100000\n"),
            ("cg2/pod/cpu.stat", "usage_usec 2000000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\n"),
            ("cg2/pod/pids.max", "100\n"),
            ("cg2/pod/c/cgroup.events", "populated 1\n"),
            ("cg2/pod/c/memory.max", "268435456\n"),
            ("cg2/pod/c/memory.current", "104857600\n"),
            ("cg2/pod/c/memory.swap.current", "1048576\n"),
            ("cg2/pod/c/memory.stat", "anon 41943040\nfile 62914560\nshmem 2097152\ninactive_file 52428800\n"),
            ("cg2/pod/c/memory.events", "low 0\noom 3\noom_kill 2\n"),
            ("cg2/pod/c/cpu.max", "max 100000\n"),
            ("cg2/pod/c/cpu.stat", "usage_usec 1000000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"),
            ("cg2/pod/c/cpu.pressure", "some avg10=1.50 avg60=0 avg300=0 total=10\n"),
            ("cg2/pod/c/pids.current", "7\n"),
            ("cg2/pod/c/pids.max", "max\n"),
        ],
    )
}

#[test]
fn a_v2_container_has_the_tightest_limits_above_it() {
    let (seen, _) = v2_container().look();
    assert_eq!(seen.cpu_count, Some(0.5));
    assert_eq!(seen.mem_total_bytes, Some(128 * MIB));
    assert_eq!(seen.mem_limit_source, Some(MemLimitSource::Cgroup2));
    assert_eq!(seen.mem_used_bytes, Some(50 * MIB), "100 used, 50 of them inactive file pages");
    assert_eq!((seen.mem_anon_bytes, seen.mem_cache_bytes), (Some(40 * MIB), Some(60 * MIB)));
    assert_eq!((seen.mem_shmem_bytes, seen.mem_swap_bytes), (Some(2 * MIB), Some(MIB)));
    assert_eq!((seen.pids, seen.pids_limit, seen.oom_kills), (Some(7), Some(100), Some(2)));
    assert_eq!((seen.cpu_nr_periods, seen.cpu_nr_throttled, seen.cpu_throttled_us), (Some(9), Some(4), Some(77)));
    assert_eq!(seen.psi.cpu.and_then(|psi| psi.some).map(|line| line.avg10), Some(1.5));
    assert_eq!((seen.psi.memory, seen.psi.io, seen.load1), (None, None, None));
    assert!(seen.disk_root.is_some() && seen.disk_workspace.is_none());
}

#[test]
fn a_live_resize_shows_in_the_next_look() {
    let machine = v2_container();
    let (_, mut sampler) = machine.look();
    machine.write("cg2/pod/c/memory.max", "67108864\n");
    machine.write("cg2/pod/c/cpu.max", "25000 100000\n");
    machine.write("cg2/pod/pids.max", "max\n");
    let seen = sampler.look();
    assert_eq!((seen.mem_total_bytes, seen.cpu_count, seen.pids_limit), (Some(64 * MIB), Some(0.25), None));
    machine.write("cg2/pod/c/memory.max", "max\n");
    machine.write("cg2/pod/memory.max", "max\n");
    let seen = sampler.look();
    assert_eq!((seen.mem_total_bytes, seen.mem_limit_source), (Some(8192 * MIB), Some(MemLimitSource::Host)));
}

#[test]
fn the_rate_is_that_of_the_last_two_looks_100_ms_apart() {
    let machine = v2_container();
    let mut sampler = machine.sampler();
    let start = sampler.previous.at;
    let mut look = |ms: u64, usage_us: u64| {
        machine.write("cg2/pod/c/cpu.stat", format!("usage_usec {usage_us}\n"));
        let seen = sampler.look_at(start + Duration::from_millis(ms), 0);
        (seen.cpu_used_pct, seen.cpu_window_ms)
    };
    assert_eq!(look(50, 1_010_000), (None, None), "no window yet");
    assert_eq!(look(200, 1_050_000), (Some(50.0), Some(200)), "since the start; half a CPU is all");
    assert_eq!(look(299, 1_099_500), (Some(50.0), Some(200)), "too soon: the same again");
    assert_eq!(look(400, 1_150_000), (Some(100.0), Some(200)));
    assert_eq!(look(3_600_400, 1_150_000), (Some(0.0), Some(3_600_000)));
}

/// As Docker shows it: the container's own group is the mount point.
fn v1_container(limit: &str) -> Machine {
    Machine::new(
        "v1",
        "1 0 0:1 /docker/c /cg/memory ro - cgroup none rw,memory\n\
         2 0 0:2 /docker/c /cg/cpu,cpuacct ro - cgroup none rw,cpu,cpuacct\n\
         3 0 0:3 /docker/c /cg/pids ro - cgroup none rw,pids\n",
        "3:pids:/docker/c\n2:cpu,cpuacct:/docker/c\n1:memory:/docker/c\n",
        &[
            ("cg/memory/memory.limit_in_bytes", limit),
            ("cg/memory/memory.usage_in_bytes", "104857600\n"),
            ("cg/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            (
                "cg/memory/memory.stat",
                "cache 1\nrss 1\ninactive_file 1\nhierarchical_memory_limit 536870912\ntotal_cache 62914560\n\
                 total_rss 41943040\ntotal_shmem 0\ntotal_swap 0\ntotal_inactive_file 52428800\n",
            ),
            ("cg/cpu,cpuacct/cpuacct.usage", "2000000000\n"),
            ("cg/cpu,cpuacct/cpu.cfs_quota_us", "25000\n"),
            ("cg/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("cg/cpu,cpuacct/cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 5000\n"),
            ("cg/pids/pids.current", "3\n"),
            ("cg/pids/pids.max", "4096\n"),
        ],
    )
}

#[test]
fn a_v1_container() {
    let (seen, _) = v1_container("268435456\n").look();
    assert_eq!((seen.mem_total_bytes, seen.mem_limit_source), (Some(256 * MIB), Some(MemLimitSource::Cgroup1)));
    assert_eq!((seen.mem_used_bytes, seen.mem_anon_bytes), (Some(50 * MIB), Some(40 * MIB)));
    assert_eq!((seen.mem_cache_bytes, seen.mem_swap_bytes), (Some(60 * MIB), Some(0)));
    assert_eq!((seen.cpu_count, seen.cpu_usage_us), (Some(0.25), Some(2_000_000)));
    assert_eq!((seen.cpu_nr_periods, seen.cpu_nr_throttled, seen.cpu_throttled_us), (Some(3), Some(2), Some(5)));
    assert_eq!((seen.pids, seen.pids_limit, seen.oom_kills), (Some(3), Some(4096), Some(5)));
    assert_eq!(seen.psi, Default::default(), "the machine's pressure is not the container's");
}

#[test]
fn v1_tells_of_limits_above_what_is_visible() {
    let (seen, _) = v1_container("9223372036854771712\n").look();
    assert_eq!((seen.mem_total_bytes, seen.mem_limit_source), (Some(512 * MIB), Some(MemLimitSource::Cgroup1)));
}

#[test]
fn on_hybrid_the_controllers_of_v1_speak_and_v2_adds_pressure() {
    let machine = Machine::new(
        "hybrid",
        "1 0 0:1 / /cg/memory rw - cgroup none rw,memory\n2 0 0:2 / /cg2 rw - cgroup2 none rw\n",
        "4:memory:/a\n0::/b\n",
        &[
            ("cg/memory/release_agent", ""),
            ("cg/memory/a/memory.limit_in_bytes", "1048576\n"),
            ("cg/memory/a/memory.usage_in_bytes", "4096\n"),
            ("cg2/b/cgroup.events", "populated 1\n"),
            ("cg2/b/cpu.stat", "usage_usec 5\n"),
            ("cg2/b/memory.pressure", "some avg10=0.10 total=1\nfull avg10=0.05 total=1\n"),
        ],
    );
    let (seen, _) = machine.look();
    assert_eq!((seen.mem_total_bytes, seen.mem_used_bytes), (Some(MIB), Some(4096)));
    assert_eq!(seen.cpu_usage_us, Some(5));
    assert!(seen.psi.memory.is_some_and(|psi| psi.full.is_some()));
}

#[test]
fn where_the_machine_is_ours_its_figures_are() {
    let files = [
        ("proc/stat", "cpu  100 0 50 9 9 0 0 0 0 0\n"),
        ("proc/loadavg", "0.50 0.25 0.10 2/85 700\n"),
        ("proc/vmstat", "nr_free_pages 1\noom_kill 1\n"),
        ("proc/sys/kernel/pid_max", "32768\n"),
        ("proc/sys/kernel/threads-max", "1000\n"),
        ("proc/pressure/io", "some avg10=3.00 total=1\n"),
        ("cg2/cgroup.controllers", "cpu memory pids\n"),
    ];
    let machine = Machine::new("microvm", "1 0 0:1 / /cg2 rw - cgroup2 none rw\n", "0::/\n", &files).owned();
    let (seen, _) = machine.look();
    assert_eq!((seen.mem_total_bytes, seen.mem_used_bytes), (Some(8192 * MIB), Some(4096 * MIB)));
    assert_eq!(seen.mem_limit_source, Some(MemLimitSource::Host));
    assert_eq!((seen.cpu_usage_us, seen.oom_kills), (Some(1_500_000), Some(1)));
    assert_eq!((seen.pids, seen.pids_limit), (Some(85), Some(1000)));
    assert_eq!((seen.load1, seen.load15), (Some(0.5), Some(0.1)));
    assert!(seen.psi.io.is_some());
}

#[test]
fn a_container_without_visible_cgroups_does_not_pass_off_the_hosts_use_as_its_own() {
    let files = [("proc/stat", "cpu  100 0 50 9 9 0 0\n"), ("proc/pressure/io", "some avg10=3.00 total=1\n")];
    let (seen, _) = Machine::new("hidden", "", "0::/\n", &files).look();
    assert_eq!((seen.mem_used_bytes, seen.cpu_usage_us, seen.cpu_used_pct), (None, None, None));
    assert_eq!((seen.pids, seen.pids_limit, seen.psi), (None, None, Default::default()));
    assert_eq!(seen.mem_total_bytes, Some(8192 * MIB), "an upper bound, and it says so");
    assert_eq!(seen.mem_limit_source, Some(MemLimitSource::Host));
}

#[test]
fn where_nothing_counts_for_us_the_processes_are_summed() {
    let stat = "1 (x) S 0 1 1 0 -1 4 1 2 0 0 10 5 3 2 20 0 2 0 5 1 256 9\n";
    let (seen, _) = Machine::new("sums", "", "0::/\n", &[("proc/1/stat", stat)]).look();
    assert_eq!((seen.cpu_usage_us, seen.cpu_used_pct, seen.pids), (Some(200_000), Some(0.0), Some(2)));
    assert!(seen.mem_used_bytes.is_some_and(|bytes| bytes >= MIB));
}

#[test]
fn a_gvisor_like_tree_gives_what_it_has() {
    let machine = Machine::new(
        "gvisor",
        "1 0 0:1 / /cg/memory ro - cgroup none rw,memory\n2 0 0:2 / /cg/cpuacct ro - cgroup none rw,cpuacct\n",
        "",
        &[
            ("cg/memory/memory.usage_in_bytes", "1048576\n"),
            ("cg/memory/memory.limit_in_bytes", "9223372036854775807\n"),
            ("cg/cpuacct/cpuacct.usage", "7000\n"),
        ],
    );
    let (seen, _) = machine.look();
    assert_eq!((seen.mem_used_bytes, seen.mem_total_bytes), (Some(MIB), Some(8192 * MIB)));
    assert_eq!((seen.cpu_usage_us, seen.mem_cache_bytes, seen.oom_kills), (Some(7), None, None));
}

#[test]
fn garbage_gives_nothing_rather_than_zero() {
    let machine = v2_container();
    let files = ["memory.max", "memory.current", "memory.stat", "memory.events", "cpu.max", "cpu.stat", "pids.current"];
    for content in [vec![b'9'; 1 << 20], vec![0xff; 1 << 20], b"-5\n".to_vec(), vec![], b"max".repeat(1 << 18)] {
        for file in files {
            machine.write(&format!("cg2/pod/c/{file}"), &content);
        }
        machine.write("proc/meminfo", &content);
        let (seen, _) = machine.look();
        let figures = [seen.mem_used_bytes, seen.mem_anon_bytes, seen.oom_kills, seen.cpu_usage_us, seen.pids];
        assert_eq!(figures, [None; 5]);
        assert_eq!(
            (seen.mem_total_bytes, seen.cpu_count),
            (Some(128 * MIB), Some(0.5)),
            "the group above still speaks"
        );
    }
}

#[test]
fn of_this_machine() {
    let layout = Layout::detect(Path::new("/")).unwrap();
    let mut sampler = Sampler::new(Path::new("/"), &layout).with_workspace("/tmp".into());
    std::thread::sleep(Duration::from_millis(110));
    let seen = sampler.look();
    assert!(seen.cpu_count.is_some_and(|n| n > 0.0) && seen.mem_total_bytes.is_some_and(|n| n > 0), "{seen:?}");
    assert!(seen.cpu_used_pct.is_none_or(|pct| (0.0..=100.0).contains(&pct)), "{seen:?}");
    assert!(seen.open_fds.is_some() && seen.disk_workspace.is_some() && seen.timestamp > 0, "{seen:?}");
}
