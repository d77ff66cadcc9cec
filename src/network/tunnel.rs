//! `CONNECT`: bytes both ways until both sides have ended, with a look at the first ones of the client.

use super::client_hello::{self, First};
use super::connect_head::{self, ConnectHead};
use super::egress::{Egress, Verdict};
use super::host::Host;
use super::proxy::Proxy;
use super::refusal::Refusal;
use super::splice::Pipe;
use super::stream::{IDLE, read_more, write_all};
use bytes::BytesMut;
use nix::sys::socket::{Shutdown, shutdown};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A head, and a client's first TLS message once begun, must be complete after this long.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// One read while a direction carries little.
const SMALL_READ: usize = 16 * 1024;
/// A direction that has carried this much is worth a pipe.
const LARGE: u64 = 256 * 1024;

/// Serves a connection that began with `CONNECT`.
pub(super) async fn run(proxy: &Proxy, client: &TcpStream) {
    let mut first = BytesMut::new();
    let head = match timeout(FIRST_TIMEOUT, read_head(client, &mut first)).await {
        Ok(Ok(head)) => head,
        Ok(Err(Some(refusal))) => return refuse(proxy, client, &refusal).await,
        Ok(Err(None)) | Err(_) => return,
    };
    match open(proxy, &head).await {
        Ok(upstream) => {
            if write_all(client, ESTABLISHED).await.is_ok() {
                let _ = carry(&proxy.egress, &head, client, &upstream, first.split_off(head.length)).await;
            }
        }
        Err(refusal) => refuse(proxy, client, &refusal).await,
    }
}

/// Nothing is to be said to a client that left.
async fn read_head(client: &TcpStream, bytes: &mut BytesMut) -> Result<ConnectHead, Option<Refusal>> {
    loop {
        if let Some(head) = connect_head::parse(bytes)? {
            return Ok(head);
        }
        match read_more(client, bytes, SMALL_READ).await {
            Ok(0) | Err(_) => return Err(None),
            Ok(_) => {}
        }
    }
}

async fn refuse(proxy: &Proxy, client: &TcpStream, refusal: &Refusal) {
    let _ = timeout(FIRST_TIMEOUT, write_all(client, &refusal.raw(&proxy.egress))).await;
}

async fn open(proxy: &Proxy, head: &ConnectHead) -> Result<TcpStream, Refusal> {
    let ConnectHead { host, port, .. } = head;
    let to = || format!("{host}:{port}");
    match proxy.egress.judge(host, *port) {
        Verdict::Allowed => proxy.dial(host, *port).await,
        Verdict::Limit => Err(Refusal::Limit { to: to() }),
        Verdict::Domain => Err(Refusal::Domain { to: to(), why: "" }),
    }
}

async fn carry(
    egress: &Egress,
    head: &ConnectHead,
    client: &TcpStream,
    upstream: &TcpStream,
    first: BytesMut,
) -> io::Result<()> {
    let moved = AtomicU64::new(0);
    let to_server = async {
        let first = first_bytes(egress, head, client, first).await?;
        egress.sent(first.len());
        write_all(upstream, &first).await?;
        drop(first);
        let passed = |n| {
            moved.fetch_add(1, Relaxed);
            egress.sent(n);
        };
        pump(client, upstream, passed).await
    };
    let passed = |n| {
        moved.fetch_add(1, Relaxed);
        egress.received(n);
    };
    let to_client = pump(upstream, client, passed);
    tokio::select! {
        // An error on either way ends both.
        result = async { tokio::try_join!(to_server, to_client) } => result.map(drop),
        () = idle(&moved) => Ok(()),
    }
}

/// Returns when nothing has moved for a while.
async fn idle(moved: &AtomicU64) {
    let mut before = None;
    loop {
        let now = Some(moved.load(Relaxed));
        if now == before {
            return;
        }
        before = now;
        sleep(IDLE).await;
    }
}

/// What the client says first, when it is clear that it may be said. The server may speak meanwhile.
async fn first_bytes(
    egress: &Egress,
    head: &ConnectHead,
    client: &TcpStream,
    mut bytes: BytesMut,
) -> io::Result<BytesMut> {
    loop {
        let patience = if bytes.is_empty() { Duration::MAX } else { FIRST_TIMEOUT };
        match client_hello::inspect(&bytes) {
            First::Other | First::Hello(None) => return Ok(bytes),
            First::Hello(Some(name)) if may_name(egress, head, &name) => return Ok(bytes),
            First::Hello(Some(_)) | First::Broken => return Err(io::ErrorKind::PermissionDenied.into()),
            First::Unknown => {
                if timeout(patience, read_more(client, &mut bytes, SMALL_READ)).await?? == 0 {
                    return Ok(bytes);
                }
            }
        }
    }
}

/// Whether TLS may ask for this name behind that `CONNECT`.
fn may_name(egress: &Egress, head: &ConnectHead, name: &str) -> bool {
    let Ok(named) = Host::parse(name) else {
        egress.refuse_inside(&head.host, head.port);
        return false;
    };
    let may = named == head.host || egress.admits(&named, head.port);
    if !may {
        egress.refuse_inside(&named, head.port);
    }
    may
}

/// One way, until its end is passed on. While little passes it holds no buffer; much goes through a pipe, without a copy.
async fn pump(from: &TcpStream, to: &TcpStream, count: impl Fn(usize)) -> io::Result<()> {
    let mut passed = 0;
    let mut pipe = None;
    let mut buffer = BytesMut::new();
    loop {
        if passed >= LARGE && pipe.is_none() {
            pipe = Pipe::new().ok();
            // Without descriptors for a pipe it stays with copies.
            passed = 0;
        }
        let moved = match &mut pipe {
            Some(pipe) => pipe.carry(from, to).await?,
            None => {
                let read = read_more(from, &mut buffer, SMALL_READ).await?;
                write_all(to, &buffer).await?;
                buffer = BytesMut::new();
                read
            }
        };
        if moved == 0 {
            // A peer that is gone needs no end.
            let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
            return Ok(());
        }
        count(moved);
        passed += moved as u64;
    }
}
