//! The zygote: forked by the daemon before it has threads, small, non-dumpable, and the only one that forks supervisors.
//!
//! It is also the net below them: what a dead supervisor leaves is reparented to the zygote and killed here.

use super::context::Context;
use super::protocol::{self, Errand, Fork};
use super::tree::Snapshot;
use super::{kill, run};
use crate::sys::{fdpass, process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::unistd::{ForkResult, Pid, getpid, setsid};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The daemon's hold on its zygote.
#[derive(Debug)]
pub struct Zygote {
    /// Requests go in here; end of stream means that the zygote is dead.
    pub socket: OwnedFd,
    /// Its pid.
    pub pid: i32,
}

impl Zygote {
    /// Forks the zygote. The daemon must have one thread only and must already be non-dumpable if it wants its memory kept secret.
    pub fn spawn(context: Context) -> io::Result<Zygote> {
        let (ours, theirs) = fdpass::packet_pair()?;
        match process::fork_single_threaded()? {
            ForkResult::Parent { child } => Ok(Zygote { socket: ours, pid: child.as_raw() }),
            ForkResult::Child => {
                drop(ours);
                let code = match Inner::start(theirs, context) {
                    Ok(inner) => inner.serve(),
                    Err(_) => 125,
                };
                process::exit_now(code)
            }
        }
    }

    /// Asks for one more supervisor that serves `socket`. Returns when the request is queued; a dead zygote is `EPIPE`, one that has
    /// too many requests waiting, or is stopped, is `WouldBlock`.
    pub fn request(&self, fork: Fork, socket: BorrowedFd<'_>) -> io::Result<()> {
        protocol::offer(self.socket.as_fd(), &Errand::Fork(fork), &[socket])
    }

    /// Says which work directory is in reserve, and to be removed should the daemon die. Not told, it stays.
    pub fn note_spare(&self, path: &Path) -> io::Result<()> {
        protocol::offer(self.socket.as_fd(), &Errand::Spare(path.to_owned()), &[])
    }

    /// Has a supervisor killed that does not answer. Its end, and that of its tree, shows on its socket.
    pub fn kill(&self, slot: u32) -> io::Result<()> {
        protocol::offer(self.socket.as_fd(), &Errand::Kill { slot }, &[])
    }
}

struct Inner {
    socket: OwnedFd,
    signals: OwnedFd,
    context: Context,
    /// pid to slot
    supervisors: HashMap<i32, u32>,
    /// A supervisor died and left somebody behind.
    strays: bool,
    /// The daemon's work directory in reserve.
    spare: Option<PathBuf>,
}

/// Executions and what serves them die before the daemon when the machine or container runs out of memory.
const OOM_SCORE_ABOVE_DAEMON: i32 = 300;
/// Between two looks at orphans that are still dying.
const STRAY_LOOK: u16 = 2;

impl Inner {
    fn start(socket: OwnedFd, context: Context) -> io::Result<Inner> {
        process::set_name(c"execd-zygote");
        setsid()?;
        let _ = detach_streams();
        process::close_from(3, &[socket.as_raw_fd()]);
        raise_oom_score();
        // After the last write to a file of our own in /proc: these belong to root from now on.
        prctl::set_dumpable(false)?;
        // Not there in gVisor; the probe knows, and the daemon looks for leftovers itself.
        let _ = prctl::set_child_subreaper(true);
        let signals = process::block_all_and_watch(&[Signal::SIGCHLD])?;
        Ok(Inner { socket, signals, context, supervisors: HashMap::new(), strays: false, spare: None })
    }

    fn serve(mut self) -> i32 {
        let mut open = true;
        loop {
            let strays = self.reap_and_kill_strays();
            if !open && self.supervisors.is_empty() && !strays {
                // One that was taken and is in use has something in it, or its user is dead.
                let _ = self.spare.map(std::fs::remove_dir);
                return 0;
            }
            let timeout = if strays { PollTimeout::from(STRAY_LOOK) } else { PollTimeout::NONE };
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if open {
                fds.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
            }
            if poll(&mut fds, timeout).is_err() {
                continue;
            }
            let requested = fds.get(1).and_then(PollFd::any).unwrap_or(false);
            if fds[0].any().unwrap_or(false) {
                drain_signals(self.signals.as_fd());
            }
            if requested {
                open = self.run_errand();
            }
        }
    }

    /// Serves one request. `false` when the daemon is gone.
    fn run_errand(&mut self) -> bool {
        let Ok(message) = protocol::receive::<Errand>(self.socket.as_fd(), MsgFlags::empty()) else { return true };
        match message {
            Some((Errand::Fork(fork), fds)) => {
                if let Some(socket) = fds.into_iter().next() {
                    self.fork_one(&fork, socket);
                }
                true
            }
            Some((Errand::Spare(path), _)) => {
                self.spare = Some(path);
                true
            }
            Some((Errand::Kill { slot }, _)) => {
                let pids = self.supervisors.iter().filter(|(_, of)| **of == slot).map(|(pid, _)| *pid);
                for pid in pids {
                    // Ours and not waited for yet, so the number is still its own.
                    let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                true
            }
            None => false,
        }
    }

    fn fork_one(&mut self, fork: &Fork, socket: OwnedFd) {
        match process::fork_single_threaded() {
            Ok(ForkResult::Parent { child }) => {
                self.supervisors.insert(child.as_raw(), fork.slot);
            }
            Ok(ForkResult::Child) => {
                // Nothing of the zygote's may stay open: its socket is how the daemon's death is noticed.
                process::close_from(3, &[socket.as_raw_fd()]);
                let code = run::supervise(socket, &self.context, fork);
                // Not std::process::exit: descriptors that were closed above still have owners on this stack.
                process::exit_now(code)
            }
            // The socket closes here, so the daemon sees the end of the stream and reports the failed start.
            Err(_) => {}
        }
    }

    /// Waits for ended children, then kills orphans of dead supervisors. True while some are left.
    ///
    /// A supervisor that exits by itself has no children left, so only another end is a reason to look.
    fn reap_and_kill_strays(&mut self) -> bool {
        while let Ok(Some((pid, exit))) = process::reap() {
            if self.supervisors.remove(&pid).is_some() {
                self.strays |= exit != process::Exit::Code(0);
            }
        }
        if self.strays {
            let own = getpid().as_raw();
            let is_stray = |pid: i32| !self.supervisors.contains_key(&pid);
            self.strays = Snapshot::take(own).is_ok_and(|s| s.tree().any(|p| p.parent == own && is_stray(p.pid)));
            kill::kill_tree(own, is_stray);
        }
        self.strays
    }
}

fn drain_signals(fd: BorrowedFd<'_>) {
    let mut buffer = [0; 1024];
    while nix::unistd::read(fd, &mut buffer).is_ok_and(|length| length > 0) {}
}

/// The zygote and its supervisors keep none of the daemon's streams: whoever reads those must see their end with the daemon.
fn detach_streams() -> io::Result<()> {
    let null = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/null")?);
    (0..3).try_for_each(|target| process::dup_onto(&null, target))
}

/// proc_pid_oom_score_adj(5): raising needs no privilege.
fn raise_oom_score() {
    let path = "/proc/self/oom_score_adj";
    let now: i32 = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let raised = now.saturating_add(OOM_SCORE_ABOVE_DAEMON).min(1000);
    let _ =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(raised.to_string().as_bytes()));
}

/// How long the daemon waits for its zygote to be gone at the end.
pub const FAREWELL: Duration = Duration::from_millis(500);
