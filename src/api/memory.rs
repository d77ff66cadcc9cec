//! Answers that lie ready for plain requests of probes, as they go over the wire. They are made by the same handlers as every other
//! answer and kept for as long as nothing that they say has changed, which is a millisecond at most: the uptime and the date are in them.
//!
//! Only a 200 for somebody without a token lies ready; every other answer is left to the whole way through guard and router.

use super::Api;
use super::health::Written;
use super::routes::{Asked, AtOnce, Found, Routes};
use crate::telemetry::{Level, clock};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use bytes::Bytes;
use execd_wire::plain;
use http_body::Body as _;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Routes whose answer to a plain request follows from [`Written`] alone.
const PATHS: [&str; 4] = ["/health", "/livez", "/readyz", "/ping"];

/// What lies ready.
pub(super) struct Memory {
    routes: Vec<Ready>,
    known: Mutex<Known>,
}

/// One route.
struct Ready {
    path: &'static str,
    number: usize,
    answer: AtOnce,
    kept: Mutex<Option<(Written, Bytes)>>,
}

/// The newest head that was found plain, ours and the head of a route: a poller sends the same one again, and nothing that it was
/// looked at for ever changes.
#[derive(Default)]
struct Known {
    head: Vec<u8>,
    route: usize,
}

impl Memory {
    /// The routes whose plain requests somebody without a token may make.
    pub(super) fn new(api: &Api, routes: &Routes) -> Self {
        let ready = |path| match routes.find(&Method::GET, path) {
            Found::Endpoint { number, access, answer: super::routes::Answer::Now(answer), .. } => {
                api.rules.token(access, api.rules.bearer(&HeaderMap::new())).ok()?;
                Some(Ready { path, number, answer, kept: Mutex::default() })
            }
            _ => None,
        };
        Self { routes: PATHS.into_iter().filter_map(ready).collect(), known: Mutex::default() }
    }

    /// The whole answer to the request that these bytes begin with, and that request's length; `None` when it has to be found the
    /// long way. The answer is counted.
    pub(super) fn answer(&self, api: &Api, bytes: &[u8], now: Instant) -> Option<(Bytes, usize)> {
        // Each request is a line in such a log, which is not written here.
        if api.telemetry.log.enabled(Level::Debug) {
            return None;
        }
        let (ready, length) = self.find(api, bytes)?;
        let answer = ready.of(api, now)?;
        api.telemetry.http.answered(Some(ready.number), StatusCode::OK.as_u16(), now.elapsed());
        Some((answer, length))
    }

    fn find(&self, api: &Api, bytes: &[u8]) -> Option<(&Ready, usize)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.head.is_empty() || !bytes.starts_with(&known.head) {
            let (request, length) = plain::parse(bytes)?;
            let route = self.routes.iter().position(|ready| ready.path == request.path)?;
            if !api.rules.is_ours(request.host) {
                return None;
            }
            known.head.clear();
            known.head.extend_from_slice(bytes.get(..length)?);
            known.route = route;
        }
        Some((self.routes.get(known.route)?, known.head.len()))
    }
}

impl Ready {
    /// The answer of this millisecond: the one kept if nothing has changed.
    fn of(&self, api: &Api, now: Instant) -> Option<Bytes> {
        let written = api.written(now);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((then, answer)) if *then == written => Some(answer.clone()),
            _ => {
                *kept = None;
                let asked = Asked { query: None, headers: &HeaderMap::new() };
                // A panic is met again, counted and answered on the long way.
                let response = execd_wire::catch(|| (self.answer)(api, &asked)).ok()?.ok()?;
                let answer = on_the_wire(response)?;
                *kept = Some((written, answer.clone()));
                Some(answer)
            }
        }
    }
}

/// As the HTTP engine sends it: headers in their order, then length and date.
fn on_the_wire(response: Response<Body>) -> Option<Bytes> {
    if response.status() != StatusCode::OK {
        return None;
    }
    let (head, body) = response.into_parts();
    let body = whole(body)?;
    let mut out = Vec::with_capacity(256 + body.len());
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let rest = format!("content-length: {}\r\ndate: {}\r\n\r\n", body.len(), clock::http_date(clock::now_unix_ms()));
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(&body);
    Some(out.into())
}

/// A body that is there in one piece.
fn whole(body: Body) -> Option<Bytes> {
    if body.is_end_stream() {
        return Some(Bytes::new());
    }
    let length = body.size_hint().exact()?;
    match pin!(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok().filter(|data| data.len() as u64 == length),
        _ => None,
    }
}

#[cfg(test)]
#[path = "memory_test.rs"]
mod tests;
