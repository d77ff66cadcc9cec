//! Readers of the egress proxy.

pub use super::client_hello::{First, HELLO_MAX, inspect};
pub use super::connect_head::{ConnectHead, parse as connect};
pub use super::framing::{Framing, Malformed};
pub use super::refusal::Refusal;

use super::fields::{self, Sent};
use super::host::Host;
use super::rule::Rule;
use hyper::{HeaderMap, Request, Response, Uri};
use std::net::IpAddr;

/// As [`super::forward::parse_answer`].
pub fn answer(bytes: &[u8]) -> Option<Option<(usize, Response<()>)>> {
    super::forward::parse_answer(bytes)
}

/// As [`fields::strip`].
pub fn strip(headers: &mut HeaderMap) {
    fields::strip(headers);
}

/// As [`fields::target`].
pub fn target(uri: &Uri) -> Result<(Host, u16), Refusal> {
    fields::target(uri)
}

/// As [`fields::request_head`], for a body of known length or one in chunks.
pub fn request_head(request: &Request<()>, host: &Host, port: u16, length: Option<u64>) -> Vec<u8> {
    fields::request_head(request, host, port, length.map_or(Sent::Chunked, Sent::Length))
}

/// As [`Rule::names`].
pub fn names(rule: &Rule, name: &str, port: u16) -> bool {
    rule.names(name, port)
}

/// As [`Rule::holds`].
pub fn holds(rule: &Rule, address: IpAddr, port: u16) -> bool {
    rule.holds(address, port)
}

/// As [`Rule::covers`].
pub fn covers(rule: &Rule, other: &Rule) -> bool {
    rule.covers(other)
}
