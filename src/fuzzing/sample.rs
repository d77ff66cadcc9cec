//! Readers of files of `/proc`, each for its panics alone or with the one figure that can be checked.

use std::path::Path;

/// `/proc/loadavg`: the averages.
pub fn load_averages(text: &[u8]) -> [Option<f64>; 3] {
    super::host::load(text).averages
}

/// As [`super::cpu::cpu_list_len`].
pub fn cpu_list_len(text: &[u8]) -> Option<u32> {
    super::cpu::cpu_list_len(text)
}

/// As [`super::disk::filesystem`].
pub fn filesystem<'t>(table: &'t [u8], path: &Path) -> Option<&'t [u8]> {
    super::disk::filesystem(table, path)
}

/// The rest: `/proc/net/dev`, `/proc/stat`, `/proc/PID/stat`, `/proc/meminfo`, a kernel's release, `cpu.stat`.
pub fn read_all(text: &[u8]) {
    let _ = (super::host::network(text), super::host::release(text), super::bandwidth::throttling(text));
    let _ = (super::counter::machine_usage_us(text), super::processes::process(text));
    let _ = super::memory::Meminfo::parse(text);
}
