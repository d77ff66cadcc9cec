//! connect(2), done for the program.

use super::address::{self, Destination, MAX_ADDRESS, Use};
use super::broker::{Ask, Broker, FORBIDDEN, Reply};
use super::policy::Judgement;
use super::target::{Found, Held, Target, errno};
use super::waiting::Waiting;
use crate::sys::patience;
use crate::sys::seccomp::Answer;
use crate::sys::socket::{self, TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

const DONE: Reply = Reply::Now(Answer::Value(0));

impl Broker {
    pub(super) fn connect(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        let held = match ask.target.socket(ask.fd(), &self.made)? {
            Found::Held(held) => held,
            Found::Strange(name, inode) => return self.connect_strange(ask, &name, inode),
        };
        let domain = socket::domain(held.socket.as_fd()).map_err(|error| errno(&error))?;
        if !is_internet(domain) {
            return self.connect_elsewhere(ask, held, domain);
        }
        let bytes = read_address(ask)?;
        let stream = is_stream(held.socket.as_fd())?;
        match address::destination(domain, &bytes, Use::Connect, stream) {
            Destination::Refused(errno) => Err(errno),
            Destination::Dissolve => self.dissolve(&held, &bytes),
            Destination::To(to) if stream => {
                let reply = self.connect_stream(ask, held, bytes, to)?;
                Ok(reply)
            }
            Destination::To(to) => {
                self.admit(to, true)?;
                socket::connect(held.socket.as_fd(), &bytes).map_err(|error| errno(&error))?;
                Ok(DONE)
            }
        }
    }

    fn dissolve(&mut self, held: &Held, bytes: &[u8]) -> Result<Reply, i32> {
        if let Ok(cookie) = socket::cookie(held.socket.as_fd()) {
            self.forget_under_way(cookie);
        }
        socket::connect(held.socket.as_fd(), bytes).map_err(|error| errno(&error))?;
        Ok(DONE)
    }

    /// The state decides whether this is an attempt at all. Only a closed socket can begin one, and a program can close an attempt under
    /// our hands with shutdown(2); so in every other state the kernel is not asked for anything that could begin another.
    fn connect_stream(
        &mut self,
        ask: &Ask<'_>,
        held: Held,
        bytes: Vec<u8>,
        to: std::net::SocketAddr,
    ) -> Result<Reply, i32> {
        let socket = held.socket.as_fd();
        match socket::tcp_state(socket).map_err(|error| errno(&error))? {
            TCP_CLOSE => {
                if socket::cookie(socket).is_ok_and(|cookie| self.forget_under_way(cookie)) {
                    return Err(settle_failure(socket));
                }
                let judgement = self.admit(to, false)?;
                self.attempt(ask, held, bytes, judgement)
            }
            TCP_SYN_SENT | TCP_SYN_RECV if socket::is_nonblocking(socket) => Err(libc::EALREADY),
            TCP_SYN_SENT | TCP_SYN_RECV => Ok(Reply::Later(Waiting::connect(ask, held, bytes, true))),
            TCP_ESTABLISHED => {
                let result = socket::connect(socket, &bytes).map_err(|error| errno(&error));
                self.note_end_of(&held, false);
                result.map(|()| DONE)
            }
            _ => Err(libc::EISCONN),
        }
    }

    fn attempt(&mut self, ask: &Ask<'_>, held: Held, bytes: Vec<u8>, judgement: Judgement) -> Result<Reply, i32> {
        let socket = held.socket.as_fd();
        let nonblocking = socket::is_nonblocking(socket);
        let begun = connect_at_once(socket, &bytes, nonblocking, libc::EINPROGRESS);
        if judgement == Judgement::Proxy && matches!(begun, Ok(()) | Err(libc::EINPROGRESS)) {
            self.greet(socket);
        }
        match begun {
            Ok(()) => {
                self.note_end_of(&held, false);
                Ok(DONE)
            }
            Err(libc::EINPROGRESS) if nonblocking => {
                if let Ok(cookie) = socket::cookie(socket) {
                    self.note_under_way(cookie);
                }
                self.watch_made(ask, held);
                Err(libc::EINPROGRESS)
            }
            Err(libc::EINPROGRESS) => match finish(socket, &bytes) {
                Some(result) => {
                    self.note_end_of(&held, false);
                    result.map(|()| DONE)
                }
                None => Ok(Reply::Later(Waiting::connect(ask, held, bytes, false))),
            },
            Err(other) => Err(other),
        }
    }

    /// Our duplicate of a non-blocking socket goes as soon as it is connected.
    fn watch_made(&mut self, ask: &Ask<'_>, held: Held) {
        if held.inode.is_none() {
            return;
        }
        match socket::tcp_state(held.socket.as_fd()) {
            Ok(TCP_SYN_SENT | TCP_SYN_RECV) => {
                self.wait(Waiting::release(ask, held));
            }
            _ => self.note_end_of(&held, true),
        }
    }

    /// What is connected needs no duplicate; what failed may try again. `news`: the program does not know yet.
    pub(super) fn note_end_of(&mut self, held: &Held, news: bool) {
        let still_ours = [TCP_CLOSE, TCP_SYN_SENT, TCP_SYN_RECV];
        if let Some(inode) = held.inode
            && socket::tcp_state(held.socket.as_fd()).is_ok_and(|state| !still_ours.contains(&state))
        {
            self.made.note_connected(inode, news);
        }
    }

    /// Unix and netlink.
    fn connect_elsewhere(&mut self, ask: &Ask<'_>, held: Held, domain: i32) -> Result<Reply, i32> {
        self.must_be_known(domain)?;
        if ask.target.is_alone() {
            ask.check()?;
            if let Some(inode) = held.inode {
                self.made.release(inode);
            }
            return Ok(Reply::Now(Answer::Continue));
        }
        let bytes = read_address(ask)?;
        match connect_as_program(&ask.target, held.socket.as_fd(), &bytes) {
            Ok(()) => {
                if let Some(inode) = held.inode {
                    self.made.release(inode);
                }
                Ok(DONE)
            }
            // The peer's queue is full; a blocking socket waits for room.
            Err(libc::EAGAIN) if !socket::is_nonblocking(held.socket.as_fd()) => {
                Ok(Reply::Later(Waiting::connect_elsewhere(ask, held, bytes)))
            }
            Err(errno) => Err(errno),
        }
    }

    /// The filter lets nobody make a socket of another family, but one may come from outside, or a TCP socket turn into one (`TCP_ULP`).
    pub(super) fn must_be_known(&mut self, domain: i32) -> Result<(), i32> {
        if is_internet(domain) || [libc::AF_UNIX, libc::AF_NETLINK].contains(&domain) {
            return Ok(());
        }
        self.ledger.forbid_stranger();
        Err(FORBIDDEN)
    }

    /// A socket that we did not make, where we must have made it to act on it.
    fn connect_strange(&mut self, ask: &Ask<'_>, protocol: &[u8], inode: u64) -> Result<Reply, i32> {
        ask.check()?;
        let unix = protocol.starts_with(b"UNIX");
        if unix && ask.target.is_alone() {
            return Ok(Reply::Now(Answer::Continue));
        }
        if let Some(result) = self.made.connect_again(inode) {
            return result.map(|()| DONE);
        }
        if unix {
            return Err(libc::EISCONN);
        }
        self.ledger.forbid_stranger();
        Err(FORBIDDEN)
    }
}

pub(super) fn is_internet(domain: i32) -> bool {
    domain == libc::AF_INET || domain == libc::AF_INET6
}

/// TCP or UDP. Others get no socket from the filter, but one may come from outside.
pub(super) fn is_stream(socket: BorrowedFd<'_>) -> Result<bool, i32> {
    match socket::protocol(socket) {
        Ok(libc::IPPROTO_TCP) => Ok(true),
        Ok(libc::IPPROTO_UDP) => Ok(false),
        _ => Err(FORBIDDEN),
    }
}

fn read_address(ask: &Ask<'_>) -> Result<Vec<u8>, i32> {
    let length = usize::try_from(ask.argument(2) as i32).ok().filter(|length| *length <= MAX_ADDRESS);
    let bytes = ask.target.read(ask.argument(1), length.ok_or(libc::EINVAL)?)?;
    ask.check()?;
    Ok(bytes)
}

/// Connects without waiting. The open file is the program's as well: another thread could see the flag for a moment, or clear it to
/// make us wait; then the kernel sends us back soon, with the attempt begun. `under_way`: what that is called.
fn connect_at_once(socket: BorrowedFd<'_>, bytes: &[u8], nonblocking: bool, under_way: i32) -> Result<(), i32> {
    if !nonblocking {
        socket::set_nonblocking(socket, true);
    }
    let result = patience::bounded(|| socket::connect(socket, bytes));
    if !nonblocking {
        socket::set_nonblocking(socket, false);
    }
    match result.map_err(|error| errno(&error)) {
        Err(libc::EINTR) => Err(under_way),
        result => result,
    }
}

/// The end of an attempt, if it has come. The kernel is asked once more when it succeeded, so that the socket is as after a blocking
/// connect; it cannot begin another attempt from there.
pub(super) fn finish(socket: BorrowedFd<'_>, bytes: &[u8]) -> Option<Result<(), i32>> {
    match socket::tcp_state(socket) {
        Ok(TCP_SYN_SENT | TCP_SYN_RECV) => None,
        Ok(TCP_CLOSE) | Err(_) => Some(Err(settle_failure(socket))),
        // It was made a listener meanwhile, and could be closed and connected anew under our hands.
        Ok(TCP_LISTEN) => Some(Err(libc::EISCONN)),
        Ok(_) => Some(match socket::connect(socket, bytes).map_err(|error| errno(&error)) {
            Ok(()) | Err(libc::EISCONN) => Ok(()),
            Err(other) => Err(other),
        }),
    }
}

/// Leaves a socket as the kernel leaves it after a failed connect: unconnected and without an error. Returns the error.
fn settle_failure(socket: BorrowedFd<'_>) -> i32 {
    let error = socket::take_error(socket);
    let _ = socket::connect(socket, &[0; 16]);
    if error == 0 { libc::ECONNABORTED } else { error }
}

/// Connects as the program would: with its rights, from its directory, without waiting.
pub(super) fn connect_as_program(target: &Target, socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), i32> {
    let nonblocking = socket::is_nonblocking(socket);
    from_its_place(target, bytes, |bytes| {
        target.with_its_rights(|| connect_at_once(socket, bytes, nonblocking, libc::EAGAIN))
    })
}

/// Runs `act` with the address as it would be understood from where the program is: in its directory, if it is a path that starts there,
/// and with its own /proc/self (unix(7)).
pub(super) fn from_its_place<T>(
    target: &Target,
    address: &[u8],
    act: impl FnOnce(&[u8]) -> Result<T, i32>,
) -> Result<T, i32> {
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    let Some(path) = address.strip_prefix(&family).filter(|path| path.first().is_some_and(|first| *first != 0)) else {
        return act(address);
    };
    if let Some(path) = in_its_proc(target, path)? {
        return act(&[&family[..], &path].concat());
    }
    if path.starts_with(b"/") {
        return act(address);
    }
    let directory = OsString::from(format!("/proc/{}/cwd", target.tid));
    target.as_it(|| nix::unistd::chdir(directory.as_os_str())).map_err(|_| libc::EACCES)?;
    let result = act(address);
    let _ = nix::unistd::chdir("/");
    result
}

/// A path below /proc/self or /proc/thread-self, with the program's number instead of ours.
fn in_its_proc(target: &Target, path: &[u8]) -> Result<Option<Vec<u8>>, i32> {
    let own = if let Some(rest) = path.strip_prefix(b"/proc/self/") {
        [format!("/proc/{}/", target.leader().map_err(|error| errno(&error))?).as_bytes(), rest].concat()
    } else if let Some(rest) = path.strip_prefix(b"/proc/thread-self/") {
        [format!("/proc/{}/", target.tid).as_bytes(), rest].concat()
    } else {
        return Ok(None);
    };
    // `sun_path` has 108 bytes; the NUL at its end may go.
    let length = own.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if length > 108 { Err(libc::ENAMETOOLONG) } else { Ok(Some(own[..length].to_vec())) }
}
