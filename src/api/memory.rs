//! Answers that lie ready for plain requests of probes, as they go over the wire. They are made by the same handlers as every other
//! answer and kept for as long as nothing that they say has changed, which is a second at most: the date is in them. Only the uptime is
//! written anew in its place.
//!
//! Only a 200 for somebody without a token lies ready; every other answer is left to the whole way through guard and router.

use super::Api;
use super::health::Facts;
use super::routes::{Answer::Now, Asked, AtOnce, Found, Routes};
use crate::telemetry::{LogLevel, clock};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use bytes::Bytes;
use execd_wire::plain;
use http_body::Body as _;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Routes whose answer to a plain request follows from the time and [`Facts`] alone.
const PATHS: [&str; 4] = ["/health", "/livez", "/readyz", "/ping"];

/// What lies ready.
pub(super) struct Memory {
    routes: Vec<Route>,
    kept: Mutex<Kept>,
}

/// One route.
struct Route {
    path: &'static str,
    number: usize,
    answer: AtOnce,
}

#[derive(Default)]
struct Kept {
    /// The newest head that was found plain and ours: a poller sends the same one again, and nothing that it was looked at for ever
    /// changes.
    head: Vec<u8>,
    /// The place of its route.
    route: usize,
    /// Each route's answer.
    answers: [Option<Answer>; PATHS.len()],
}

/// An answer, with what it was written from.
struct Answer {
    facts: Facts,
    unix_second: u64,
    uptime_ms: u64,
    bytes: Vec<u8>,
    /// Where the uptime stands in it; nowhere in most.
    digits: Range<usize>,
}

impl Memory {
    /// The routes whose plain requests somebody without a token may make.
    pub(super) fn new(api: &Api, routes: &Routes) -> Self {
        let open = |path| match routes.find(&Method::GET, path) {
            Found::Endpoint { number, access, answer: Now(answer), .. } => {
                api.rules.token(access, api.rules.bearer(&HeaderMap::new())).ok()?;
                Some(Route { path, number, answer })
            }
            _ => None,
        };
        Self { routes: PATHS.into_iter().filter_map(open).collect(), kept: Mutex::default() }
    }

    /// Hands out and counts the whole answer to the request that these bytes begin with, and that request's length; `None` when it has
    /// to be found the long way.
    pub(super) fn answer(
        &self,
        api: &Api,
        bytes: &[u8],
        now: Instant,
        give: &mut dyn FnMut(&[u8], usize),
    ) -> Option<()> {
        // Each request is a line in such a log, which is not written here.
        if api.telemetry.log.enabled(LogLevel::Debug) {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.head.is_empty() || !plain::begins_with(bytes, &kept.head) {
            self.look_at(api, bytes, &mut kept)?;
        }
        let Kept { head, route, answers } = &mut *kept;
        let (route, slot) = (self.routes.get(*route)?, answers.get_mut(*route)?);
        let answer = route.answer(api, now, slot)?;
        api.telemetry.http.answered(Some(route.number), StatusCode::OK.as_u16(), now.elapsed());
        give(answer, head.len());
        Some(())
    }

    /// Finds head and route of bytes that do not begin as the last ones did.
    fn look_at(&self, api: &Api, bytes: &[u8], kept: &mut Kept) -> Option<()> {
        let (request, length) = plain::parse(bytes)?;
        let route = self.routes.iter().position(|route| route.path == request.path)?;
        if !api.rules.is_ours(request.host) {
            return None;
        }
        kept.head.clear();
        kept.head.extend_from_slice(bytes.get(..length)?);
        kept.route = route;
        Some(())
    }
}

impl Route {
    /// The answer of this millisecond: the one kept, if nothing but the uptime has changed.
    fn answer<'a>(&self, api: &Api, now: Instant, kept: &'a mut Option<Answer>) -> Option<&'a [u8]> {
        let (uptime_ms, facts) = (api.telemetry.uptime_ms_at(now), api.facts());
        if !kept.as_mut().is_some_and(|kept| kept.facts == facts && kept.is_of(uptime_ms)) {
            *kept = None;
            let asked = Asked { query: None, headers: &HeaderMap::new() };
            // A panic is met again, counted and answered on the long way.
            let response = execd_wire::catch(|| (self.answer)(api, &asked)).ok()?.ok()?;
            let unix_ms = clock::now_unix_ms();
            let bytes = on_the_wire(response, unix_ms)?;
            let digits = digits(&bytes);
            *kept = Some(Answer { facts, unix_second: unix_ms / 1000, uptime_ms, bytes, digits });
        }
        kept.as_ref().map(|kept| &kept.bytes[..])
    }
}

impl Answer {
    /// Makes it the answer of this moment; false when its date or its length would change.
    fn is_of(&mut self, uptime_ms: u64) -> bool {
        if self.uptime_ms == uptime_ms {
            return true;
        }
        self.uptime_ms = uptime_ms;
        let digits = self.bytes.get_mut(self.digits.clone()).unwrap_or_default();
        clock::now_unix_ms() / 1000 == self.unix_second && (digits.is_empty() || overwrite(digits, uptime_ms))
    }
}

/// Where the uptime stands.
fn digits(bytes: &[u8]) -> Range<usize> {
    const NAME: &[u8] = b"\"uptime_ms\":";
    let Some(at) = bytes.windows(NAME.len()).position(|part| part == NAME) else { return 0..0 };
    let from = at + NAME.len();
    from..from + bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count()
}

/// Writes a number where another one stands; false when it has not as many digits.
fn overwrite(digits: &mut [u8], mut number: u64) -> bool {
    for digit in digits.iter_mut().rev() {
        // A remainder by ten fits.
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    number == 0 && digits.first() != Some(&b'0')
}

/// As the HTTP engine sends it: headers in their order, then length and date.
fn on_the_wire(response: Response<Body>, unix_ms: u64) -> Option<Vec<u8>> {
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
    let rest = format!("content-length: {}\r\ndate: {}\r\n\r\n", body.len(), clock::http_date(unix_ms));
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(&body);
    Some(out)
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
