//! Where a running daemon may be: what its settings say, what it noted, what the process table shows, the default.
//!
//! The daemon makes itself unreadable to others (non-dumpable), so that `/proc/PID/exe` and `/proc/PID/fd` may be closed to
//! us even as root; its name and command line always are open. `/proc` is injected, so that all of it is testable.

use super::command::Target;
use super::serve_args;
use crate::config::{layers, values};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Name of the note in the state directory: `{"pid", "listen", "metrics"}`.
pub const NOTE: &str = "daemon.json";

const DEFAULT_PORT: u16 = 44772;
/// Most bytes that are read of any one file.
const MAX_BYTES: u64 = 1 << 20;
/// Most processes that are looked at.
const MAX_PROCESSES: usize = 32_768;

/// Addresses to dial, best first, each once.
pub(super) fn addresses(target: &Target, proc: &Path) -> Vec<SocketAddr> {
    let mut listens: Vec<SocketAddr> = target.listen.into_iter().collect();
    listens.extend(target.state_dirs.iter().filter_map(|dir| noted(dir, proc)));
    let ours = our_processes(proc);
    listens.extend(ours.iter().filter_map(|pid| started_with(proc, *pid)));
    listens.extend(listening(proc, &ours));
    listens.push(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT));
    let mut seen = BTreeSet::new();
    listens.into_iter().flat_map(dialled).filter(|address| seen.insert(*address)).collect()
}

/// A listening address as one to connect to; all addresses become loopback, v4 first as v6 may be switched off.
fn dialled(listen: SocketAddr) -> Vec<SocketAddr> {
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port());
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), listen.port());
    match listen.ip() {
        _ if listen.port() == 0 => Vec::new(),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![v4],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => vec![v4, v6],
        IpAddr::V4(_) | IpAddr::V6(_) => vec![listen],
    }
}

/// What the daemon noted in its state directory, unless it is gone.
fn noted(dir: &Path, proc: &Path) -> Option<SocketAddr> {
    let note: Value = serde_json::from_slice(&read(&dir.join(NOTE))?).ok()?;
    let pid = note.get("pid")?.as_u64()?;
    proc.join(pid.to_string()).exists().then_some(())?;
    values::address(note.get("listen")?.as_str()?).ok()
}

/// Other processes of our name or our file, lowest pid first: the daemon comes before what it started.
fn our_processes(proc: &Path) -> Vec<u32> {
    let name = read(&proc.join("self/comm"));
    let file = fs::metadata(proc.join("self/exe")).ok().map(|status| (status.dev(), status.ino()));
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let mut pids: Vec<u32> = entries
        .take(MAX_PROCESSES)
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != std::process::id())
        .filter(|pid| {
            let folder = proc.join(pid.to_string());
            let same_file = || fs::metadata(folder.join("exe")).ok().map(|status| (status.dev(), status.ino()));
            (name.is_some() && read(&folder.join("comm")) == name) || (file.is_some() && same_file() == file)
        })
        .collect();
    pids.sort_unstable();
    pids
}

/// The address on a daemon's own command line.
fn started_with(proc: &Path, pid: u32) -> Option<SocketAddr> {
    let line = read(&proc.join(pid.to_string()).join("cmdline"))?;
    let words: Vec<OsString> = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let given = words.get(1..)?;
    let given = given.strip_prefix(&[OsString::from("serve")]).unwrap_or(given);
    let flags = layers::flags(serve_args::sort(given).ok()?.settings);
    let text = |name| flags.get(name).map(|given| given.text.as_str());
    match (text("listen"), text("port")) {
        (Some(address), _) => values::address(address).ok(),
        (None, Some(port)) => Some(values::any_address(port.parse().ok()?)),
        (None, None) => None,
    }
}

/// Sockets that those processes listen on, where their descriptors are open to us.
fn listening(proc: &Path, pids: &[u32]) -> Vec<SocketAddr> {
    let owned: BTreeSet<u64> = pids.iter().flat_map(|pid| sockets(&proc.join(pid.to_string()).join("fd"))).collect();
    if owned.is_empty() {
        return Vec::new();
    }
    let tables = ["net/tcp", "net/tcp6"].into_iter().filter_map(|table| read(&proc.join(table)));
    let listens = tables.flat_map(|table| listen_table(&String::from_utf8_lossy(&table)));
    listens.filter(|(_, inode)| owned.contains(inode)).map(|(address, _)| address).collect()
}

fn sockets(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let links = entries.take(MAX_PROCESSES).filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Listening sockets of `/proc/net/tcp` or `tcp6`, with their inodes (proc_pid_net(5): state 0A is LISTEN).
fn listen_table(table: &str) -> Vec<(SocketAddr, u64)> {
    table.lines().skip(1).filter_map(listen_row).collect()
}

fn listen_row(row: &str) -> Option<(SocketAddr, u64)> {
    let mut words = row.split_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let inode = words.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == "0A").then_some((SocketAddr::new(kernel_address(address)?, port), inode))
}

/// The kernel prints addresses as 32-bit words in its own byte order.
fn kernel_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0_u8; 16];
            for (index, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::TokenSource;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::Duration;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0 0 10 0
";
    const TCP6: &str = "  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 00000000000000000000000001000000:AEE4 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1 0 100 0
";

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("execd-discover-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("scratch folder");
        path
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("inside")).expect("folder");
        fs::write(path, text).expect("file");
    }

    fn target(listen: Option<SocketAddr>, state_dirs: Vec<PathBuf>) -> Target {
        Target { url: None, token: TokenSource::None, listen, state_dirs, timeout: Duration::from_secs(1) }
    }

    fn texts(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_listening_sockets_count() {
        assert_eq!(listen_table(TCP), [(SocketAddr::from(([127, 0, 0, 1], 8080)), 4242)]);
        assert_eq!(
            listen_table(TCP6).first().map(|(a, inode)| (a.to_string(), *inode)),
            Some(("[::1]:44772".into(), 77))
        );
        assert!(listen_table("head\ngarbage\n 0: x:y z 0A\n").is_empty());
    }

    #[test]
    fn the_order_is_settings_note_process_socket_default() {
        let root = scratch("order");
        put(&root, "proc/self/comm", "execd\n");
        put(&root, "proc/1/comm", "execd\n");
        put(&root, "proc/1/cmdline", &"/execd --port 7000 -- sleep ".replace(' ', "\0"));
        put(&root, "proc/9/comm", "bash\n");
        put(&root, "proc/9/cmdline", &"bash --port 1 ".replace(' ', "\0"));
        put(&root, "proc/net/tcp", TCP);
        fs::create_dir_all(root.join("proc/1/fd")).expect("folder");
        symlink("socket:[4242]", root.join("proc/1/fd/5")).expect("link");
        put(&root, "state/daemon.json", r#"{"pid": 1, "listen": "127.0.0.1:6000", "metrics": null}"#);
        put(&root, "stale/daemon.json", r#"{"pid": 12345, "listen": "127.0.0.1:6001"}"#);
        let asked =
            target(Some(SocketAddr::from(([127, 0, 0, 1], 5000))), vec![root.join("state"), root.join("stale")]);
        assert_eq!(
            texts(&addresses(&asked, &root.join("proc"))),
            [
                "127.0.0.1:5000",
                "127.0.0.1:6000",
                "127.0.0.1:7000",
                "[::1]:7000",
                "127.0.0.1:8080",
                "127.0.0.1:44772",
                "[::1]:44772"
            ]
        );
    }

    #[test]
    fn an_empty_world_leaves_the_default() {
        let root = scratch("empty");
        assert_eq!(texts(&addresses(&target(None, vec![]), &root)), ["127.0.0.1:44772", "[::1]:44772"]);
    }
}
