//! A connection's life: what can be answered early, then HTTP/1.1 or h2c by the engine.

use crate::connection::{HEAD_TIMEOUT, Io, State, Watchdog};
use crate::drain::{self, DrainWatcher, Phase};
use crate::early::{Early, Next};
use crate::panic::CatchPanic;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A request's head, and what a connection buffers of answers, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// The same for HTTP/2, where a head is a list.
const H2_HEAD_MAX: u32 = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const H2_STREAMS: u32 = 128;

/// An answer, or one that is still to come.
pub enum Answer {
    /// It is here.
    Now(Response<Body>),
    /// It will be.
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

/// Who answers the requests of a connection.
pub trait Answers: Send + Sync {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>, connection: &Arc<State>) -> Answer;

    /// Hands out the whole answer to the plain request that `_bytes` begin with and that came at `_now`, and that request's length.
    /// The answer is as it goes over the wire and exactly what [`Answers::answer`] would lead to. What gets none is the HTTP engine's.
    fn recall(&self, _bytes: &[u8], _now: Instant, _give: &mut dyn FnMut(&[u8], usize)) {}
}

/// Hears that a connection has ended, and whether it panicked.
pub type Ended = Box<dyn FnOnce(&Arc<State>, bool) + Send>;

/// Serves a connection in a task of its own; `ended` hears whether it panicked.
pub fn serve(io: Io, answers: Arc<dyn Answers>, drain: &DrainWatcher, ended: Ended) {
    let drain = drain.connection();
    tokio::spawn(async move {
        let state = io.state();
        let panicked = CatchPanic::new(run(io, &state, answers, drain)).await.is_err();
        ended(&state, panicked);
    });
}

async fn run(mut io: Io, state: &Arc<State>, answers: Arc<dyn Answers>, drain: drain::Connection) {
    let timer = std::pin::pin!(tokio::time::sleep(HEAD_TIMEOUT));
    let mut watchdog = Watchdog { state, drain, timer };
    let serving = watchdog.drain.phase() == Phase::Serving;
    let next = {
        let early = std::pin::pin!(Early::new(&mut io, &*answers, !serving));
        watchdog.drive(early, Early::finish).await
    };
    let service = Asked { answers, state: state.clone() };
    let io = TokioIo::new(io);
    match next {
        None | Some(Next::Close) => {}
        Some(Next::Http1) => {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(HEAD_MAX).keep_alive(watchdog.drain.phase() == Phase::Serving);
            let mut protocol = Box::pin(builder.serve_connection(io, service));
            watchdog.drive(protocol.as_mut(), http1::Connection::graceful_shutdown).await;
        }
        Some(Next::Http2) => {
            state.speaks_h2();
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(H2_STREAMS).max_header_list_size(H2_HEAD_MAX).max_send_buf_size(HEAD_MAX);
            let mut protocol = Box::pin(builder.serve_connection(io, service));
            watchdog.drive(protocol.as_mut(), http2::Connection::graceful_shutdown).await;
        }
    }
}

struct Asked {
    answers: Arc<dyn Answers>,
    state: Arc<State>,
}

impl Service<Request<Incoming>> for Asked {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Respond;

    fn call(&self, request: Request<Incoming>) -> Respond {
        match self.answers.answer(request, &self.state) {
            Answer::Now(response) => Respond::Now(Some(Box::new(response))),
            Answer::Later(future) => Respond::Later(future),
        }
    }
}

enum Respond {
    Now(Option<Box<Response<Body>>>),
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl Future for Respond {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            // A future is not polled again after its end.
            Respond::Now(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response))),
            Respond::Later(future) => future.as_mut().poll(cx).map(Ok),
        }
    }
}
