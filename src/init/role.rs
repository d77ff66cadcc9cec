//! Who this process is.

use nix::sys::prctl;
use serde::Serialize;
use std::path::Path;

/// The daemon's place among processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InitMode {
    /// PID 1 of a container or of a machine
    Pid1,
    /// orphans of our descendants come to us
    Subreaper,
    /// orphans go to somebody else
    None,
}

impl InitMode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            InitMode::Pid1 => "pid1",
            InitMode::Subreaper => "subreaper",
            InitMode::None => "none",
        }
    }
}

/// Finds out, and becomes a subreaper where we are not PID 1.
pub fn assume() -> InitMode {
    if std::process::id() == 1 {
        return InitMode::Pid1;
    }
    match prctl::set_child_subreaper(true) {
        Ok(()) => InitMode::Subreaper,
        Err(_) => InitMode::None,
    }
}

/// PID 1 of a real kernel: nobody has mounted anything for us and our end is the machine's.
pub fn is_machine_init() -> bool {
    if std::process::id() != 1 {
        return false;
    }
    // Without /proc nobody has set up a container; with it, a container has a pid namespace of its own.
    match std::fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) => namespace == Path::new("pid:[4026531836]"),
        Err(_) => !Path::new("/proc/self/stat").exists(),
    }
}
