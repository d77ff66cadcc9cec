//! Messages with descriptors over `AF_UNIX` `SOCK_SEQPACKET` sockets (unix(7), `SCM_RIGHTS`).

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors in one message.
pub const MAX_FDS: usize = 8;

/// A connected pair of close-on-exec packet sockets.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message with up to [`MAX_FDS`] descriptors. Never raises SIGPIPE. With `MSG_DONTWAIT` a full socket is `WouldBlock`.
///
/// Without descriptors it is send(2): a stub's own filter lets that pass, and not sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
    let (socket, flags) = (socket.as_raw_fd(), flags | MsgFlags::MSG_NOSIGNAL);
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let act = || match raw.as_slice() {
        [] => nix::sys::socket::send(socket, bytes, flags),
        raw => sendmsg::<()>(socket, &[IoSlice::new(bytes)], &[ControlMessage::ScmRights(raw)], flags, None),
    };
    loop {
        match act() {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message into `buffer`; descriptors arrive close-on-exec. `Ok(None)` is the end of the stream.
///
/// A message longer than the buffer is an error (`EMSGSIZE`), never silently cut.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut control = cmsg_space!([RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(message) => break message,
            // The other side closed with something of ours unread. The kernel reports that once, ahead of the messages that it had
            // still sent; they come next.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut fds = Vec::new();
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = item {
            // SAFETY: the kernel has just installed these descriptors for us and nothing else knows their numbers.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    if message.bytes == 0 && fds.is_empty() {
        return Ok(None);
    }
    Ok(Some((message.bytes, fds)))
}
