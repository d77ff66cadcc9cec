//! One connection: its socket, what is known of it, and a watchdog that ends it when it is idle or too slow.
//!
//! The watchdog is one timer per connection that is looked at again when it fires, not one per request: a request costs no timer
//! work, and a daemon without connections has no timers.

use crate::bell::{self, First};
use crate::drain::{self, Phase};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// A request's head must be complete this long after its first byte; a new connection must send one.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this long.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// What is known of a connection; shared by its I/O, its requests and the table that may evict it.
#[derive(Debug)]
pub struct State {
    opened: Instant,
    /// Requests whose answer is not yet complete.
    running: AtomicU32,
    /// Milliseconds after `opened` of the last byte read, plus one.
    last_read: AtomicU64,
    /// The same of the first byte since the last request began; 0 when none came.
    head_since: AtomicU64,
    h2: AtomicBool,
    evict: Notify,
}

/// What the watchdog decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Close,
    LookAgainIn(Duration),
}

/// Marks a request as running until dropped.
#[derive(Debug)]
pub struct Running(Arc<State>);

impl State {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            running: AtomicU32::new(0),
            last_read: AtomicU64::new(1),
            head_since: AtomicU64::new(1),
            h2: AtomicBool::new(false),
            evict: Notify::new(),
        })
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        Running(self.clone())
    }

    /// A request came and is answered in the same breath.
    pub fn answered_at_once(&self) {
        self.head_since.store(0, Relaxed);
    }

    /// Whether nothing runs on it, and since when in milliseconds after `opened`.
    pub fn idle_for(&self) -> Option<Duration> {
        if self.running.load(Relaxed) > 0 {
            return None;
        }
        let last = self.opened + Duration::from_millis(self.last_read.load(Relaxed) - 1);
        Some(last.elapsed())
    }

    /// Asks the connection to close, because another one needs its place.
    pub fn evict(&self) {
        self.evict.notify_one();
    }

    /// Bytes have come that nothing was made of yet.
    pub(crate) fn read_some(&self, now: Instant) {
        let now = self.stamp(now);
        self.last_read.store(now, Relaxed);
        if self.running.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(now, Relaxed);
        }
    }

    /// The connection speaks HTTP/2.
    pub(crate) fn speaks_h2(&self) {
        self.h2.store(true, Relaxed);
    }

    /// Milliseconds after `opened`, plus one.
    fn stamp(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.opened).as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn verdict(&self) -> Verdict {
        let head_since = match self.head_since.load(Relaxed) {
            // An h2 connection also sends frames that begin no request.
            since if since > 0 && !self.h2.load(Relaxed) => Some(since - 1),
            _ => None,
        };
        let running = self.running.load(Relaxed) > 0;
        decide(self.opened.elapsed(), running, head_since, self.last_read.load(Relaxed) - 1)
    }
}

/// The decision, in time since the connection was opened.
fn decide(now: Duration, running: bool, head_since_ms: Option<u64>, last_read_ms: u64) -> Verdict {
    let due = match head_since_ms {
        _ if running => return Verdict::LookAgainIn(IDLE_TIMEOUT),
        Some(since) => Duration::from_millis(since) + HEAD_TIMEOUT,
        None => Duration::from_millis(last_read_ms) + IDLE_TIMEOUT,
    };
    match due.checked_sub(now) {
        // A head may begin right after this look: look again in time for it.
        Some(left) if !left.is_zero() => Verdict::LookAgainIn(left.min(HEAD_TIMEOUT)),
        _ => Verdict::Close,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
        self.0.last_read.fetch_max(self.0.stamp(Instant::now()), Relaxed);
    }
}

/// The socket with its first bytes put back, telling [`State`] what arrives.
pub struct Io {
    pub(crate) stream: TcpStream,
    pub(crate) state: Arc<State>,
    /// Read before the stream; what the engine gets first.
    pub(crate) put_back: Bytes,
}

impl Io {
    /// Takes over an accepted socket.
    pub fn new(stream: TcpStream) -> Self {
        // An answer is one write; waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        Self { stream, state: State::new(), put_back: Bytes::new() }
    }

    /// What is known of the connection.
    pub fn state(&self) -> Arc<State> {
        self.state.clone()
    }

    /// Writes what the socket takes at once; the rest is lost.
    pub fn try_write(&self, bytes: &[u8]) {
        let _ = self.stream.try_write(bytes);
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.put_back.is_empty() {
            let n = self.put_back.len().min(buf.remaining());
            buf.put_slice(&self.put_back.split_to(n));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.read_some(Instant::now());
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Ends what is driven when it is idle too long, evicted, or the daemon closes.
pub(crate) struct Watchdog<'a> {
    pub(crate) state: &'a State,
    pub(crate) drain: drain::Connection,
    pub(crate) timer: Pin<&'a mut Sleep>,
}

impl Watchdog<'_> {
    /// Drives `protocol` to its end; `None` when it was cut before. `finish` tells it to take no further request.
    pub(crate) async fn drive<P: Future>(
        &mut self,
        mut protocol: Pin<&mut P>,
        finish: impl Fn(Pin<&mut P>),
    ) -> Option<P::Output> {
        loop {
            match bell::first(protocol.as_mut(), self.call()).await {
                First::Often(end) => return Some(end),
                First::Seldom(Call::Finish) => finish(protocol.as_mut()),
                First::Seldom(Call::Close) => return None,
            }
        }
    }

    /// Waits for a reason to end the connection.
    async fn call(&mut self) -> Call {
        loop {
            tokio::select! {
                biased;
                () = self.state.evict.notified() => return Call::Close,
                phase = self.drain.changed() => match phase {
                    Phase::Serving => {}
                    Phase::Draining => return Call::Finish,
                    Phase::Closed => return Call::Close,
                },
                () = self.timer.as_mut() => match self.state.verdict() {
                    Verdict::Close => return Call::Close,
                    Verdict::LookAgainIn(wait) => self.timer.as_mut().reset(tokio::time::Instant::now() + wait),
                },
            }
        }
    }
}

/// What the watchdog wants.
enum Call {
    /// the end, now
    Close,
    /// no further request
    Finish,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn slow_heads_and_idle_connections_end_and_running_requests_do_not() {
        for (now, running, head_since, last_read, expected) in [
            // a new connection that says nothing
            (S(9), false, Some(0), 0, Verdict::LookAgainIn(S(1))),
            (S(10), false, Some(0), 0, Verdict::Close),
            // a head that trickles: later bytes do not extend it
            (S(110), false, Some(100_000), 109_000, Verdict::Close),
            // kept alive between requests
            (S(100), false, None, 90_000, Verdict::LookAgainIn(S(10))),
            (S(164), false, None, 90_000, Verdict::LookAgainIn(S(1))),
            (S(165), false, None, 90_000, Verdict::Close),
            // an event stream
            (S(5_000), true, None, 1, Verdict::LookAgainIn(IDLE_TIMEOUT)),
        ] {
            assert_eq!(decide(now, running, head_since, last_read), expected, "{now:?} {running} {head_since:?}");
        }
    }

    #[test]
    fn a_request_makes_the_connection_busy_until_it_is_dropped() {
        let state = State::new();
        assert!(state.idle_for().is_some());
        let running = state.begin();
        assert!(state.idle_for().is_none());
        drop(running);
        assert!(state.idle_for().is_some());
        assert_eq!(state.head_since.load(Relaxed), 0);
    }
}
