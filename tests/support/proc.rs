//! What the kernel says about processes.

use std::path::Path;

/// Fields of `/proc/PID/stat` that tests need.
#[derive(Clone, Debug)]
pub struct Stat {
    pub pid: i32,
    pub name: String,
    pub state: char,
    pub parent: i32,
    pub threads: u64,
}

/// One process, if it is still there.
pub fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        pid,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
    })
}

/// Every process.
pub fn all() -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat).collect()
}

/// Children, grandchildren and so on, without zombies.
pub fn descendants(root: i32) -> Vec<Stat> {
    let all = all();
    let mut family = vec![root];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        family.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.pid));
        at += 1;
    }
    all.into_iter().filter(|p| p.pid != root && family.contains(&p.pid) && p.state != 'Z').collect()
}

/// Living processes with this execution's id in their environment: whatever they did to be forgotten, this stays.
pub fn of_execution(id: &str) -> Vec<Stat> {
    let needle = format!("EXECD_EXECUTION_ID={id}");
    all().into_iter().filter(|p| p.state != 'Z' && has_environment(p.pid, &needle)).collect()
}

fn has_environment(pid: i32, variable: &str) -> bool {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
}

/// Processes that nobody has waited for.
pub fn zombies_of(root: i32) -> usize {
    let all = all();
    let family: Vec<i32> = descendants(root).iter().map(|p| p.pid).chain([root]).collect();
    all.iter().filter(|p| p.state == 'Z' && family.contains(&p.parent)).count()
}

/// Open descriptors of a process.
pub fn open_fds(pid: i32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Proportional set size in bytes. Needs to be root: the daemon is not dumpable.
pub fn pss(pid: i32) -> Option<u64> {
    field(format!("/proc/{pid}/smaps_rollup"), "Pss:").map(|kib| kib * 1024)
}

/// Resident set size in bytes.
pub fn rss(pid: i32) -> Option<u64> {
    field(format!("/proc/{pid}/status"), "VmRSS:").map(|kib| kib * 1024)
}

/// Voluntary and involuntary context switches of all threads.
pub fn context_switches(pid: i32) -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let status = task.ok()?.path().join("status");
        sum += field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Some(sum)
}

/// CPU time of a process in milliseconds (10 ms ticks).
pub fn cpu_ms(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks * 10)
}

fn field(path: impl AsRef<Path>, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// When a process started, in milliseconds since boot (10 ms ticks).
pub fn started_ms(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks * 10)
}

/// Whether a process has an effective capability, by its number (7 is CAP_SETUID).
pub fn has_capability(pid: i32, number: u32) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"))?;
    Some(u64::from_str_radix(set, 16).ok()? >> number & 1 == 1)
}
