//! Plain requests: each is judged, sent over a connection of its own, and its answer streamed back.

use super::connect_head::{FIELDS_MAX, HEAD_MAX};
use super::egress::Egress;
use super::fields::{self, Sent};
use super::framing::Framing;
use super::proxy::Proxy;
use super::refusal::{PROBLEM, Refusal};
use super::stream::{LARGE_READ, READ_SIZE, read_more, write_all};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use execd_wire::Running;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// Answers one request; a refusal is an answer as well.
pub(super) async fn answer(proxy: Arc<Proxy>, request: Request<Incoming>, running: Running) -> Response<Body> {
    match pass_on(&proxy, request, running).await {
        Ok(response) => response,
        Err(refusal) => {
            let mut response = Response::new(Body::from(refusal.body(&proxy.egress)));
            *response.status_mut() = refusal.status();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
            response
        }
    }
}

async fn pass_on(
    proxy: &Arc<Proxy>,
    mut request: Request<Incoming>,
    running: Running,
) -> Result<Response<Body>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Malformed("CONNECT must be the first request of a connection"));
    }
    let (host, port) = fields::target(request.uri())?;
    let upstream = Arc::new(proxy.open(&host, port).await?);
    fields::strip(request.headers_mut());
    let body = sent(&request);
    let head = fields::request_head(&request, &host, port, body);
    let failed = |error: io::Error| Refusal::Unreachable(format!("{host}:{port}: {error}"));
    proxy.egress.sent(head.len() as u64);
    write_all(&upstream, &head).await.map_err(failed)?;
    let method = request.method().clone();
    if body != Sent::Nothing {
        proxy.run(Box::pin(upload(proxy.clone(), request.into_body(), upstream.clone(), body)));
    }
    let answer = read_answer(&proxy.egress, &upstream, &method).await;
    let (mut response, buffer, framing) = answer.map_err(failed)?;
    fields::strip(response.headers_mut());
    fields::add_via(response.headers_mut());
    if let Framing::Length(length) = framing
        && method != Method::HEAD
        && length > 0
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    let egress = proxy.egress.clone();
    let body = Answer { upstream, buffer, framing, egress, room: READ_SIZE, cut: false, _running: running };
    Ok(response.map(|()| Body::new(body)))
}

fn sent(request: &Request<Incoming>) -> Sent {
    match request.body().size_hint().exact() {
        Some(0) if request.headers().contains_key(CONTENT_LENGTH) => Sent::Length(0),
        Some(0) => Sent::Nothing,
        Some(length) => Sent::Length(length),
        None => Sent::Chunked,
    }
}

/// Sends the body of a request; whether that worked shows in the answer.
async fn upload(proxy: Arc<Proxy>, mut body: Incoming, upstream: Arc<TcpStream>, how: Sent) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // Half a request must not look like a whole one.
            let _ = nix::sys::socket::shutdown(
                std::os::fd::AsRawFd::as_raw_fd(&*upstream),
                nix::sys::socket::Shutdown::Both,
            );
            return;
        };
        let Ok(data) = frame.into_data() else { continue };
        proxy.egress.sent(data.len() as u64);
        let written = match how {
            Sent::Chunked if data.is_empty() => Ok(()),
            Sent::Chunked => {
                let size = format!("{:x}\r\n", data.len());
                write_all(&upstream, &[size.as_bytes(), &data, b"\r\n"].concat()).await
            }
            Sent::Nothing | Sent::Length(_) => write_all(&upstream, &data).await,
        };
        if written.is_err() {
            return;
        }
    }
    if how == Sent::Chunked {
        let _ = write_all(&upstream, b"0\r\n\r\n").await;
    }
}

/// The final head of an answer, and what came of its body with it. Interim answers are for this proxy only.
async fn read_answer(
    egress: &Egress,
    upstream: &TcpStream,
    method: &Method,
) -> io::Result<(Response<()>, BytesMut, Framing)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut buffer = BytesMut::new();
    loop {
        let before = buffer.len();
        if read_more(upstream, &mut buffer, READ_SIZE).await? == 0 {
            return Err(wrong("it ended the connection without an answer"));
        }
        egress.received((buffer.len() - before) as u64);
        while let Some((length, response)) = parse_answer(&buffer).ok_or_else(|| wrong("its answer is not HTTP"))? {
            let _head = buffer.split_to(length);
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(wrong("it switched protocols without being asked"));
            }
            if !response.status().is_informational() {
                let framing = Framing::of(method, response.status(), response.headers())
                    .map_err(|error| wrong(&error.to_string()))?;
                return Ok((response, buffer, framing));
            }
        }
        if buffer.len() > HEAD_MAX {
            return Err(wrong("the head of its answer is longer than 64 KiB"));
        }
    }
}

/// `None`: not HTTP. `Some(None)`: more must come.
pub(super) fn parse_answer(bytes: &[u8]) -> Option<Option<(usize, Response<()>)>> {
    let mut found = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut found);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return Some(None) };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.code?).ok()?;
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        response.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(Some((length, response)))
}

/// The body of an answer as it comes in.
struct Answer {
    upstream: Arc<TcpStream>,
    buffer: BytesMut,
    framing: Framing,
    egress: Arc<Egress>,
    /// Asked for by the next read: more when the last one was filled.
    room: usize,
    /// It ended too early.
    cut: bool,
    /// The client's connection is at work until this is gone.
    _running: Running,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            let piece = this.framing.next(&mut this.buffer).map_err(io::Error::other);
            match piece.transpose() {
                Some(piece) => return Poll::Ready(Some(piece.map(Frame::data))),
                None if this.framing.is_over() => return Poll::Ready(None),
                None => {}
            }
            std::task::ready!(this.upstream.poll_read_ready(cx))?;
            this.buffer.reserve(this.room);
            match this.upstream.try_read_buf(&mut this.buffer) {
                Ok(0) if this.framing == Framing::Close => return Poll::Ready(None),
                Ok(0) if this.cut => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Ok(0) => {
                    // An error drops what is not yet sent: what came goes to the client first.
                    this.cut = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(read) => {
                    this.room = if read >= READ_SIZE { LARGE_READ } else { READ_SIZE };
                    this.egress.received(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunks(_) | Framing::Close => SizeHint::default(),
        }
    }
}
