//! The environment that a command starts with, and its capability mask. Pure.

use crate::agent_type::AgentType;
use crate::config::names::CAPABILITIES;
use std::collections::BTreeMap;
use std::path::Path;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of the daemon that no execution sees: its settings and secrets.
pub fn is_private(name: &str) -> bool {
    name.starts_with("EXECD_") || matches!(name, "JUPYTER_TOKEN" | "NOTIFY_SOCKET" | "LISTEN_FDS" | "LISTEN_PID")
}

/// The daemon's own environment, scrubbed; entries that are not UTF-8 are left out.
pub fn base(vars: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> Vec<(String, String)> {
    vars.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| !is_private(key))
        .collect()
}

/// `KEY=VALUE` strings: base, then the request's, then ours, which nobody overrides.
pub(super) fn build(
    base: &[(String, String)],
    asked: &[(String, String)],
    id: &str,
    agent_type: &AgentType,
    task_id: Option<&str>,
    private_dir: Option<&Path>,
) -> Vec<Vec<u8>> {
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    all.insert("PATH", DEFAULT_PATH);
    all.extend(base.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let private = private_dir.and_then(Path::to_str);
    if let Some(dir) = private {
        all.insert("TMPDIR", dir);
    }
    all.extend(asked.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    all.insert("EXECD_EXECUTION_ID", id);
    all.insert("EXECD_AGENT_TYPE", &agent_type.name);
    all.insert("EXECD_TASK_ID", task_id.unwrap_or_default());
    all.into_iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect()
}

/// Bit mask of capability names; `ALL` keeps everything that the daemon has.
pub(super) fn capability_mask(names: &[String]) -> u64 {
    let bit = |name: &String| CAPABILITIES.iter().position(|known| known.eq_ignore_ascii_case(name));
    names.iter().fold(0, |mask, name| match bit(name) {
        _ if name.eq_ignore_ascii_case("ALL") => u64::MAX,
        Some(number) => mask | 1 << number,
        None => mask,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn masks_follow_the_kernel_numbers() {
        for (names, mask) in
            [(&[][..], 0), (&["CAP_CHOWN"], 1), (&["CAP_KILL", "CAP_CHOWN"], 0b10_0001), (&["ALL"], u64::MAX)]
        {
            assert_eq!(capability_mask(&strings(names)), mask, "{names:?}");
        }
    }

    #[test]
    fn secrets_and_settings_do_not_pass() {
        let vars = [("EXECD_ACCESS_TOKEN", "s"), ("JUPYTER_TOKEN", "s"), ("HOME", "/root")];
        let base = base(vars.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        assert_eq!(base, [("HOME".to_owned(), "/root".to_owned())]);
    }
}
