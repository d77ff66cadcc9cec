//! The main command: what stands after `--`. Not an execution: it has no limits, keeps the terminal, gets our signals, and its end
//! is ours.

use crate::sys::{fdpass, process};
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::unistd::{ForkResult, Pid, getpid, setpgid, tcsetpgrp};
use std::ffi::{CString, OsString};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

/// The running main command.
#[derive(Clone, Copy, Debug)]
pub struct MainCommand {
    /// its pid
    pub pid: i32,
}

/// Why it could not be started.
#[derive(Debug)]
pub struct NotStarted {
    /// 127 not found, 126 not executable, 125 anything else
    pub exit_code: u8,
    /// one sentence
    pub message: String,
}

impl MainCommand {
    /// Starts it. Must run before the process has threads.
    pub fn start(argv: &[OsString], open_files_soft: u64) -> Result<MainCommand, NotStarted> {
        let own = |message: String| NotStarted { exit_code: 125, message };
        let argv: Vec<CString> = argv
            .iter()
            .map(|arg| CString::new(arg.clone().into_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| own("the main command has an argument with a NUL byte".to_owned()))?;
        let (ours, theirs) = fdpass::packet_pair().map_err(|error| own(format!("make a socket pair: {error}")))?;
        let started = process::fork_single_threaded().map_err(|error| own(format!("fork: {error}")))?;
        match started {
            ForkResult::Child => {
                drop(ours);
                let error = become_command(&argv, open_files_soft);
                let code = error.raw_os_error().unwrap_or(0);
                let _ = fdpass::send(theirs.as_fd(), &code.to_le_bytes(), &[], MsgFlags::empty());
                process::exit_now(127)
            }
            ForkResult::Parent { child } => {
                drop(theirs);
                let mut buffer = [0; 4];
                // The end of the stream is the exec.
                match fdpass::receive(ours.as_fd(), &mut buffer, nix::sys::socket::MsgFlags::empty()) {
                    Ok(None) => Ok(MainCommand { pid: child.as_raw() }),
                    Ok(Some(_)) => Err(not_started(&argv, i32::from_le_bytes(buffer))),
                    Err(error) => Err(own(format!("hear from the main command: {error}"))),
                }
            }
        }
    }

    /// Passes a signal on.
    pub fn signal(&self, signal: Signal) {
        // Gone meanwhile is fine: its end is on its way to us.
        let _ = process::kill(self.pid, signal as i32);
    }
}

fn become_command(argv: &[CString], open_files_soft: u64) -> io::Error {
    take_terminal();
    let _ = process::set_soft_rlimit(libc::RLIMIT_NOFILE as u32, open_files_soft);
    process::default_dispositions();
    process::restore_signals();
    let Some(program) = argv.first() else { return io::Error::from_raw_os_error(libc::ENOENT) };
    nix::unistd::execvp(program, argv).err().map_or_else(|| io::Error::other("execvp returned"), io::Error::from)
}

/// A group of its own in the foreground, as tini does, so that Ctrl-C and `docker run -it … bash` work.
fn take_terminal() {
    let own = getpid();
    if setpgid(Pid::from_raw(0), Pid::from_raw(0)).is_ok() && io::stdin().is_terminal() {
        // SIGTTOU is blocked here like every signal, so the call does not stop us.
        let _ = tcsetpgrp(io::stdin(), own);
    }
}

fn not_started(argv: &[CString], errno: i32) -> NotStarted {
    let shown = argv.first().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
    let error = io::Error::from_raw_os_error(errno);
    let exit_code = if matches!(errno, libc::ENOENT | libc::ENOTDIR) { 127 } else { 126 };
    NotStarted { exit_code, message: format!("{shown}: {error}") }
}
