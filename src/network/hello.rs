//! Whether a client's first words in a tunnel may be said: the name that it asks for in TLS must be allowed as well.

use super::client_hello::{self, First};
use super::connect_head::ConnectHead;
use super::egress::Egress;
use super::host::Host;
use std::io;

/// `false` when more must come to tell.
///
/// # Errors
/// `PermissionDenied`, which is counted and told.
pub(super) fn may_pass(egress: &Egress, head: &ConnectHead, bytes: &[u8], ended: bool) -> io::Result<bool> {
    let name = match client_hello::inspect(bytes) {
        First::Unknown if !ended => return Ok(false),
        First::Unknown | First::Other | First::Hello(None) => return Ok(true),
        First::Hello(Some(name)) => name,
        First::Broken => String::new(),
    };
    let named = Host::parse(&name).ok();
    if named.as_ref().is_some_and(|named| *named == head.host || egress.admits(named, head.port)) {
        return Ok(true);
    }
    egress.refuse_inside(named.as_ref().unwrap_or(&head.host), head.port);
    Err(io::ErrorKind::PermissionDenied.into())
}
