//! The egress proxy of one execution: HTTP/1.1 with whole URLs, and `CONNECT`.
//!
//! It listens nowhere. Connections come from the execution's supervisor, which has made sure whose they are.

use super::connect_head::METHOD;
use super::dial;
use super::egress::Egress;
use super::forward;
use super::host::Host;
use super::refusal::Refusal;
use super::stream;
use super::tunnel;
use execd_wire::drain::{self, DrainTrigger, DrainWatcher, Phase};
use execd_wire::{Answer, Answers, Io, State};
use hyper::Request;
use hyper::body::Incoming;
use std::future::Future;
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
        self.run(self.clone().attend(client, place));
        Ok(())
    }

    /// Ends every connection.
    pub fn close(&self) {
        let trigger = self.trigger.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(trigger) = trigger {
            tokio::spawn(trigger.finish(Duration::ZERO));
        }
    }

    /// The account.
    pub fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    pub(super) async fn dial(&self, host: &Host, port: u16) -> Result<TcpStream, Refusal> {
        dial::dial(&self.egress, &self.lookups, host, port).await
    }

    /// Runs something until its end or that of the proxy.
    pub fn run(&self, what: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = what => {}
                () = end.reached(Phase::Closed) => {}
            }
        });
    }

    async fn attend(self: Arc<Self>, client: TcpStream, place: OwnedSemaphorePermit) {
        match timeout(FIRST_TIMEOUT, begins_with_connect(&client)).await {
            Ok(Ok(true)) => tunnel::run(&self, &client).await,
            Ok(Ok(false)) => {
                let end = self.end.clone();
                execd_wire::serve(Io::new(client), Arc::new(Plain(self)), &end, move |_, _| drop(place));
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Looks at the first bytes and leaves them where they are. A tunnel is no HTTP after its head, so the HTTP engine never sees it.
async fn begins_with_connect(client: &TcpStream) -> io::Result<bool> {
    let mut first = [0; METHOD.len()];
    loop {
        let length = client.peek(&mut first).await?;
        if length == METHOD.len() || first[..length] != METHOD[..length] || length == 0 {
            return Ok(first == METHOD);
        }
        sleep(LOOK_AGAIN).await;
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
