//! Attacks on one process through its files under /proc.

use crate::json::{Object, print_line};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

/// Tries every file of `/proc/PID` that would give something away or change something.
pub(crate) fn run(pid: i32) {
    let mut lines = Vec::new();
    for name in ["environ", "mem", "maps", "auxv", "stack", "syscall", "io", "personality", "pagemap", "smaps_rollup"] {
        lines.push(describe(&format!("read_{name}"), read(&format!("/proc/{pid}/{name}"))));
    }
    for name in ["root/etc", "cwd/.", "exe"] {
        lines.push(describe(&format!("open_{name}"), File::open(format!("/proc/{pid}/{name}")).map(drop)));
    }
    for name in ["oom_score_adj", "comm", "coredump_filter", "clear_refs", "timerslack_ns", "autogroup"] {
        lines.push(describe(&format!("write_{name}"), write(&format!("/proc/{pid}/{name}"), b"0")));
    }
    lines.push(describe("write_exe", write(&format!("/proc/{pid}/exe"), b"\0")));
    lines.push(describe("truncate_exe", truncate(&format!("/proc/{pid}/exe"))));
    lines.push(describe("write_mem", OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).map(drop)));
    lines.push(describe("steal_fd", steal(pid)));
    print_line(&format!("[{}]", lines.join(",")));
}

fn read(path: &str) -> std::io::Result<()> {
    let mut byte = [0u8; 1];
    match File::open(path)?.read(&mut byte) {
        // /proc/PID/mem at address 0: the door is open, the room is empty.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
        Ok(0) => Err(std::io::Error::from_raw_os_error(libc::ENODATA)),
        other => other.map(drop),
    }
}

fn write(path: &str, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(bytes)
}

fn truncate(path: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

/// Opens the target's descriptors through /proc; sockets cannot be opened that way, so a refusal to look counts.
fn steal(pid: i32) -> std::io::Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        std::fs::read_link(entry?.path())?;
    }
    Ok(())
}

fn describe(attack: &str, result: std::io::Result<()>) -> String {
    let errno = result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
    Object::new().text("attack", attack).value("errno", errno).value("reached", errno == 0).render()
}
