//! Requests to the egress proxy: CONNECT heads, and plain requests up to the head that goes out, which must say one thing only.
#![no_main]

use execd::fuzzing::network;
use execd::network::host::Host;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    connect(bytes);
    connect(&[b"CONNECT ", bytes, b" HTTP/1.1\r\n\r\n"].concat());
    let _ = plain(bytes);
    let _ = plain(&[b"GET http://", bytes, b"\r\n\r\n"].concat());
});

fn known(host: &Host, port: u16) {
    assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(host));
    assert_ne!(port, 0);
}

fn connect(bytes: &[u8]) {
    let Ok(Some(head)) = execd_fuzz::within(64 << 10, || network::connect(bytes)) else { return };
    known(&head.host, head.port);
    assert_eq!(network::connect(&bytes[..head.length]), Ok(Some(head.clone())));
    assert_eq!(network::connect(&bytes[..head.length - 1]), Ok(None));
}

/// As the HTTP engine reads it, and as the proxy sends it on.
fn plain(bytes: &[u8]) -> Option<()> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut fields);
    head.parse(bytes).ok().filter(httparse::Status::is_complete)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(head.path?).ok()?;
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    let (host, port) = network::target(request.uri()).ok()?;
    known(&host, port);
    network::strip(request.headers_mut());
    for length in [Some(7), None] {
        sent(&network::request_head(&request, &host, port, length), &request, &host, port, length);
    }
    Some(())
}

/// The reader at the other end sees one request, with one target and one framing.
fn sent(bytes: &[u8], request: &Request<()>, host: &Host, port: u16, length: Option<u64>) {
    let mut fields = [httparse::EMPTY_HEADER; 110];
    let mut head = httparse::Request::new(&mut fields);
    assert_eq!(head.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(head.method, Some(request.method().as_str()));
    let path = head.path.expect("a path");
    assert!(path.starts_with('/') || path == "*", "{path:?}");
    let all = |name: &str| -> Vec<String> {
        let named = head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| String::from_utf8_lossy(field.value).into_owned()).collect()
    };
    let authority = if port == 80 { host.to_string() } else { format!("{host}:{port}") };
    assert_eq!(all("host"), [authority]);
    assert_eq!(all("connection"), ["close"]);
    assert_eq!(all("content-length"), Vec::from_iter(length.map(|length| length.to_string())));
    assert_eq!(all("transfer-encoding").len(), usize::from(length.is_none()));
    for name in ["keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "upgrade", "expect"] {
        assert!(all(name).is_empty(), "{name}");
    }
}
