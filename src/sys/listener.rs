//! Putting a filter on whose listener goes to another process, although no message with a descriptor may leave from behind the filter.

use super::process::{self, Exit};
use super::seccomp::{self, Instruction};
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, pipe2};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Installs `program` on the calling process, which must have one thread. `deliver` runs with the listener in a helper, which is not behind
/// the filter and shares all descriptors; when this returns, the helper has ended and our listener is closed.
///
/// # Errors
/// No process or pipe can be had, the kernel refuses the filter, or `deliver` failed.
pub fn install(program: &[Instruction], deliver: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
    match process::fork_sharing_descriptors()? {
        ForkResult::Child => {
            // The descriptors are the other's to close.
            let delivered = help(&ManuallyDrop::new(File::from(from)), deliver);
            process::exit_now(i32::from(delivered.is_err()))
        }
        ForkResult::Parent { child } => {
            // Also when nothing is installed the writing end is closed by this, so the helper never waits for ever.
            let installed = seccomp::install(program, true).and_then(|listener| tell(to, listener));
            let helped = process::wait_for(child.as_raw());
            drop(from);
            let _until_here = installed?;
            match helped? {
                Exit::Code(0) => Ok(()),
                _ => Err(io::Error::other("the listener could not be handed over")),
            }
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
