//! connect(2), done for the program.

use super::address::{self, Destination, MAX_ADDRESS, Use};
use super::broker::{Ask, Broker, FORBIDDEN, Reply};
use super::policy::Judgement;
use super::target::{Found, Held, Target, errno};
use super::waiting::Waiting;
use crate::sys::seccomp::Answer;
use crate::sys::socket::{self, TCP_CLOSE, TCP_ESTABLISHED, TCP_SYN_RECV, TCP_SYN_SENT};
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
            return self.connect_elsewhere(ask, held);
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
        let begun = without_blocking(socket, nonblocking, || socket::connect(socket, &bytes));
        let begun = begun.map_err(|error| errno(&error));
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
        if let Some(inode) = held.inode
            && socket::tcp_state(held.socket.as_fd()).is_ok_and(|state| state != TCP_CLOSE)
        {
            self.made.note_connected(inode, news);
        }
    }

    /// Unix, netlink and whatever else is not the internet.
    fn connect_elsewhere(&mut self, ask: &Ask<'_>, held: Held) -> Result<Reply, i32> {
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

/// Runs a call that must not block us. The open file is the program's as well, so its other threads could see the flag for a moment.
pub(super) fn without_blocking<T>(socket: BorrowedFd<'_>, nonblocking: bool, act: impl FnOnce() -> T) -> T {
    if nonblocking {
        return act();
    }
    socket::set_nonblocking(socket, true);
    let result = act();
    socket::set_nonblocking(socket, false);
    result
}

/// The end of an attempt, if it has come. The kernel is asked once more when it succeeded, so that the socket is as after a blocking
/// connect; it cannot begin another attempt from there.
pub(super) fn finish(socket: BorrowedFd<'_>, bytes: &[u8]) -> Option<Result<(), i32>> {
    match socket::tcp_state(socket) {
        Ok(TCP_SYN_SENT | TCP_SYN_RECV) => None,
        Ok(TCP_CLOSE) | Err(_) => Some(Err(settle_failure(socket))),
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
    let act =
        || without_blocking(socket, nonblocking, || socket::connect(socket, bytes)).map_err(|error| errno(&error));
    in_its_directory(target, bytes, || target.with_its_rights(act))
}

/// Runs `act` in the program's directory, if the address is a path that starts there (unix(7)).
pub(super) fn in_its_directory<T>(
    target: &Target,
    address: &[u8],
    act: impl FnOnce() -> Result<T, i32>,
) -> Result<T, i32> {
    let unix = address.starts_with(&(libc::AF_UNIX as u16).to_ne_bytes());
    if !unix || address.get(2).is_none_or(|first| [0, b'/'].contains(first)) {
        return act();
    }
    let directory = OsString::from(format!("/proc/{}/cwd", target.tid));
    target.as_it(|| nix::unistd::chdir(directory.as_os_str())).map_err(|_| libc::EACCES)?;
    let result = act();
    let _ = nix::unistd::chdir("/");
    result
}
