//! What must happen while the process has one thread: signals, roles, mounts, cgroups, hardening, the forks.

use crate::cgroup::Layout;
use crate::cgroup::domain::Domain;
use crate::init::main_command::{MainCommand, NotStarted};
use crate::init::mounts;
use crate::init::reaper::{Ended, reap_all};
use crate::init::role::{self, InitMode};
use crate::supervisor::context::Context;
use crate::supervisor::probe::probe;
use crate::supervisor::zygote::{FAREWELL, Zygote};
use crate::sys::process;
use nix::sys::prctl;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// The ground that a daemon or a one-shot run stands on.
#[derive(Debug)]
pub struct Ground {
    /// who we are
    pub mode: InitMode,
    /// our end is the machine's
    pub machine_init: bool,
    /// facts and folders, shared with every supervisor
    pub context: Context,
    /// where the container's figures are, found before we moved ourselves
    pub layout: Layout,
    /// forks supervisors
    pub zygote: Zygote,
    /// lines for the log, once there is one
    pub notes: Vec<String>,
}

impl Ground {
    /// Prepares everything. Signals are blocked already; see [`crate::init::signals::block`].
    pub fn lay() -> io::Result<Ground> {
        let machine_init = role::is_machine_init();
        let mut notes = if machine_init { mounts::mount_missing() } else { Vec::new() };
        let mode = role::assume();
        let open_files_soft = raise_open_files();
        let layout = Layout::detect(Path::new("/")).unwrap_or_else(|error| {
            notes.push(format!("find cgroups: {error}"));
            Layout::default()
        });
        let context = probe(&layout, open_files_soft);
        // From here on nobody of our uid may read our memory, our environment or our descriptors, or trace us.
        prctl::set_dumpable(false)?;
        let zygote = Zygote::spawn(context.clone())?;
        Ok(Ground { mode, machine_init, context, layout, zygote, notes })
    }

    /// Starts the main command.
    pub fn start_main(&self, argv: &[OsString]) -> Result<Option<MainCommand>, NotStarted> {
        if argv.is_empty() {
            return Ok(None);
        }
        MainCommand::start(argv, self.context.open_files_soft).map(Some)
    }
}

/// The end of the ground: waits for the zygote, which waits for its supervisors, and removes our cgroup folders.
pub(super) fn leave(zygote: i32, domain: &Domain) {
    let deadline = Instant::now() + FAREWELL;
    while Instant::now() < deadline {
        let gone = reap_all(None, zygote).contains(&Ended::Zygote) || !process::is_child(zygote);
        if gone {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    domain.remove();
}

/// A daemon with many clients needs more descriptors than the usual soft limit; children get the old one back.
fn raise_open_files() -> u64 {
    const ENOUGH: u64 = 65_536;
    let Ok((soft, hard)) = process::rlimit(libc::RLIMIT_NOFILE as u32) else { return 1024 };
    if soft < ENOUGH {
        let _ = process::set_soft_rlimit(libc::RLIMIT_NOFILE as u32, ENOUGH.min(hard));
    }
    soft
}
