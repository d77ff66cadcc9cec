//! Readers of the network gate: what a program's memory holds.

use super::address::{self, Destination, Use};
use super::message;
use super::target::{self, Reach, Target};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// As [`address::destination`]: `None` dissolves an association, an error is the kernel's.
pub fn destination(domain: i32, bytes: &[u8], connect: bool, stream: bool) -> Result<Option<SocketAddr>, i32> {
    let used = if connect { Use::Connect } else { Use::Send };
    match address::destination(domain, bytes, used, stream) {
        Destination::To(address) => Ok(Some(address)),
        Destination::Dissolve => Ok(None),
        Destination::Refused(error) => Err(error),
    }
}

/// As [`address::known`].
pub fn known(bytes: &[u8]) -> Option<SocketAddr> {
    address::known(bytes)
}

/// As [`address::any_port`].
pub fn any_port(ip: IpAddr, scope: u32) -> Vec<u8> {
    address::any_port(ip, scope)
}

/// As [`target::socket_inode`].
pub fn socket_inode(link: &Path) -> Option<u64> {
    target::socket_inode(link)
}

/// As [`target::signal_waits`].
pub fn signal_waits(status: &str) -> bool {
    target::signal_waits(status)
}

/// A message read from the memory of this process.
pub struct Message(message::Message);

fn me() -> Target {
    Target { tid: std::process::id() as i32, reach: Reach::Trace, identity: None }
}

impl Message {
    /// As [`message::Message::read`].
    pub fn read(header: u64) -> Result<Message, i32> {
        message::Message::read(&me(), header).map(Message)
    }

    /// One of nothing but ancillary data.
    pub fn of_control(control: &[u8]) -> Message {
        let mut message = message::Message::default();
        message.control = control.to_vec();
        Message(message)
    }

    /// Its address.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.name.as_deref()
    }

    /// Its ancillary data.
    pub fn control(&self) -> &[u8] {
        &self.0.control
    }

    /// As [`message::Message::length`].
    pub fn length(&self) -> u64 {
        self.0.length()
    }

    /// As [`message::Message::data`].
    pub fn data(&self, offset: u64, most: u64) -> Result<Vec<u8>, i32> {
        self.0.data(&me(), offset, most)
    }

    /// As [`message::Message::keep_harmless_control`].
    pub fn keep_harmless_control(&mut self) -> Result<(), i32> {
        self.0.keep_harmless_control()
    }
}
