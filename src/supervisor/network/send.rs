//! sendto(2), sendmsg(2) and sendmmsg(2), done for the program.
//!
//! Datagrams are always sent by us. Messages on streams and on sockets that are not the internet are harmless; they are left to the
//! kernel when the caller is alone, so that nobody can exchange the descriptor for one that sends datagrams.

use super::address::{self, Destination, Use};
use super::broker::{Ask, Broker, FORBIDDEN, OVER_LIMIT, Reply};
use super::connect::{from_its_place, is_internet, is_stream};
use super::message::{MMSGHDR, MMSGHDR_LENGTH, Message};
use super::target::{Found, Held, Target, errno};
use super::waiting::{Sending, Waiting};
use crate::supervisor::protocol::Verdict;
use crate::sys::remote;
use crate::sys::seccomp::Answer;
use crate::sys::socket::{self, TCP_CLOSE, TCP_SYN_SENT};
use crate::sys::time;
use std::os::fd::AsFd;
use std::time::Duration;

/// Messages of one sendmmsg(2) that are sent in one go; the program sends the rest with its next call.
const BATCH: u64 = 64;
/// No more messages of one sendmmsg(2) begin after this time, once [`WHOLE`] are sent.
const TURN: Duration = Duration::from_millis(2);
/// Messages that are sent in one go however long they take: few programs look at how many of a small array went out.
const WHOLE: u64 = 16;
/// Bytes of a stream that are copied at once.
const CHUNK: u64 = 64 * 1024;
/// Longest datagram over IPv4 and IPv6 without jumbograms.
const MAX_DATAGRAM: u64 = 65_535;
/// Longest message on other sockets: their usual send buffer (net.core.wmem_default).
const MAX_OTHER: u64 = 212_992;

impl Broker {
    pub(super) fn send_to(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        let held = match self.find(ask)? {
            Ok(held) => held,
            Err(reply) => return Ok(reply),
        };
        let [_, buffer, length, flags, name, name_length] = ask.call.args;
        let name_length = u64::try_from(name_length as i32).map_err(|_| libc::EINVAL)?;
        let message = Message::of_buffer(&ask.target, buffer, length, name, name_length)?;
        self.send_one(ask, held, message, flags as i32, None)
    }

    pub(super) fn send_message(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        let held = match self.find(ask)? {
            Ok(held) => held,
            Err(reply) => return Ok(reply),
        };
        let message = Message::read(&ask.target, ask.argument(1))?;
        self.send_one(ask, held, message, ask.argument(2) as i32, None)
    }

    pub(super) fn send_messages(&mut self, ask: &Ask<'_>) -> Result<Reply, i32> {
        let first = match self.find(ask)? {
            Ok(held) => held,
            Err(reply) => return Ok(reply),
        };
        let [_, vector, count, flags, ..] = ask.call.args;
        let count = u64::from(count as u32).min(BATCH);
        if count == 0 {
            return Ok(Reply::Now(Answer::Value(0)));
        }
        let again = |held: &Held| held.socket.try_clone().map_err(|error| errno(&error));
        let (mut sent, mut held) = (0, first);
        let began = time::monotonic();
        while sent < count && (sent < WHOLE || time::monotonic().saturating_sub(began) < TURN) {
            let next = Held { socket: again(&held)?, inode: held.inode };
            let header = vector.wrapping_add(sent * MMSGHDR);
            let message = Message::read(&ask.target, header);
            let reply = message.and_then(|message| self.send_one(ask, held, message, flags as i32, Some(header)));
            match reply {
                Ok(Reply::Now(Answer::Value(_))) => sent += 1,
                // Only the first may wait; the others come with the next call.
                Ok(reply) if sent == 0 => return Ok(reply),
                Err(errno) if sent == 0 => return Err(errno),
                Ok(_) | Err(_) => break,
            }
            held = next;
        }
        Ok(Reply::Now(Answer::Value(sent as i64)))
    }

    /// The socket to send on, or at once an answer: where the kernel may do it, or nobody.
    fn find(&mut self, ask: &Ask<'_>) -> Result<Result<Held, Reply>, i32> {
        match ask.target.socket(ask.fd(), &self.made)? {
            Found::Strange(name, _) => self.send_strange(ask, &name).map(Err),
            Found::Held(held) => {
                let domain = socket::domain(held.socket.as_fd()).map_err(|error| errno(&error))?;
                self.must_be_known(domain)?;
                let opens = flags_of(ask) & libc::MSG_FASTOPEN != 0;
                let harmless = !is_internet(domain) || (is_stream(held.socket.as_fd())? && !opens);
                if harmless && ask.target.is_alone() {
                    ask.check()?;
                    return Ok(Err(Reply::Now(Answer::Continue)));
                }
                Ok(Ok(held))
            }
        }
    }

    /// One message. `counted`: its header in an array, where the kernel notes how much was sent.
    fn send_one(
        &mut self,
        ask: &Ask<'_>,
        held: Held,
        mut message: Message,
        flags: i32,
        counted: Option<u64>,
    ) -> Result<Reply, i32> {
        ask.check()?;
        if flags & libc::MSG_ZEROCOPY != 0 {
            // There is no notice of completion for a copy; programs send again without it.
            return Err(libc::ENOBUFS);
        }
        let domain = socket::domain(held.socket.as_fd()).map_err(|error| errno(&error))?;
        let internet = is_internet(domain);
        let stream = if internet {
            is_stream(held.socket.as_fd())?
        } else {
            socket::kind(held.socket.as_fd()).is_ok_and(|kind| kind == libc::SOCK_STREAM)
        };
        let mut flags = flags & !MSG_CMSG_COMPAT;
        if internet && !stream {
            self.address_datagram(domain, &mut message)?;
        } else if internet && flags & libc::MSG_FASTOPEN != 0 {
            self.open_stream(domain, &held, &message)?;
        } else if internet {
            message.name = None;
            message.control.clear();
            flags &= !libc::MSG_FASTOPEN;
        } else if message.take_descriptors(&ask.target).is_err() {
            return self.send_strange(ask, b"UNIX");
        }
        let sending = Sending { message, flags, sent: 0, stream, internet, counted };
        self.send_now(ask, held, sending)
    }

    /// Judges where a datagram goes.
    fn address_datagram(&mut self, domain: i32, message: &mut Message) -> Result<(), i32> {
        message.keep_harmless_control()?;
        let Some(name) = &message.name else { return Ok(()) };
        match address::destination(domain, name, Use::Send, false) {
            Destination::To(to) => self.admit(to, true).map(drop),
            Destination::Dissolve => {
                message.name = None;
                Ok(())
            }
            Destination::Refused(errno) => Err(errno),
        }
    }

    /// `MSG_FASTOPEN`: a connect and a send in one (tcp(7)).
    fn open_stream(&mut self, domain: i32, held: &Held, message: &Message) -> Result<(), i32> {
        let socket = held.socket.as_fd();
        match socket::tcp_state(socket).map_err(|error| errno(&error))? {
            TCP_CLOSE => {}
            TCP_SYN_SENT => return Err(libc::EALREADY),
            _ => return Err(libc::EISCONN),
        }
        let name = message.name.as_deref().ok_or(libc::EDESTADDRREQ)?;
        match address::destination(domain, name, Use::Connect, true) {
            Destination::To(to) => self.admit(to, false).map(drop),
            Destination::Dissolve => Err(libc::EOPNOTSUPP),
            Destination::Refused(errno) => Err(errno),
        }
    }

    fn send_now(&mut self, ask: &Ask<'_>, held: Held, mut sending: Sending) -> Result<Reply, i32> {
        let opened = sending.flags & libc::MSG_FASTOPEN != 0;
        let blocking = sending.flags & libc::MSG_DONTWAIT == 0 && !socket::is_nonblocking(held.socket.as_fd());
        match sending.go_on(&ask.target, &held, blocking) {
            Ok(Some(count)) => {
                if opened {
                    self.note_end_of(&held, false);
                }
                Ok(Reply::Now(Answer::Value(count)))
            }
            Ok(None) => Ok(Reply::Later(Waiting::send(ask, held, sending))),
            Err(errno) => {
                if opened
                    && errno == libc::EINPROGRESS
                    && let Ok(cookie) = socket::cookie(held.socket.as_fd())
                {
                    self.note_under_way(cookie);
                }
                Err(errno)
            }
        }
    }

    /// A socket that we did not make. Datagrams from it would be out of our hands. Anything else is harmless, unless another thread puts a
    /// datagram socket under its number before the kernel looks: where there is one, it counts as the contact that it may be, and
    /// none is made until the kernel has looked.
    fn send_strange(&mut self, ask: &Ask<'_>, protocol: &[u8]) -> Result<Reply, i32> {
        ask.check()?;
        let opens = flags_of(ask) & libc::MSG_FASTOPEN != 0;
        let harmless = [&b"UNIX"[..], b"TCP", b"NETLINK"].iter().any(|known| protocol.starts_with(known));
        if !harmless || (opens && protocol.starts_with(b"TCP")) {
            self.ledger.forbid_stranger();
            return Err(FORBIDDEN);
        }
        if !ask.target.is_alone() {
            if self.made.has_datagrams() {
                self.let_go(false);
            }
            if self.made.has_datagrams() && self.ledger.unknown() != Verdict::Allowed {
                return Err(OVER_LIMIT);
            }
            if !self.passing.note(ask.target) {
                return Err(libc::EAGAIN);
            }
        }
        Ok(Reply::Now(Answer::Continue))
    }
}

/// Only for 32-bit callers, which the filter kills (linux/socket.h).
const MSG_CMSG_COMPAT: i32 = i32::MIN;

fn flags_of(ask: &Ask<'_>) -> i32 {
    let index = if i64::from(ask.call.nr) == libc::SYS_sendmsg { 2 } else { 3 };
    ask.argument(index) as i32
}

impl Sending {
    /// Sends what can be sent without waiting. `None`: a blocking call goes on later.
    pub(super) fn go_on(&mut self, target: &Target, held: &Held, blocking: bool) -> Result<Option<i64>, i32> {
        let (length, most) = (self.message.length(), self.most());
        if !self.stream && length > most {
            return Err(libc::EMSGSIZE);
        }
        loop {
            let data = self.message.data(target, self.sent, most).or_else(|errno| self.partly(errno))?;
            match self.send(target, held, &data) {
                Ok(count) => self.sent += count as u64,
                // The connection is under way, and what was to be said goes when it is there.
                Err(libc::EINPROGRESS) if blocking => {
                    self.flags &= !libc::MSG_FASTOPEN;
                    self.message.name = None;
                    return Ok(None);
                }
                Err(libc::EAGAIN) if blocking => return Ok(None),
                Err(_) if self.sent > 0 => return self.result(target),
                Err(errno) => {
                    if errno == libc::EPIPE && self.stream && self.flags & libc::MSG_NOSIGNAL == 0 {
                        remote::signal_thread(target.tid, libc::SIGPIPE);
                    }
                    return Err(errno);
                }
            }
            self.message.control.clear();
            if !self.stream || self.sent >= length || data.is_empty() {
                return self.result(target);
            }
        }
    }

    /// A fault behind what was sent already is not seen.
    fn partly(&self, errno: i32) -> Result<Vec<u8>, i32> {
        if self.sent > 0 { Ok(Vec::new()) } else { Err(errno) }
    }

    fn most(&self) -> u64 {
        match (self.stream, self.internet) {
            (true, _) => CHUNK,
            (false, true) => MAX_DATAGRAM,
            (false, false) => MAX_OTHER,
        }
    }

    fn send(&mut self, target: &Target, held: &Held, data: &[u8]) -> Result<usize, i32> {
        let (socket, flags) = (held.socket.as_fd(), self.flags | libc::MSG_DONTWAIT);
        let Sending { message, .. } = self;
        let Message { name, control, .. } = message;
        let mut act =
            |name: Option<&[u8]>| socket::send(socket, name, data, control, flags).map_err(|error| errno(&error));
        match name {
            _ if self.internet => act(name.as_deref()),
            None => target.with_its_rights(|| act(None)),
            Some(name) => from_its_place(target, name, |name| target.with_its_rights(|| act(Some(name)))),
        }
    }

    /// What the call returns; an array's header gets its count.
    pub(super) fn result(&self, target: &Target) -> Result<Option<i64>, i32> {
        match self.counted {
            Some(header) => {
                target.write(header.wrapping_add(MMSGHDR_LENGTH), &(self.sent as u32).to_ne_bytes())?;
                Ok(Some(1))
            }
            None => Ok(Some(self.sent as i64)),
        }
    }
}
