//! The head of a `CONNECT` request (RFC 9110, 9.3.6). Pure.

use super::host::{self, Host};
use super::refusal::Refusal;

/// Longest head of any message, in bytes.
pub(super) const HEAD_MAX: usize = 64 * 1024;
/// Fields of a head.
pub(super) const FIELDS_MAX: usize = 100;

/// How a `CONNECT` begins; methods are written in capitals.
pub(super) const METHOD: &[u8] = b"CONNECT ";

/// A `CONNECT` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectHead {
    /// where to
    pub host: Host,
    /// its port
    pub port: u16,
    /// bytes of the head; what follows belongs to the tunnel
    pub length: usize,
}

/// Reads a head; `None` when more of it must come.
///
/// # Errors
/// [`Refusal::Malformed`] for what is no `CONNECT` to a host and a port without a body.
pub fn parse(bytes: &[u8]) -> Result<Option<ConnectHead>, Refusal> {
    const WRONG: Refusal = Refusal::Malformed("not a well-formed CONNECT request");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes).map_err(|_| WRONG)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() < HEAD_MAX => return Ok(None),
        httparse::Status::Partial => return Err(Refusal::Malformed("the head is longer than 64 KiB")),
    };
    if request.method != Some("CONNECT") {
        return Err(WRONG);
    }
    if request.headers.iter().any(has_body) {
        return Err(Refusal::Malformed("CONNECT has no body, so it has no Content-Length and no Transfer-Encoding"));
    }
    let target = request.path.and_then(host::authority);
    let (host, port) =
        target.ok_or(Refusal::Malformed("CONNECT needs a host and a port, for example example.com:443"))?;
    Ok(Some(ConnectHead { host, port, length }))
}

fn has_body(field: &httparse::Header<'_>) -> bool {
    field.name.eq_ignore_ascii_case("transfer-encoding")
        || (field.name.eq_ignore_ascii_case("content-length") && field.value != b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_read_and_the_rest_left() {
        let head = b"CONNECT A.example:443 HTTP/1.1\r\nHost: other\r\n\r\n\x16\x03";
        let parsed = parse(head).unwrap().unwrap();
        assert_eq!((parsed.host.to_string(), parsed.port), ("a.example".to_owned(), 443));
        assert_eq!(&head[parsed.length..], b"\x16\x03");
        for length in 0..parsed.length {
            assert_eq!(parse(&head[..length]), Ok(None));
        }
    }

    #[test]
    fn wrong_ones_are_malformed() {
        for head in [
            "CONNECT a.example HTTP/1.1\r\n\r\n",
            "CONNECT http://a.example:80/ HTTP/1.1\r\n\r\n",
            "CONNECT 0x7f.1:443 HTTP/1.1\r\n\r\n",
            "CONNECT user@a.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\r\nno colon\r\n\r\n",
            "CONNECT a.example:443\r\n\r\n",
            "GET a.example:443 HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(parse(head.as_bytes()), Err(Refusal::Malformed(_))), "{head}");
        }
        let endless = format!("CONNECT a:1 HTTP/1.1\r\nx: {}", "y".repeat(HEAD_MAX));
        assert!(parse(endless.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&[METHOD, &bytes].concat());
        }
    }
}
