//! The egress proxy of one execution: HTTP/1.1 with whole URLs, and `CONNECT`.
//!
//! It listens nowhere. Connections come from the execution's supervisor, which has made sure whose they are.

use super::connect_head::{self, ConnectHead, METHOD};
use super::dial;
use super::egress::{Egress, Verdict};
use super::forward;
use super::host::Host;
use super::refusal::Refusal;
use super::stream::{self, SMALL_READ};
use super::tunnel;
use crate::task::{self, Work};
use bytes::BytesMut;
use execd_wire::drain::{self, DrainTrigger, DrainWatcher, Phase};
use execd_wire::{Answer, Answers, Io, State};
use hyper::Request;
use hyper::body::Incoming;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Connections of one execution at once.
pub const CONNECTIONS_MAX: usize = 64;
/// Lookups of one execution at once.
const LOOKUPS_MAX: usize = 4;
/// A connection must show its first request within this time.
const FIRST_TIMEOUT: Duration = Duration::from_secs(30);
/// Looking a name up and connecting to one of its addresses.
const DIAL_TIMEOUT: Duration = Duration::from_secs(45);
/// Between two looks at a first request that has come in part.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The proxy of one execution. [`Proxy::close`] ends everything that it does.
pub struct Proxy {
    pub(super) egress: Arc<Egress>,
    places: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    trigger: Mutex<Option<DrainTrigger>>,
    end: DrainWatcher,
}

impl Proxy {
    /// A proxy with this account.
    pub fn new(egress: Arc<Egress>) -> Arc<Proxy> {
        let (trigger, end) = drain::pair();
        Arc::new(Proxy {
            egress,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            trigger: Mutex::new(Some(trigger)),
            end,
        })
    }

    /// Serves a connection of the execution. One too many is closed.
    ///
    /// # Errors
    /// When the socket cannot be watched, or there are [`CONNECTIONS_MAX`] already.
    pub fn serve(self: &Arc<Self>, socket: OwnedFd) -> io::Result<()> {
        let place = self.places.clone().try_acquire_owned().map_err(io::Error::other)?;
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true)?;
        let client = TcpStream::from_std(socket)?;
        stream::tune(&client);
        self.run(Box::pin(self.clone().attend(client, place)));
        Ok(())
    }

    /// Ends every connection.
    pub fn close(&self) {
        let trigger = self.trigger.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(trigger) = trigger {
            task::run(async move {
                trigger.finish(Duration::ZERO).await;
            });
        }
    }

    /// The account.
    pub fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    /// Judges a request, and connects to where it goes.
    pub(super) async fn open(&self, host: &Host, port: u16) -> Result<TcpStream, Refusal> {
        let to = format!("{host}:{port}");
        match self.egress.judge(host, port) {
            Verdict::Allowed => {}
            Verdict::Limit => return Err(Refusal::Limit { to }),
            Verdict::Domain => return Err(Refusal::Domain { to, why: "" }),
        }
        let dialled = timeout(DIAL_TIMEOUT, dial::dial(&self.egress, &self.lookups, host, port)).await;
        dialled.unwrap_or_else(|_| Err(Refusal::TooSlow(format!("{to} did not answer"))))
    }

    /// Runs something until its end or that of the proxy.
    pub fn run(&self, what: Work) {
        let end = self.end.clone();
        task::run(async move {
            tokio::select! {
                () = what => {}
                () = end.reached(Phase::Closed) => {}
            }
        });
    }

    async fn attend(self: Arc<Self>, client: TcpStream, place: OwnedSemaphorePermit) {
        let mut bytes = BytesMut::new();
        match timeout(FIRST_TIMEOUT, first(&client, &mut bytes)).await {
            Ok(Ok(Some(head))) => tunnel::run(&self, &client, &head, bytes.split_off(head.length)).await,
            Ok(Ok(None)) => {
                let end = self.end.clone();
                execd_wire::serve(Io::new(client), Arc::new(Plain(self)), &end, Box::new(move |_, _| drop(place)));
            }
            Ok(Err(Some(refusal))) => tunnel::refuse(&self, &client, &refusal),
            Ok(Err(None)) | Err(_) => {}
        }
    }
}

/// The head of a `CONNECT`, or nothing for a plain request, which is left where it is: a tunnel is no HTTP after its head, so the HTTP
/// engine never sees one. To a client that left nothing is to be said.
async fn first(client: &TcpStream, bytes: &mut BytesMut) -> Result<Option<ConnectHead>, Option<Refusal>> {
    let mut first = [0; METHOD.len()];
    loop {
        let length = client.peek(&mut first).await.map_err(|_| None)?;
        if length == 0 || first[..length] != METHOD[..length] {
            return Ok(None);
        }
        if length == METHOD.len() {
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    loop {
        if let Some(head) = connect_head::parse(bytes)? {
            return Ok(Some(head));
        }
        match stream::read_more(client, bytes, SMALL_READ).await {
            Ok(0) | Err(_) => return Err(None),
            Ok(_) => {}
        }
    }
}

/// Plain requests of one connection.
struct Plain(Arc<Proxy>);

impl Answers for Plain {
    fn answer(&self, request: Request<Incoming>, connection: &Arc<State>) -> Answer {
        let running = connection.begin();
        Answer::Later(Box::pin(forward::answer(self.0.clone(), request, running)))
    }
}

#[cfg(test)]
#[path = "proxy_test.rs"]
mod tests;
