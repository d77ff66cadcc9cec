//! `CONNECT`: bytes both ways until both sides have ended, with a look at the first ones of the client.

use super::connect_head::ConnectHead;
use super::proxy::Proxy;
use super::refusal::Refusal;
use super::stream::IDLE;
use super::way::Way;
use bytes::BytesMut;
use std::future::poll_fn;
use std::task::Poll;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves a connection that began with this head; `bytes` came with it.
pub(super) async fn run(proxy: &Proxy, client: &TcpStream, head: &ConnectHead, bytes: BytesMut) {
    match proxy.open(&head.host, head.port).await {
        Ok(upstream) => {
            // A connection that nothing was sent over takes that much at once.
            if client.try_write(ESTABLISHED).is_ok_and(|written| written == ESTABLISHED.len()) {
                carry(proxy, head, client, &upstream, bytes).await;
            }
        }
        Err(refusal) => refuse(proxy, client, &refusal),
    }
}

/// Says no and is done.
pub(super) fn refuse(proxy: &Proxy, client: &TcpStream, refusal: &Refusal) {
    // See above; a client that is gone needs no answer.
    let _ = client.try_write(&refusal.raw(&proxy.egress));
}

/// Until both ways are over, one of them fails, or nothing moves for a while.
async fn carry(proxy: &Proxy, head: &ConnectHead, client: &TcpStream, upstream: &TcpStream, bytes: BytesMut) {
    let egress = &*proxy.egress;
    let rules = (egress, head);
    let (mut out, mut back) = (Way::inspected(bytes), Way::default());
    let (mut sent, mut received) = (0, 0);
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + IDLE));
    let mut seen = 0;
    poll_fn(|cx| {
        let ways = [out.poll(cx, client, upstream, rules), back.poll(cx, upstream, client, rules)];
        egress.sent(out.passed() - std::mem::replace(&mut sent, out.passed()));
        egress.received(back.passed() - std::mem::replace(&mut received, back.passed()));
        if ways.iter().all(Poll::is_ready) || ways.iter().any(|way| matches!(way, Poll::Ready(Err(_)))) {
            return Poll::Ready(());
        }
        while timer.as_mut().poll(cx).is_ready() {
            let moved = sent + received;
            if std::mem::replace(&mut seen, moved) == moved {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + IDLE);
        }
        Poll::Pending
    })
    .await;
}
