//! Signals as events. All are blocked from the first instruction of main on, so none is lost and no handler ever runs.

use crate::sys::{poll, process};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// What we listen to. Synchronous faults and job control of our own stay with the kernel.
const WATCHED: [Signal; 11] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGCHLD,
];

/// Blocks every signal and opens the descriptor that delivers them. Call first in main.
pub fn block() -> io::Result<OwnedFd> {
    // A parent that ignored SIGCHLD would have the kernel reap our children behind our back.
    process::default_disposition(Signal::SIGCHLD as i32);
    process::block_all_and_watch(&WATCHED)
}

/// Unblocks everything again: for subcommands that are ordinary programs.
pub fn unblock() {
    process::restore_signals();
}

/// Signals as they come.
#[derive(Debug)]
pub struct Signals {
    fd: AsyncFd<OwnedFd>,
}

impl Signals {
    /// Takes the descriptor of [`block`] into the runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Signals> {
        Ok(Signals { fd: poll::watch(fd)? })
    }

    /// The next signals. Several of one kind may have become one: SIGCHLD means "look", not "one child".
    pub async fn next(&self) -> io::Result<Vec<Signal>> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Ok(signals) = ready.try_io(|fd| read(fd.get_ref())) {
                return signals;
            }
        }
    }
}

/// Size of `struct signalfd_siginfo` (signalfd(2)); its first field is the number.
const RECORD: usize = 128;

fn read(fd: &OwnedFd) -> io::Result<Vec<Signal>> {
    let mut buffer = [0; RECORD * 16];
    let length = nix::unistd::read(fd.as_fd(), &mut buffer)?;
    let number = |record: &[u8]| record.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes));
    Ok(buffer[..length].chunks(RECORD).filter_map(number).filter_map(|n| Signal::try_from(n).ok()).collect())
}
