//! Who may ask: token, `Host`, `Origin` and content type, as pure decisions. Nothing here reads a body or touches state.
//!
//! The order is fixed: host, origin, token, method, body. A request that may not be answered learns nothing about routes.

use super::problem::{Code, Problem};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};
use std::net::{IpAddr, Ipv6Addr};
use subtle::ConstantTimeEq;

/// OpenSandbox's header for the token.
pub(super) const TOKEN_HEADER: &str = "x-execd-access-token";

/// Longest request body in bytes.
pub(super) const BODY_MAX: u64 = 2 * 1024 * 1024;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// everybody
    Open,
    /// everybody, unless metrics are guarded too
    Metrics,
    /// who has the token
    Guarded,
}

/// What a route takes as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// nothing; a body is ignored if it is small JSON
    Nothing,
    /// JSON
    Json,
    /// any bytes
    Raw,
}

/// What the guard has to know.
#[derive(Clone, Default)]
pub struct Rules {
    /// The token; `None` leaves everything open.
    pub token: Option<String>,
    /// Ask for the token on `/metrics` too.
    pub guard_metrics: bool,
    /// Host names accepted beside addresses and `localhost`, lower case, without port.
    pub hosts: Vec<String>,
    /// Origins that may call from a browser, e.g. `https://console.example`.
    pub origins: Vec<String>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("token", &self.token.as_ref().map(|_| "…")).finish_non_exhaustive()
    }
}

/// Whether the request has the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// no token is needed, or it is the right one
    Entitled,
    /// none was given
    Absent,
    /// a wrong one was given
    Wrong,
}

impl Rules {
    /// Looks for the token in `X-EXECD-ACCESS-TOKEN`, then in `Authorization: Bearer`. The time does not depend on where a wrong token differs.
    pub fn bearer(&self, headers: &HeaderMap) -> Bearer {
        let Some(token) = &self.token else { return Bearer::Entitled };
        let given = headers.get(TOKEN_HEADER).map(|v| v.as_bytes()).or_else(|| bearer_value(headers));
        match given {
            None => Bearer::Absent,
            Some(given) if bool::from(given.ct_eq(token.as_bytes())) => Bearer::Entitled,
            Some(_) => Bearer::Wrong,
        }
    }

    /// Whether a route of this access class may be used.
    ///
    /// # Errors
    /// 401 when the token is missing or wrong.
    pub fn token(&self, access: Access, bearer: Bearer) -> Result<(), Problem> {
        let open = match access {
            Access::Open => true,
            Access::Metrics => !self.guard_metrics,
            Access::Guarded => false,
        };
        match bearer {
            _ if open => Ok(()),
            Bearer::Entitled => Ok(()),
            Bearer::Absent => {
                Err(unauthorized("send the access token as X-EXECD-ACCESS-TOKEN or Authorization: Bearer"))
            }
            Bearer::Wrong => Err(unauthorized("the access token is wrong")),
        }
    }

    /// The `Host` must be an address, `localhost` or a configured name: a rebound DNS name is none of them.
    ///
    /// # Errors
    /// 400 when HTTP/1.1 comes without one or it is not a host, 403 when it is not ours.
    pub fn host(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(host) = host_of(uri, headers) else {
            let optional = version <= Version::HTTP_10;
            return if optional { Ok(()) } else { Err(Problem::new(Code::BadRequest, "the request has no Host")) };
        };
        let name = host_name(host).ok_or_else(|| Problem::new(Code::BadRequest, "the Host header is not a host"))?;
        if self.is_our_name(name) { Ok(()) } else { Err(self.host_refused(name)) }
    }

    /// Whether a `Host` header names this daemon.
    pub fn is_ours(&self, host: &str) -> bool {
        host_name(host).is_some_and(|name| self.is_our_name(name))
    }

    fn is_our_name(&self, name: &str) -> bool {
        let named = |ours: &String| ours.eq_ignore_ascii_case(name);
        is_address(name) || name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(named)
    }

    fn host_refused(&self, name: &str) -> Problem {
        let mut allowed = vec!["an IP address".to_owned(), "localhost".to_owned()];
        allowed.extend(self.hosts.iter().cloned());
        Problem::new(Code::HostNotAllowed, format!("host {name:?} is not allowed; name it with --allow-host"))
            .with("allowed", allowed)
    }

    /// An `Origin` must be the page that this daemon itself served, or a configured one.
    ///
    /// # Errors
    /// 403 for every other origin, `null` included.
    pub fn origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("");
        let own = host_of(uri, headers).is_some_and(|host| origin.strip_prefix("http://") == Some(host));
        if own || self.cors_origin(headers).is_some() {
            return Ok(());
        }
        Err(Problem::new(Code::OriginNotAllowed, "pages of this origin may not call; name it with --allow-origin"))
    }

    /// The configured origin that the request comes from, for CORS headers.
    pub fn cors_origin(&self, headers: &HeaderMap) -> Option<&str> {
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        self.origins.iter().map(String::as_str).find(|o| o.eq_ignore_ascii_case(origin))
    }
}

/// Whether the body is of the type and length that the route takes. Browsers can send forms and plain text anywhere without asking; JSON they cannot.
///
/// # Errors
/// 413 when it says that it is too long, 415 when it is not JSON or compressed.
pub(super) fn body(takes: Takes, headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if takes != Takes::Raw && length.is_some_and(|l| l > BODY_MAX) {
        return Err(too_large());
    }
    if let Some(coding) = headers.get(CONTENT_ENCODING).filter(|v| v.as_bytes() != b"identity") {
        let detail =
            format!("content coding {:?} is not accepted; send the body as it is", coding.to_str().unwrap_or("?"));
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let empty = length == Some(0) || (length.is_none() && !headers.contains_key(TRANSFER_ENCODING));
    match headers.get(CONTENT_TYPE) {
        _ if takes == Takes::Raw => Ok(()),
        Some(given) if !is_json(given.as_bytes()) => Err(not_json()),
        None if !empty => Err(not_json()),
        _ => Ok(()),
    }
}

/// 413 with the bound.
pub(super) fn too_large() -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("a request body may have {BODY_MAX} bytes")).with("allowed", BODY_MAX)
}

fn not_json() -> Problem {
    Problem::new(Code::UnsupportedMediaType, "send the body with Content-Type: application/json")
        .with("allowed", vec!["application/json"])
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

fn bearer_value(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn is_json(value: &[u8]) -> bool {
    let kind = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    kind == b"application/json" || (kind.starts_with(b"application/") && kind.ends_with(b"+json"))
}

/// `:authority` of HTTP/2 and absolute-form targets stands in the URI, `Host` of HTTP/1 in the headers; the URI wins (RFC 9112, 3.2.2).
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority().map(Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok()).filter(|h| !h.is_empty())
}

/// The name or address without port and final dot; `None` when it is not a host at all. Written here because `Authority` copies
/// what it parses, and this is asked of every request.
fn host_name(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
    let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let of_v6 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'%' | b'[' | b']');
    let fits = if name.starts_with('[') { name.bytes().all(of_v6) } else { name.bytes().all(of_name) };
    let name = name.strip_suffix('.').unwrap_or(name);
    (fits && !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

fn is_address(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    match inner {
        Some(v6) => v6.split('%').next().is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
        None => name.parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
#[path = "guard_test.rs"]
mod tests;
