//! The execution's own way to the egress proxy: a listener of ours, at which only sockets arrive that we connected ourselves.

use super::address;
use crate::sys::socket;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Connections that are expected at once.
const MAX_EXPECTED: usize = 64;
/// Connections taken in one go.
const BATCH: usize = 32;

/// A loopback listener that was made for one execution.
#[derive(Debug)]
pub(super) struct Door {
    listener: OwnedFd,
    port: u16,
    expected: VecDeque<SocketAddr>,
}

impl Door {
    /// `None` when the descriptor is no listening socket.
    pub(super) fn new(listener: OwnedFd) -> Option<Door> {
        let port = address::known(&socket::own_address(listener.as_fd()).ok()?)?.port();
        socket::set_nonblocking(listener.as_fd(), true);
        Some(Door { listener, port, expected: VecDeque::new() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A socket of the execution was connected to us by us: nobody else can have its address now.
    pub(super) fn expect(&mut self, socket: BorrowedFd<'_>) {
        let Some(from) = socket::own_address(socket).ok().and_then(|bytes| address::known(&bytes)) else { return };
        if self.expected.len() >= MAX_EXPECTED {
            self.expected.pop_front();
        }
        self.expected.push_back(from);
    }

    /// Connections that arrived; whoever came by another way is closed.
    pub(super) fn take(&mut self) -> Vec<OwnedFd> {
        let mut taken = Vec::new();
        for _ in 0..BATCH {
            let Ok((connection, peer)) = socket::accept(self.listener.as_fd()) else { break };
            let peer = address::known(&peer);
            if let Some(index) = self.expected.iter().position(|from| Some(*from) == peer) {
                self.expected.remove(index);
                taken.push(connection);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_who_is_expected_gets_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let mut door = Door::new(listener.into()).unwrap();
        assert_eq!(door.port(), to.port());
        let mut stranger = TcpStream::connect(to).unwrap();
        let guest = TcpStream::connect(to).unwrap();
        door.expect(guest.as_fd());
        assert_eq!(door.take().len(), 1);
        assert_eq!(stranger.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
        assert!(door.take().is_empty());
    }
}
