//! The end: the termination line for Kubernetes, the last processes, and the machine where it is ours.

use crate::config::values::VmExit;
use crate::sys::process;
use nix::sys::reboot::{RebootMode, reboot};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where Kubernetes looks (`terminationMessagePath`).
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// Longest line that the kubelet keeps.
const MAX_LINE: usize = 4096;

/// Why the daemon ended.
#[derive(Debug, Default, Serialize)]
pub struct Termination<'a> {
    /// `main_exited`, `main_signaled`, `stopped`, `failed`
    pub reason: &'a str,
    /// our exit code
    pub exit_code: u8,
    /// the main command's signal, if one ended it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// one sentence, when something failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// executions that were ended with us
    pub executions_ended: usize,
    /// how long we ran
    pub uptime_ms: u64,
}

/// Writes the line if the file exists; nobody else has made it but the orchestrator.
pub fn write_line(path: &Path, termination: &Termination<'_>) {
    let Ok(mut line) = serde_json::to_string(termination) else { return };
    line.push('\n');
    if line.len() <= MAX_LINE {
        let _ = OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// As PID 1: TERM to everybody else, KILL after `patience`, and wait for all.
pub fn end_everybody(patience: Duration) {
    let _ = process::kill(-1, libc::SIGTERM);
    let _ = process::kill(-1, libc::SIGCONT);
    let half = Instant::now() + patience;
    if !all_gone_by(half) {
        let _ = process::kill(-1, libc::SIGKILL);
        all_gone_by(Instant::now() + Duration::from_secs(1));
    }
}

fn all_gone_by(deadline: Instant) -> bool {
    loop {
        match process::reap() {
            Ok(Some(_)) => {}
            Err(_) => return true,
            Ok(None) if Instant::now() >= deadline => return false,
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Ends the machine; returns only if the kernel refuses.
pub fn end_machine(how: VmExit) {
    nix::unistd::sync();
    let mode = match how {
        VmExit::PowerOff => RebootMode::RB_POWER_OFF,
        VmExit::Reboot => RebootMode::RB_AUTOBOOT,
        VmExit::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    let _ = reboot(mode);
}
