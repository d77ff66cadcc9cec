//! Accepting connections: a bounded number of them, never a spin, and a place for probes when others hold all places.
//!
//! A full table makes room by closing the connection that has been idle longest; only when every one is at work does the newcomer get
//! a 503. Out of descriptors, a spare one is given up to accept and close, and accepting waits until something is freed.

use super::drain::{DrainWatcher, Phase};
use super::problem::{Code, Problem};
use super::service::{OnSurface, Service, Surface};
use crate::telemetry::{Dropped, Telemetry};
use execd_wire::{Io, State};
use nix::sys::socket::{setsockopt, sockopt};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Sent bytes that the peer has not acknowledged, or has had no room for, end the connection after this long.
const PEER_TIMEOUT_MS: u32 = 120_000;
/// How long accepting waits for a descriptor when nothing of ours is freed.
const PAUSE: Duration = Duration::from_millis(100);

/// What all listeners share: the table of connections and what they serve.
pub struct Server {
    service: Arc<Service>,
    telemetry: Arc<Telemetry>,
    drain: DrainWatcher,
    max_connections: usize,
    table: Mutex<Vec<Arc<State>>>,
    full: Vec<u8>,
    freed: Notify,
}

impl Server {
    /// A server for at most `max_connections` at once, over all listeners.
    pub fn new(
        service: Arc<Service>,
        telemetry: Arc<Telemetry>,
        drain: DrainWatcher,
        max_connections: usize,
    ) -> Arc<Self> {
        let max_connections = max_connections.max(1);
        let full = full();
        Arc::new(Self {
            service,
            telemetry,
            drain,
            max_connections,
            table: Mutex::default(),
            full,
            freed: Notify::new(),
        })
    }

    /// Serves a listener until the drain is over.
    ///
    /// # Errors
    /// When the listener cannot be watched by the runtime.
    pub async fn serve(self: Arc<Self>, listener: std::net::TcpListener, surface: Surface) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut spare = spare();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, surface),
                    Err(error) => self.clone().refused(&listener, &error, &mut spare).await,
                },
                () = self.drain.reached(Phase::Closed) => return Ok(()),
            }
        }
    }

    /// Connections at this moment.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.table().len()
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, surface: Surface) {
        // Without it the connection of a peer that is gone for good lives as long as the kernel sends again: a quarter of an hour.
        let _ = setsockopt(&stream, sockopt::TcpUserTimeout, &PEER_TIMEOUT_MS);
        let io = Io::new(stream);
        if !self.enter(&io.state()) {
            self.telemetry.dropped(Dropped::Connections).inc();
            io.try_write(&self.full);
            return;
        }
        let answers = Arc::new(OnSurface { service: self.service.clone(), surface });
        let server = self.clone();
        execd_wire::serve(
            io,
            answers,
            &self.drain,
            Box::new(move |state, panicked| {
                if panicked {
                    server.telemetry.panics.inc();
                }
                server.leave(state);
            }),
        );
    }

    /// Out of descriptors or memory: give the spare descriptor up to turn one client away, then wait.
    async fn refused(self: Arc<Self>, listener: &TcpListener, error: &io::Error, spare: &mut Option<File>) {
        const ENFILE: i32 = nix::errno::Errno::ENFILE as i32;
        const EMFILE: i32 = nix::errno::Errno::EMFILE as i32;
        if !matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
            self.telemetry.log.warn("cannot accept a connection", &[("error", error.to_string().as_str().into())]);
            tokio::time::sleep(PAUSE).await;
            return;
        }
        self.telemetry.dropped(Dropped::Connections).inc();
        if !self.evict_idle() {
            drop(spare.take());
            if let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
                Io::new(stream).try_write(&self.full);
            }
        }
        tokio::select! {
            () = self.freed.notified() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
        if spare.is_none() {
            *spare = self::spare();
        }
    }

    fn enter(&self, state: &Arc<State>) -> bool {
        let full = self.table().len() >= self.max_connections;
        if full && !self.evict_idle() {
            return false;
        }
        self.table().push(state.clone());
        true
    }

    fn leave(&self, state: &Arc<State>) {
        let mut table = self.table();
        if let Some(at) = table.iter().position(|s| Arc::ptr_eq(s, state)) {
            table.swap_remove(at);
        }
        drop(table);
        self.freed.notify_one();
    }

    /// Closes the connection that has been idle longest; false when all are at work.
    fn evict_idle(&self) -> bool {
        let mut table = self.table();
        let idle = table.iter().enumerate().filter_map(|(n, s)| Some((s.idle_for()?, n))).max();
        let Some((_, at)) = idle else { return false };
        table.swap_remove(at).evict();
        true
    }

    fn table(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor to give up when there is no other.
fn spare() -> Option<File> {
    File::open("/dev/null").or_else(|_| File::open("/")).ok()
}

/// What a client is told when there is no place for it.
fn full() -> Vec<u8> {
    let body = Problem::new(Code::TooManyConnections, "every connection is at work; try again").body("*");
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
#[path = "server_test.rs"]
mod tests;
