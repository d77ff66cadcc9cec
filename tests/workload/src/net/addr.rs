//! Socket addresses as the kernel reads them.

use std::net::{IpAddr, SocketAddr};

/// A `sockaddr_in` or `sockaddr_in6` with its length.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Addr {
    bytes: [u8; 28],
    pub(crate) length: u32,
}

impl Addr {
    /// `ADDRESS:PORT` or `[ADDRESS]:PORT`.
    pub(crate) fn parse(text: &str) -> Addr {
        Addr::new(text.parse().unwrap_or_else(|_| crate::fail(&format!("{text} is not an address with a port"))))
    }

    pub(crate) fn new(addr: SocketAddr) -> Addr {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
        match addr.ip() {
            IpAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.octets());
                Addr { bytes, length: 16 }
            }
            IpAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.octets());
                Addr { bytes, length: 28 }
            }
        }
    }

    /// `AF_UNSPEC`: dissolves an association.
    pub(crate) fn unspecified() -> Addr {
        Addr { bytes: [0; 28], length: 16 }
    }

    /// The address that lies `offset` above this one, in its last byte.
    pub(crate) fn plus(mut self, offset: usize) -> Addr {
        let last = if self.family() == libc::AF_INET { 7 } else { 23 };
        self.bytes[last] = self.bytes[last].wrapping_add(offset as u8);
        self
    }

    /// The same bytes under another family.
    pub(crate) fn with_family(mut self, family: i32) -> Addr {
        self.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        self
    }

    pub(crate) fn family(&self) -> i32 {
        u16::from_ne_bytes([self.bytes[0], self.bytes[1]]).into()
    }

    pub(crate) fn pointer(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn pointer_mut(&mut self) -> *mut libc::sockaddr {
        self.bytes.as_mut_ptr().cast()
    }

    /// The bytes, for copies in memory that is shared or low.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }
}
