//! Sockets that we made for a program, because its own are out of our reach (a default container has no pidfd_getfd).
//!
//! A duplicate stays with us as long as we may have to act on the socket, but not longer: it would keep a port taken and a connection
//! open that the program has closed. So streams are let go when they are connected or listen, and what no process of the execution has
//! open any more is found by looking through its descriptors.

use super::target::{Identity, socket_inode};
use crate::supervisor::tree::Snapshot;
use crate::sys::{remote, time};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sockets kept at once; one more is refused with `EMFILE`.
const MAX_KEPT: usize = 512;
/// Connected sockets remembered, for the answer to one more connect.
const MAX_CONNECTED: usize = 1024;
/// Time between two looks for closed ones, while there are any.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that must miss a socket: it may be on its way between two processes.
const MISSES: u8 = 2;

#[derive(Debug)]
struct Kept {
    socket: OwnedFd,
    datagrams: bool,
    /// It has an address, which stays taken while we keep it.
    bound: bool,
    misses: u8,
}

/// The sockets of one execution.
#[derive(Debug, Default)]
pub(super) struct Made {
    kept: HashMap<u64, Kept>,
    /// Let go of when connected; `true` while the program has not learned of it from a call yet.
    connected: VecDeque<(u64, bool)>,
    look_at: Option<Duration>,
    /// Looks take a tenth of the time at most.
    rested_at: Duration,
}

impl Made {
    /// Keeps a duplicate. `false` when there is no room.
    pub(super) fn keep(&mut self, socket: OwnedFd, datagrams: bool, now: Duration) -> bool {
        if self.kept.len() >= MAX_KEPT {
            return false;
        }
        let Some(inode) = inode(&socket) else { return false };
        self.kept.insert(inode, Kept { socket, datagrams, bound: false, misses: 0 });
        self.look_at.get_or_insert(now + LOOK);
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= MAX_KEPT
    }

    pub(super) fn has(&self, inode: u64) -> bool {
        self.kept.contains_key(&inode)
    }

    pub(super) fn duplicate(&self, inode: u64) -> Option<OwnedFd> {
        self.kept.get(&inode).and_then(|kept| kept.socket.as_fd().try_clone_to_owned().ok())
    }

    /// It is connected: nothing is left to be judged, and the program alone decides when it closes. `news`: its call did not say so.
    pub(super) fn note_connected(&mut self, inode: u64, news: bool) {
        self.release(inode);
        if self.connected.len() >= MAX_CONNECTED {
            self.connected.pop_front();
        }
        self.connected.push_back((inode, news));
    }

    /// One more connect on a socket that was connected: the first one after a non-blocking attempt learns that it succeeded
    /// (connect(2), `EINPROGRESS`). `None` for a socket that never was.
    pub(super) fn connect_again(&mut self, inode: u64) -> Option<Result<(), i32>> {
        let (_, news) = self.connected.iter_mut().find(|(known, _)| *known == inode)?;
        Some(if std::mem::take(news) { Ok(()) } else { Err(libc::EISCONN) })
    }

    pub(super) fn note_bound(&mut self, inode: u64) {
        if let Some(kept) = self.kept.get_mut(&inode) {
            kept.bound = true;
        }
    }

    pub(super) fn release(&mut self, inode: u64) {
        self.kept.remove(&inode);
        if self.kept.is_empty() {
            self.look_at = None;
        }
    }

    pub(super) fn has_bound(&self) -> bool {
        self.kept.values().any(|kept| kept.bound)
    }

    /// Some process may hold a socket that could send datagrams anywhere.
    pub(super) fn has_datagrams(&self) -> bool {
        self.kept.values().any(|kept| kept.datagrams)
    }

    /// When to look for closed ones.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.look_at
    }

    /// Lets go of sockets that no process of the execution has open. `at_once`: on the first miss, because an address
    /// or room is wanted now; one that could send datagrams unseen only if it has an address.
    pub(super) fn let_go(&mut self, supervisor: i32, identity: Option<Identity>, at_once: bool, now: Duration) {
        if self.kept.is_empty() || now < self.rested_at {
            return;
        }
        let open = open_sockets(supervisor, identity).filter(|open| !open.in_flight).map(|open| open.inodes);
        if let Some(open) = open {
            self.kept.retain(|inode, kept| {
                kept.misses = if open.contains(inode) { 0 } else { kept.misses + 1 };
                kept.misses < if at_once && (kept.bound || !kept.datagrams) { 1 } else { MISSES }
            });
        }
        let cost = time::monotonic().saturating_sub(now);
        self.rested_at = now + cost * 10;
        self.look_at = (!self.kept.is_empty()).then_some(now + LOOK.max(cost * 10));
    }
}

fn inode(socket: &OwnedFd) -> Option<u64> {
    let file = File::from(socket.try_clone().ok()?);
    file.metadata().ok().map(|meta| meta.ino())
}

/// What processes of the execution have open.
#[derive(Default)]
struct Open {
    inodes: HashSet<u64>,
    /// Descriptors wait in a Unix socket to be received; any socket may be among them.
    in_flight: bool,
}

/// Sockets that processes of the execution have open; `None` when the tree cannot be read.
fn open_sockets(supervisor: i32, identity: Option<Identity>) -> Option<Open> {
    let snapshot = Snapshot::take(supervisor).ok()?;
    if let Some(identity) = identity {
        remote::assume_file_identity(identity.uid, identity.gid);
    }
    let mut open = Open::default();
    for process in snapshot.tree() {
        let own = PathBuf::from(format!("/proc/{}", process.pid));
        // A leader that has ended shows nothing, while its threads go on.
        if note_open(&own, &mut open) == 0 {
            let threads = std::fs::read_dir(own.join("task")).into_iter().flatten().flatten();
            threads.take_while(|thread| note_open(&thread.path(), &mut open) == 0).for_each(drop);
        }
    }
    if let Some(identity) = identity {
        remote::assume_file_identity(identity.own_uid, identity.own_gid);
    }
    Some(open)
}

/// Notes what one process or thread has open; returns how many descriptors it shows.
fn note_open(proc: &Path, open: &mut Open) -> usize {
    let Ok(entries) = std::fs::read_dir(proc.join("fd")) else { return 0 };
    let mut count = 0;
    for entry in entries.flatten() {
        count += 1;
        let Some(inode) = std::fs::read_link(entry.path()).ok().and_then(|link| socket_inode(&link)) else { continue };
        open.inodes.insert(inode);
        let info = std::fs::read_to_string(proc.join("fdinfo").join(entry.file_name()));
        open.in_flight |= info.is_ok_and(|info| carries_descriptors(&info));
    }
    count
}

/// `scm_fds` of a Unix socket's fdinfo (Linux 5.8): descriptors in its queue.
fn carries_descriptors(info: &str) -> bool {
    let count = info.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    count.is_some_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;

    fn made() -> OwnedFd {
        socket::create(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0).unwrap()
    }

    #[test]
    fn a_socket_is_kept_until_it_is_connected() {
        let mut sockets = Made::default();
        let (one, now) = (made(), Duration::from_secs(5));
        let number = inode(&one).unwrap();
        assert!(sockets.keep(one, true, now));
        assert!(sockets.duplicate(number).is_some() && sockets.has_datagrams() && !sockets.has_bound());
        assert_eq!(sockets.next_at(), Some(now + LOOK));
        sockets.note_bound(number);
        assert!(sockets.has_bound());
        sockets.note_connected(number, true);
        assert!(sockets.duplicate(number).is_none());
        let again = [(); 3].map(|()| sockets.connect_again(number));
        assert_eq!(again, [Some(Ok(())), Some(Err(libc::EISCONN)), Some(Err(libc::EISCONN))]);
        assert_eq!(sockets.connect_again(number + 1), None);
        assert_eq!(sockets.next_at(), None);
    }

    #[test]
    fn descriptors_on_their_way_are_seen() {
        assert!(carries_descriptors("pos:\t0\nflags:\t02\nscm_fds: 2\n"));
        assert!(!carries_descriptors("pos:\t0\nscm_fds: 0\n"));
        assert!(!carries_descriptors("pos:\t0\n"));
    }

    /// This test process has no children, so every socket counts as closed by the execution.
    #[test]
    fn closed_ones_are_let_go_after_two_looks_or_at_once_where_it_matters() {
        let supervisor = std::process::id() as i32;
        let (mut sockets, mut now) = (Made::default(), time::monotonic());
        let stream = || socket::create(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).unwrap();
        let (one, two, three) = (stream(), made(), made());
        let numbers = [&one, &two, &three].map(|socket| inode(socket).unwrap());
        assert!(sockets.keep(one, false, now) && sockets.keep(two, true, now) && sockets.keep(three, true, now));
        sockets.note_bound(numbers[2]);
        sockets.let_go(supervisor, None, true, now);
        assert_eq!(numbers.map(|number| sockets.has(number)), [false, true, false]);
        now += Duration::from_secs(60);
        sockets.let_go(supervisor, None, false, now);
        assert!(!sockets.has_datagrams());
    }
}
