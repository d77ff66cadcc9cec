//! Putting a filter on whose listener goes to another process, although no message with a descriptor may leave from behind the filter.

use super::process::{self, Exit};
use super::seccomp::{self, Instruction};
use nix::fcntl::OFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, getpid, getppid, pipe2};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A helper that is not behind the filter and shares all descriptors of the process that made it.
#[derive(Debug)]
pub struct Courier {
    pid: Pid,
    /// the number of the listener goes in here; both ends, because the table is shared
    pipe: (OwnedFd, OwnedFd),
}

impl Courier {
    /// Forks a helper that runs `deliver` with the listener of [`Courier::install`], and ends. It ends with us, too. The calling process must
    /// have one thread.
    pub fn fork(deliver: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<Courier> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
        let maker = getpid();
        match process::fork_sharing_descriptors()? {
            ForkResult::Child => {
                // It holds the writing end as well, so the pipe would never end for a helper that is left alone.
                if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != maker {
                    process::exit_now(1);
                }
                // The descriptors are the other's to close.
                let delivered = help(&ManuallyDrop::new(File::from(from)), deliver);
                process::exit_now(i32::from(delivered.is_err()))
            }
            ForkResult::Parent { child } => Ok(Courier { pid: child, pipe: (from, to) }),
        }
    }

    /// Installs `program` on the calling process and has its listener delivered. When this returns, the helper has ended and our listener is
    /// closed.
    ///
    /// # Errors
    /// The kernel refuses the filter, or it was not delivered.
    pub fn install(self, program: &[Instruction]) -> io::Result<()> {
        let (from, to) = self.pipe;
        // Closes the writing end in any case: without a listener the helper reads the end of the pipe.
        let installed = seccomp::install(program, true).and_then(|listener| tell(to, listener));
        let helped = process::wait_for(self.pid.as_raw());
        drop(from);
        let _until_here = installed?;
        match helped? {
            Exit::Code(0) => Ok(()),
            _ => Err(io::Error::other("the listener could not be handed over")),
        }
    }
}

fn tell(to: OwnedFd, listener: Option<OwnedFd>) -> io::Result<OwnedFd> {
    let listener = listener.ok_or_else(|| io::Error::other("the kernel made no listener"))?;
    File::from(to).write_all(&listener.as_raw_fd().to_ne_bytes())?;
    Ok(listener)
}

/// The helper's part: the number of the listener comes through the pipe.
fn help(mut from: &File, deliver: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut number = [0; 4];
    from.read_exact(&mut number)?;
    // SAFETY: the table of descriptors is shared, and its other user keeps this one open until we have ended.
    deliver(unsafe { BorrowedFd::borrow_raw(i32::from_ne_bytes(number)) })
}
