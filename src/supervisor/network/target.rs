//! Memory and descriptors of the program whose call waits for an answer.
//!
//! Everything read here is a copy, taken once. Whether it came from the right process is certain only if the call still waits
//! afterwards (`seccomp::still_waits`): thread ids are reused.

use super::sockets::Made;
use crate::sys::{caps, remote, socket};
use nix::errno::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

/// How descriptors of a program are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// pidfd_getfd(2) and process_vm_readv(2): we may trace the program
    Trace,
    /// `/proc/TID/mem`, and sockets that we made for it: where a profile refuses the calls above
    Made,
}

/// The identity of the program, where it is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// of the program
    pub(super) uid: u32,
    /// of the program
    pub(super) gid: u32,
    /// ours
    pub(super) own_uid: u32,
    /// ours
    pub(super) own_gid: u32,
}

/// One thread of the program, blocked in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) tid: i32,
    pub(super) reach: Reach,
    pub(super) identity: Option<Identity>,
}

/// A socket of the program, in our hands.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) socket: OwnedFd,
    /// its number among the sockets that we made
    pub(super) inode: Option<u64>,
}

/// What a descriptor is.
#[derive(Debug)]
pub(super) enum Found {
    /// ours to act on
    Held(Held),
    /// a socket that is out of reach, with the name of its protocol and its inode
    Strange(Vec<u8>, u64),
}

impl Target {
    /// Copies exactly `length` bytes.
    ///
    /// # Errors
    /// `EFAULT` as the kernel would say; `EPERM` for a program that made itself unreadable.
    pub(super) fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; length];
        if length == 0 {
            return Ok(bytes);
        }
        let read = match self.reach {
            Reach::Trace => remote::read_memory(self.tid, address, &mut bytes),
            Reach::Made => self.as_it(|| self.memory(false)?.read_at(&mut bytes, address)),
        };
        match read {
            Ok(count) if count == length => Ok(bytes),
            Ok(_) => Err(libc::EFAULT),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Copies parts one after the other, as they stand.
    ///
    /// # Errors
    /// As for [`Target::read`].
    pub(super) fn read_parts(&self, parts: &[(u64, usize)]) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; parts.iter().map(|(_, length)| length).sum()];
        let read = match self.reach {
            Reach::Trace => remote::read_parts(self.tid, parts, &mut bytes),
            Reach::Made => self.as_it(|| {
                let (memory, mut done) = (self.memory(false)?, 0);
                for (address, length) in parts {
                    memory.read_exact_at(&mut bytes[done..done + length], *address)?;
                    done += length;
                }
                Ok(done)
            }),
        };
        match read {
            Ok(count) if count == bytes.len() => Ok(bytes),
            Ok(_) => Err(libc::EFAULT),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), i32> {
        let written = match self.reach {
            Reach::Trace => remote::write_memory(self.tid, address, bytes),
            Reach::Made => self.as_it(|| self.memory(true)?.write_at(bytes, address)),
        };
        match written {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(libc::EFAULT),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn memory(&self, write: bool) -> io::Result<File> {
        File::options().read(true).write(write).open(format!("/proc/{}/mem", self.tid))
    }

    /// The socket behind a descriptor.
    ///
    /// # Errors
    /// `EBADF` and `ENOTSOCK` as the kernel would say; `EPERM` for a program that made itself unreadable.
    pub(super) fn socket(&self, fd: i32, made: &Made) -> Result<Found, i32> {
        match self.reach {
            Reach::Trace => {
                let process = self.process()?;
                let socket = remote::take_fd(process.as_fd(), fd).map_err(|error| errno(&error))?;
                Ok(Found::Held(Held { socket, inode: None }))
            }
            Reach::Made => self.made_socket(fd, made),
        }
    }

    /// Any descriptor, for descriptors that travel in messages.
    pub(super) fn descriptor(&self, fd: i32) -> Result<OwnedFd, i32> {
        match self.reach {
            Reach::Trace => remote::take_fd(self.process()?.as_fd(), fd).map_err(|error| errno(&error)),
            Reach::Made => Err(libc::EPERM),
        }
    }

    fn process(&self) -> Result<OwnedFd, i32> {
        remote::open_thread(self.tid).or_else(|_| remote::open_thread(self.leader()?)).map_err(|error| errno(&error))
    }

    /// Before Linux 6.9 only the leader of a thread group has a pidfd; threads share its descriptors unless they took pains.
    pub(super) fn leader(&self) -> io::Result<i32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.tid))?;
        let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:")).and_then(|id| id.trim().parse().ok());
        leader.ok_or_else(|| Errno::ESRCH.into())
    }

    fn made_socket(&self, fd: i32, made: &Made) -> Result<Found, i32> {
        let path = format!("/proc/{}/fd/{fd}", self.tid);
        let link = self.as_it(|| std::fs::read_link(&path)).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => libc::EBADF,
            _ => libc::EPERM,
        })?;
        let inode = socket_inode(&link).ok_or(libc::ENOTSOCK)?;
        if let Some(socket) = made.duplicate(inode) {
            return Ok(Found::Held(Held { socket, inode: Some(inode) }));
        }
        let path = CString::new(path).map_err(|_| libc::EBADF)?;
        let name = self.as_it(|| socket::protocol_name(&path)).map_err(|error| errno(&error))?;
        Ok(Found::Strange(name, inode))
    }

    /// Nobody but this thread can change its descriptors: it is alone in its process, and the filter lets no other process share
    /// a table of descriptors. `/proc/TID/task` has a link for each thread besides `.` and `..`.
    pub(super) fn is_alone(&self) -> bool {
        self.as_it(|| std::fs::metadata(format!("/proc/{}/task", self.tid))).is_ok_and(|meta| meta.nlink() == 3)
    }

    /// Runs `act` with the program's rights on files, as far as /proc asks for them.
    pub(super) fn as_it<T>(&self, act: impl FnOnce() -> T) -> T {
        let Some(identity) = self.identity.filter(|_| self.reach == Reach::Made) else { return act() };
        remote::assume_file_identity(identity.uid, identity.gid);
        let result = act();
        remote::assume_file_identity(identity.own_uid, identity.own_gid);
        result
    }

    /// Runs `act` with no more rights than the program has: neither our capabilities nor our user.
    ///
    /// # Errors
    /// `EPERM` when our own rights cannot be laid down.
    pub(super) fn with_its_rights<T>(&self, act: impl FnOnce() -> Result<T, i32>) -> Result<T, i32> {
        let own = caps::get().map_err(|_| libc::EPERM)?;
        match self.identity {
            Some(identity) => {
                remote::assume_identity(identity.uid, identity.gid).map_err(|_| libc::EPERM)?;
                // The kernel takes them only from uid 0.
                let bare = caps::get().and_then(|sets| caps::set(caps::Sets { effective: 0, ..sets }));
                let result = if bare.is_ok() { act() } else { Err(libc::EPERM) };
                // The saved user is ours still, so this cannot fail; the capabilities come back with it.
                let back = remote::resume_identity(identity.own_uid, identity.own_gid);
                let _ = caps::set(own);
                back.map_err(|_| libc::EPERM)?;
                result
            }
            None => {
                caps::set(caps::Sets { effective: 0, ..own }).map_err(|_| libc::EPERM)?;
                let result = act();
                caps::set(own).map_err(|_| libc::EPERM)?;
                result
            }
        }
    }

    /// A signal with a handler waits for this thread: it would end a wait in the kernel.
    pub(super) fn has_signal(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/status", self.tid)).is_ok_and(|status| signal_waits(&status))
    }
}

/// `socket:[INODE]`.
pub(super) fn socket_inode(link: &std::path::Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// From `/proc/TID/status` (proc_pid_status(5)): a signal that this thread will take is pending, not blocked, and caught.
///
/// The kernel gives a signal to the process to its leader if the leader does not block it; which other thread it chooses
/// does not show, and one that was not chosen must not be told of an interruption.
pub(super) fn signal_waits(status: &str) -> bool {
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let mask = |key: &str| field(key).and_then(|value| u64::from_str_radix(value, 16).ok()).unwrap_or(0);
    let leads = field("Tgid:").is_some() && field("Tgid:") == field("Pid:");
    let shared = if leads { mask("ShdPnd:") } else { 0 };
    (mask("SigPnd:") | shared) & !mask("SigBlk:") & mask("SigCgt:") != 0
}

pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Memory that is not there is a fault of the program; memory that we may not see is refused.
fn unreadable(error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ESRCH | libc::ENOENT) => libc::EPERM,
        _ => libc::EFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn links_of_sockets_carry_an_inode() {
        assert_eq!(socket_inode(Path::new("socket:[4711]")), Some(4711));
        for other in ["pipe:[4711]", "/dev/null", "socket:[]", "socket:[x]", "socket:[1"] {
            assert_eq!(socket_inode(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn only_a_caught_and_unblocked_signal_ends_a_wait() {
        let of = |pid, pending, shared, blocked, caught| {
            let mask = |key: &str, mask: u64| format!("{key}:\t{mask:016x}\n");
            let masks =
                [mask("SigPnd", pending), mask("ShdPnd", shared), mask("SigBlk", blocked), mask("SigCgt", caught)];
            format!("Name:\tx\nTgid:\t40\nPid:\t{pid}\nPPid:\t1\n") + &masks.concat()
        };
        let status = |pending, shared, blocked, caught| of(40, pending, shared, blocked, caught);
        let alarm = 1 << 13;
        for (text, expected) in [
            (status(0, alarm, 0, alarm), true),
            (status(alarm, 0, 0, alarm), true),
            (status(0, alarm, alarm, alarm), false),
            (status(0, alarm, 0, 0), false),
            (status(0, 0, 0, alarm), false),
            (of(41, 0, alarm, 0, alarm), false), // perhaps another thread's
            (of(41, alarm, 0, 0, alarm), true),
            (String::new(), false),
            ("SigPnd:\tzz\nSigCgt:\tff\n".to_owned(), false),
        ] {
            assert_eq!(signal_waits(&text), expected, "{text}");
        }
    }

    #[test]
    fn own_memory_is_read_and_bad_addresses_fault() {
        let target = Target { tid: std::process::id() as i32, reach: Reach::Trace, identity: None };
        let text = *b"one copy";
        assert_eq!(target.read(text.as_ptr() as u64, text.len()).unwrap(), text);
        assert_eq!(target.read(8, 4), Err(libc::EFAULT));
        let made = Target { reach: Reach::Made, ..target };
        assert_eq!(made.read(text.as_ptr() as u64, text.len()).unwrap(), text);
        assert_eq!(made.read(8, 4), Err(libc::EFAULT));
        assert!(!target.is_alone(), "the test harness has threads");
    }
}
