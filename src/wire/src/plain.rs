//! Which bytes are a plain request: a complete GET that nothing but its path and its host tells from any other.
//!
//! The parser is the HTTP engine's own, so that both see the same request. Everything that is not known to be without meaning makes a
//! request one for the engine: a header that is not in the list below, a query, a body, another version, half a head.

use httparse::{Header, Request, Status};
use std::mem::MaybeUninit;

/// Headers that change nothing about an answer from memory.
const WITHOUT_MEANING: [&str; 4] = ["user-agent", "accept", "accept-encoding", "cache-control"];

/// More headers than a plain request has.
const HEADERS_MAX: usize = 12;

/// A plain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// From `/`, not decoded; there is no query.
    pub path: &'a str,
    /// The one `Host` header, not looked at.
    pub host: &'a str,
}

/// The plain request that these bytes begin with and its length; `None` when they begin with anything else.
pub fn parse(bytes: &[u8]) -> Option<(Plain<'_>, usize)> {
    if !bytes.starts_with(b"GET /") {
        return None;
    }
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = Request::new(&mut []);
    let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(bytes, &mut headers) else { return None };
    let path = request.path.filter(|path| !path.contains('?'))?;
    if request.version != Some(1) {
        return None;
    }
    Some((Plain { path, host: only_host(request.headers)? }, length))
}

/// Whether these bytes begin with that head, as `starts_with` would say. Eight at a time: every request is asked, and the C library below
/// compares one by one.
pub fn begins_with(bytes: &[u8], head: &[u8]) -> bool {
    let Some(begin) = bytes.get(..head.len()) else { return false };
    let ((ours, our_rest), (theirs, their_rest)) = (begin.as_chunks::<8>(), head.as_chunks::<8>());
    our_rest == their_rest && ours.iter().zip(theirs).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
}

/// The value of the one `Host` header, when no other header has a meaning.
fn only_host<'a>(headers: &[Header<'a>]) -> Option<&'a str> {
    let mut host = None;
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            let value = std::str::from_utf8(header.value).ok()?;
            if host.replace(value).is_some() {
                return None;
            }
        } else if is("connection") {
            header.value.eq_ignore_ascii_case(b"keep-alive").then_some(())?;
        } else if !WITHOUT_MEANING.into_iter().any(is) {
            return None;
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_plain(head: &str) -> bool {
        parse(head.as_bytes()).is_some()
    }

    #[test]
    fn what_pollers_and_probes_send_is_plain() {
        for head in [
            "GET /health HTTP/1.1\r\nHost: 127.0.0.1:44772\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n",
            "GET /ping HTTP/1.1\r\nhost: a\r\nACCEPT-encoding: gzip, br\r\nConnection: keep-alive\r\n\r\n",
            "GET /readyz HTTP/1.1\nhost:a\n\n",
        ] {
            assert!(is_plain(head), "{head:?}");
        }
        let (plain, length) = parse(b"GET /a HTTP/1.1\r\nHost:  b \r\n\r\nGET /c").unwrap();
        assert_eq!((plain, length), (Plain { path: "/a", host: "b" }, 30));
    }

    #[test]
    fn everything_else_is_for_the_engine() {
        for head in [
            "",
            "GET /health HTTP/1.1\r\nHost: a\r\n",
            "GET /health HTTP/1.1\r\n\r\n",
            "GET /health HTTP/1.0\r\nHost: a\r\n\r\n",
            "HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/health HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /health?full=true HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert!(!is_plain(head), "{head:?}");
        }
        for header in [
            "Authorization: Bearer t",
            "X-EXECD-ACCESS-TOKEN: t",
            "Origin: http://a",
            "Content-Length: 0",
            "Content-Type: text/plain",
            "Transfer-Encoding: chunked",
            "Content-Encoding: gzip",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "Connection: close",
            "Connection: keep-alive, upgrade",
            "Range: bytes=0-1",
            "X-Unknown: 1",
            " Accept: folded",
        ] {
            let head = format!("GET /health HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n");
            assert!(!is_plain(&head), "{head:?}");
        }
        assert!(parse(b"GET /health HTTP/1.1\r\nHost: \xff\r\n\r\n").is_none());
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "Accept: a\r\n".repeat(HEADERS_MAX));
        assert!(!is_plain(&many));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_plain_request_ends_inside_them(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let head = [b"GET /health HTTP/1.1\r\n", bytes.as_slice()].concat();
            for bytes in [&bytes, &head] {
                if let Some((_, length)) = parse(bytes) {
                    prop_assert!(length <= bytes.len() && parse(&bytes[..length]).is_some());
                    prop_assert!(parse(&bytes[..length - 1]).is_none());
                }
            }
        }

        #[test]
        fn a_beginning_is_one_to_the_last_byte(bytes in prop::collection::vec(0u8..3, 0..20), head in prop::collection::vec(0u8..3, 0..20), cut in 0usize..20) {
            prop_assert_eq!(begins_with(&bytes, &head), bytes.starts_with(&head));
            prop_assert!(begins_with(&bytes, &bytes[..cut.min(bytes.len())]));
        }

        #[test]
        fn a_plain_request_stays_one_whatever_follows(tail in prop::collection::vec(any::<u8>(), 0..64), cut in 0usize..60) {
            let head = b"GET /health HTTP/1.1\r\nHost: localhost:1\r\nAccept: */*\r\n\r\n";
            let all = [head.as_slice(), &tail].concat();
            prop_assert_eq!(parse(&all).unwrap().1, head.len());
            prop_assert!(parse(&head[..cut.min(head.len() - 1)]).is_none());
        }
    }
}
