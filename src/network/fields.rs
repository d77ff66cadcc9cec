//! What a proxy changes in a message: fields of one connection stay on it (RFC 9110, 7.6.1). Pure.

use super::host::Host;
use super::refusal::Refusal;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use std::io::Write;

/// Fields that are about one connection, whether or not `Connection` names them; and `Expect`, which the proxy answers itself.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Takes the fields away that must not be passed on.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Where a plain request goes to.
///
/// # Errors
/// [`Refusal::Malformed`] when it is not in the form that proxies get: `GET http://host/path`.
pub(super) fn target(uri: &Uri) -> Result<(Host, u16), Refusal> {
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(Refusal::Malformed("https goes through CONNECT")),
        Some(_) => return Err(Refusal::Malformed("this proxy speaks http, and everything through CONNECT")),
        None => {
            return Err(Refusal::Malformed("this is a proxy: the request line needs a whole URL, http://host/path"));
        }
    }
    let authority = uri.authority().ok_or(Refusal::Malformed("the URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Refusal::Malformed("the URL has user information before its host"));
    }
    let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
        "" | ":" => 80,
        _ => authority.port_u16().filter(|port| *port != 0).ok_or(Refusal::Malformed("the URL's port is none"))?,
    };
    let host = Host::parse(authority.host()).map_err(|_| Refusal::Malformed("the URL's host is no name or address"))?;
    Ok((host, port))
}

/// How the body of a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Length(u64),
    Chunked,
}

/// The head of the request as it is sent on, with the target as its `Host`. One request goes over each connection.
pub(super) fn request_head<B>(request: &Request<B>, host: &Host, port: u16, body: Sent) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    let path = match request.uri().path_and_query().map_or("/", |path| path.as_str()) {
        "/" if *request.method() == Method::OPTIONS => "*",
        path => path,
    };
    // A URL may have a query without a path, a request line may not (RFC 9112, 3.2.1).
    let root = if path.starts_with('?') { "/" } else { "" };
    // Writing to memory cannot fail.
    let _ = write!(head, "{} {root}{path} HTTP/1.1\r\nhost: {host}", request.method());
    if port != 80 {
        let _ = write!(head, ":{port}");
    }
    head.extend_from_slice(b"\r\n");
    let own = |name: &HeaderName| name == header::HOST || name == header::CONTENT_LENGTH;
    for (name, value) in request.headers().iter().filter(|(name, _)| !own(name)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    let _ = match body {
        Sent::Nothing => Ok(()),
        Sent::Length(length) => write!(head, "content-length: {length}\r\n"),
        Sent::Chunked => write!(head, "transfer-encoding: chunked\r\n"),
    };
    head.extend_from_slice(b"via: 1.1 execd\r\nconnection: close\r\n\r\n");
    head
}

/// Says who passed a message on.
pub(super) fn add_via(headers: &mut HeaderMap) {
    headers.append(header::VIA, HeaderValue::from_static("1.1 execd"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_connection_stay() {
        let mut request = Request::new(());
        for (name, value) in [
            ("connection", "X-Own, close"),
            ("x-own", "1"),
            ("keep-alive", "5"),
            ("proxy-authorization", "secret"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        strip(request.headers_mut());
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept"]);
    }

    #[test]
    fn targets() {
        for (uri, expected) in [
            ("http://A.example/x", Some(("a.example", 80))),
            ("http://a.example:8080/", Some(("a.example", 8080))),
            ("http://a.example:/", Some(("a.example", 80))),
            ("http://[::1]:8080/", Some(("[::1]", 8080))),
            ("http://[::ffff:127.0.0.1]/", Some(("127.0.0.1", 80))),
            ("http://127.0.0.1/", Some(("127.0.0.1", 80))),
            ("http://2130706433/", None),
            ("http://0x7f.1/", None),
            ("http://user@a.example/", None),
            ("http://a.example:0/", None),
            ("http://a.example:99999/", None),
            ("https://a.example/", None),
            ("ftp://a.example/", None),
            ("/x", None),
        ] {
            let Ok(parsed) = uri.parse::<Uri>() else {
                assert_eq!(expected, None, "{uri}");
                continue;
            };
            let found = target(&parsed).ok().map(|(host, port)| (host.to_string(), port));
            assert_eq!(found, expected.map(|(host, port)| (host.to_owned(), port)), "{uri}");
        }
    }

    #[test]
    fn the_host_field_is_the_target_and_lengths_are_ours() {
        let mut request = Request::new(());
        *request.uri_mut() = "http://A.example:8080/p?q".parse().unwrap();
        request.headers_mut().append("host", HeaderValue::from_static("evil.example"));
        request.headers_mut().append("host", HeaderValue::from_static("two.example"));
        request.headers_mut().append("content-length", HeaderValue::from_static("7"));
        request.headers_mut().append("accept", HeaderValue::from_static("*/*"));
        let (host, port) = target(request.uri()).unwrap();
        let head = String::from_utf8(request_head(&request, &host, port, Sent::Chunked)).unwrap();
        assert_eq!(
            head,
            "GET /p?q HTTP/1.1\r\nhost: a.example:8080\r\naccept: */*\r\ntransfer-encoding: chunked\r\nvia: 1.1 execd\r\n\
             connection: close\r\n\r\n"
        );
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = "http://a.example".parse().unwrap();
        assert!(
            request_head(&request, &host, 80, Sent::Nothing).starts_with(b"OPTIONS * HTTP/1.1\r\nhost: a.example\r\n")
        );
        *request.uri_mut() = "http://a.example?q".parse().unwrap();
        assert!(request_head(&request, &host, 80, Sent::Nothing).starts_with(b"OPTIONS /?q HTTP/1.1\r\n"));
    }
}
