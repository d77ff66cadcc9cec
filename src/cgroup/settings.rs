//! The limit files of one execution's groups. They are opened while a supervisor is in reserve, so that a start only writes.

use super::files::{self, FileError, optional};
use super::group::Folders;
use crate::limits::Limits;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const PERIOD_US: u64 = 100_000;
/// The kernel takes no shorter quota.
const QUOTA_MIN_US: u64 = 1000;

/// One limit file; nothing where the group has none of the kind.
#[derive(Debug)]
struct Setting(Option<(PathBuf, Option<File>)>);

impl Setting {
    fn open(dir: Option<&PathBuf>, name: &str) -> Setting {
        Setting(dir.map(|dir| dir.join(name)).map(|path| {
            let file = OpenOptions::new().write(true).open(&path).ok();
            (path, file)
        }))
    }

    fn write(&self, value: &str) -> Result<(), FileError> {
        match &self.0 {
            None => Ok(()),
            Some((_, Some(file))) if file.write_at(value.as_bytes(), 0).is_ok_and(|length| length == value.len()) => {
                Ok(())
            }
            // The second try says what is wrong.
            Some((path, _)) => files::write(path, value),
        }
    }

    fn write_u64(&self, value: u64) -> Result<(), FileError> {
        self.write(&value.to_string())
    }
}

/// Every limit file of the groups.
#[derive(Debug)]
pub(super) struct Settings {
    memory: Setting,
    /// v2: the kernel then kills the whole group at once
    oom_group: Setting,
    swap: Setting,
    /// v1: memory and swap together
    memsw: Setting,
    pids: Setting,
    cpu: Setting,
    quota1: Setting,
    period1: Setting,
    /// v1: the period does not depend on the limit
    period_set: bool,
}

impl Settings {
    pub(super) fn open(folders: &Folders) -> Settings {
        let v2_memory = folders.v2.as_ref().filter(|_| folders.v2_memory);
        let v1_memory = folders.memory1.as_ref();
        let name = if v2_memory.is_some() { "memory.max" } else { "memory.limit_in_bytes" };
        let period1 = Setting::open(folders.cpu1.as_ref(), "cpu.cfs_period_us");
        Settings {
            memory: Setting::open(folders.memory(), name),
            oom_group: Setting::open(v2_memory, "memory.oom.group"),
            swap: Setting::open(v2_memory, "memory.swap.max"),
            memsw: Setting::open(v1_memory, "memory.memsw.limit_in_bytes"),
            pids: Setting::open(folders.pids(), "pids.max"),
            cpu: Setting::open(folders.v2.as_ref().filter(|_| folders.v2_cpu), "cpu.max"),
            quota1: Setting::open(folders.cpu1.as_ref(), "cpu.cfs_quota_us"),
            period_set: period1.write_u64(PERIOD_US).is_ok(),
            period1,
        }
    }

    /// Writes every limit that a controller here can hold.
    pub(super) fn apply(&self, limits: &Limits) -> Result<(), FileError> {
        if let Some(bytes) = limits.memory_bytes {
            self.memory.write_u64(bytes)?;
            optional(self.oom_group.write("1"))?;
            optional(self.swap.write("0"))?;
            optional(self.memsw.write_u64(bytes))?;
        }
        if let Some(tasks) = limits.pids {
            self.pids.write_u64(tasks)?;
        }
        if let Some(cores) = limits.cpu_cores {
            let quota = ((cores * PERIOD_US as f64) as u64).max(QUOTA_MIN_US);
            self.cpu.write(&format!("{quota} {PERIOD_US}"))?;
            if !self.period_set {
                self.period1.write_u64(PERIOD_US)?;
            }
            self.quota1.write_u64(quota)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::gauges::fake;
    use super::*;

    #[test]
    fn each_limit_goes_to_its_file_and_a_missing_file_is_named() {
        let root = std::env::temp_dir().join(format!("execd-settings-{}", std::process::id()));
        let dir = fake(&root, &[("memory.max", ""), ("memory.oom.group", ""), ("cpu.max", "")]);
        let v2 = Folders { v2: Some(dir.clone()), v2_memory: true, v2_pids: true, v2_cpu: true, ..Folders::default() };
        let limits = Limits { memory_bytes: Some(5000), cpu_cores: Some(0.5), ..Limits::default() };
        let settings = Settings::open(&v2);
        settings.apply(&limits).expect("apply");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("read");
        assert_eq!(read("memory.max"), "5000");
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!(read("cpu.max"), "50000 100000");
        let error = settings.apply(&Limits { pids: Some(9), ..Limits::default() }).expect_err("no file");
        assert!(error.to_string().starts_with("write 9 to ") && error.to_string().contains("pids.max"), "{error}");

        fake(&dir, &[("memory.limit_in_bytes", ""), ("cpu.cfs_period_us", ""), ("cpu.cfs_quota_us", "")]);
        let here = || Some(dir.clone());
        let v1 = Settings::open(&Folders { memory1: here(), cpu1: here(), ..Folders::default() });
        assert_eq!(read("cpu.cfs_period_us"), "100000");
        v1.apply(&Limits { pids: Some(9), ..limits }).expect("no pids controller, no file");
        assert_eq!((read("memory.limit_in_bytes"), read("cpu.cfs_quota_us")), ("5000".into(), "50000".into()));
        std::fs::remove_dir_all(root).expect("cleanup");
    }
}
