//! A small blocking client for one daemon. It knows the token and the time limits, not the meaning of any answer.

use super::http::{self, Body, Head};
use crate::config::values::Token;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Largest answer that is held in memory.
const MAX_ANSWER: u64 = 16 << 20;
/// Longest wait for a connection; the daemon is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A stream that is silent this long is dead: the daemon sends a comment every 15 s at the latest.
const STREAM_SILENCE: Duration = Duration::from_secs(40);
const NO_ANSWER: &str = "no answer in time";

/// Why a request got no useful answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The URL is not one that we can use.
    #[error("{url:?} {message}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        message: &'static str,
    },
    /// Nobody answers there.
    #[error("no execd at {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// The kernel's or the reader's answer.
        source: io::Error,
    },
    /// No daemon was found at all.
    #[error("no running execd found (tried {tried}); name it with --url http://HOST:PORT")]
    NotFound {
        /// Every place that was tried.
        tried: String,
    },
    /// The daemon refused.
    #[error("execd answered {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The problem's own words.
        detail: String,
    },
    /// The answer is not what it should be.
    #[error("execd at {address} answered something else than JSON: {source}")]
    NotJson {
        /// Where.
        address: String,
        /// The parser's complaint.
        source: serde_json::Error,
    },
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

/// Where a daemon is and how to talk to it.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    host: String,
    prefix: String,
    token: Option<Token>,
    timeout: Duration,
}

/// The body of a stream, and its head.
#[derive(Debug)]
pub struct Stream {
    /// Status and headers.
    pub head: Head,
    /// Lines of it.
    pub body: BufReader<Body<BufReader<TcpStream>>>,
}

impl Client {
    /// A client for an address.
    pub fn at(address: SocketAddr, token: Option<Token>, timeout: Duration) -> Self {
        Self { address, host: address.to_string(), prefix: String::new(), token, timeout }
    }

    /// A client for `http://HOST[:PORT][/PREFIX]`; the host may be a name.
    ///
    /// # Errors
    /// [`ClientError::Url`] when it is not of that form or the name is unknown.
    pub fn for_url(url: &str, token: Option<Token>, timeout: Duration) -> Result<Self, ClientError> {
        let bad = |message| ClientError::Url { url: url.to_owned(), message };
        if url.starts_with("https://") {
            return Err(bad("needs TLS, which execd does not speak; use http:// or a local proxy"));
        }
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if host.is_empty() || url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || path.contains(['?', '#']) {
            return Err(bad("is not a URL like http://127.0.0.1:44772"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let target = if has_port { host.to_owned() } else { format!("{host}:80") };
        let address = target.to_socket_addrs().ok().and_then(|mut found| found.next());
        let address = address.ok_or_else(|| bad("names no known host and port"))?;
        let prefix = path.trim_end_matches('/').to_owned();
        Ok(Self { address, host: host.to_owned(), prefix, token, timeout })
    }

    /// The base URL, for messages.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.host, self.prefix)
    }

    /// Sends a request and reads the whole answer, whatever its status, within the client's time limit.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when there is no answer in time.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + self.timeout;
        let exchange = || -> io::Result<Answer> {
            let stream = self.connect(deadline)?;
            let mut reader = BufReader::new(Timed { stream, deadline });
            self.send(&mut reader.get_mut().stream, method, path, body, None)?;
            let head = http::read_head(&mut reader)?;
            let body = http::read_all(&mut Body::new(reader, &head)?, MAX_ANSWER)?;
            Ok(Answer { head, body })
        };
        exchange().map_err(|source| self.unreachable(source))
    }

    /// As [`Client::request`], and the answer must be a success with JSON.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the problem's own words for any other status.
    pub fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let answer = self.request(method, path, body)?;
        if !(200..300).contains(&answer.head.status) {
            return Err(refusal(answer.head.status, &answer.body));
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|source| ClientError::NotJson { address: self.url(), source })
    }

    /// Opens a stream. It ends with the server, or when nothing comes for longer than the server's keep-alive.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it is not a success.
    pub fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<Stream, ClientError> {
        let open = || -> io::Result<Stream> {
            let mut stream = self.connect(Instant::now() + self.timeout)?;
            stream.set_read_timeout(Some(STREAM_SILENCE))?;
            self.send(&mut stream, "GET", path, None, last_event_id)?;
            let mut reader = BufReader::new(stream);
            let head = http::read_head(&mut reader)?;
            let body = BufReader::new(Body::new(reader, &head)?);
            Ok(Stream { head, body })
        };
        let mut stream = open().map_err(|source| self.unreachable(source))?;
        if (200..300).contains(&stream.head.status) {
            return Ok(stream);
        }
        let body = http::read_all(&mut stream.body, MAX_ANSWER).unwrap_or_default();
        Err(refusal(stream.head.status, &body))
    }

    fn connect(&self, deadline: Instant) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT.min(left(deadline)?))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(self.timeout.max(Duration::from_millis(1))))?;
        Ok(stream)
    }

    fn send(
        &self,
        stream: &mut TcpStream,
        method: &str,
        path: &str,
        body: Option<&Value>,
        last_event_id: Option<&str>,
    ) -> io::Result<()> {
        let mut text =
            format!("{method} {}{path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.prefix, self.host);
        text.push_str("user-agent: execd-cli\r\naccept: application/json, text/event-stream, */*\r\n");
        if let Some(token) = &self.token {
            let _ = write!(text, "x-execd-access-token: {}\r\n", token.expose());
        }
        if let Some(id) = last_event_id.filter(|id| !id.bytes().any(|byte| byte < b' ')) {
            let _ = write!(text, "last-event-id: {id}\r\n");
        }
        if let Some(body) = body {
            let body = body.to_string();
            let _ = write!(text, "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        } else {
            text.push_str("\r\n");
        }
        stream.write_all(text.as_bytes())
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { address: self.url(), source }
    }
}

/// Reads under one deadline for the whole answer, so that a server that drips bytes cannot hold us.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, NO_ANSWER),
            _ => error,
        })
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, NO_ANSWER)) } else { Ok(left) }
}

/// The words of an RFC 9457 problem, or of OpenSandbox's error, or the beginning of whatever it is.
fn refusal(status: u16, body: &[u8]) -> ClientError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().and_then(|problem| {
        ["detail", "message", "title", "error"].iter().find_map(|key| problem.get(key).and_then(Value::as_str))
    });
    let fallback = || String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned();
    let mut detail = super::fields::printable(&said.map_or_else(fallback, str::to_owned));
    if status == 401 {
        detail.push_str(" (give the token with --token-file or EXECD_ACCESS_TOKEN)");
    }
    ClientError::Refused { status, detail }
}

/// Percent-encodes one path segment or query value (RFC 3986 unreserved characters stay).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
