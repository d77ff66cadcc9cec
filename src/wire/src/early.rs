//! The beginning of a connection, before the HTTP engine has it: finds the protocol, and answers plain requests from memory.
//!
//! A probe or a poller sends the same small request again and again. Here it costs one read, one look and one write; a batch of pipelined
//! ones is answered with one write. Whatever else comes goes to the engine, with every byte that was read, and the connection stays there.
//! Nothing is kept per connection but what a peer has not yet taken or what belongs to the engine.

use crate::connection::Io;
use crate::protocol::Answers;
use bytes::Bytes;
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes taken from the socket at once. They lie on the stack: a connection that says nothing holds none.
const READ_MAX: usize = 4096;

/// Answers are gathered up to this many bytes; the engine gets the requests beyond.
const WRITE_MAX: usize = 64 * 1024;

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The connection is over.
    Close,
    /// It is the engine's, as HTTP/1.1.
    Http1,
    /// It is the engine's, as HTTP/2.
    Http2,
}

/// Reads and answers until the connection is somebody else's.
pub(crate) struct Early<'a> {
    io: &'a mut Io,
    answers: &'a dyn Answers,
    /// Answers that the socket has not taken yet.
    unsent: Bytes,
    /// Something was answered, so this is HTTP/1.1.
    answered: bool,
    finishing: bool,
}

impl<'a> Early<'a> {
    /// `finishing`: nothing is answered here, because the daemon is going down and the engine says so in its answers.
    pub(crate) fn new(io: &'a mut Io, answers: &'a dyn Answers, finishing: bool) -> Self {
        Self { io, answers, unsent: Bytes::new(), answered: false, finishing }
    }

    /// Take no further request.
    pub(crate) fn finish(mut self: Pin<&mut Self>) {
        self.finishing = true;
    }

    /// What follows, if that is known from what has been read and answered.
    fn next(&self) -> Option<Next> {
        match &self.io.put_back[..] {
            [] if self.finishing && self.answered => Some(Next::Close),
            [] => None,
            _ if self.answered => Some(Next::Http1),
            first => protocol(first),
        }
    }

    /// Hands unsent answers to the socket; false when it takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.io.stream).poll_write(cx, &self.unsent)) {
                Ok(n) if n > 0 => drop(self.unsent.split_to(n)),
                _ => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    /// Reads once and answers what is plain; false at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut space = [const { MaybeUninit::uninit() }; READ_MAX];
        let mut space = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut self.io.stream).poll_read(cx, &mut space));
        let got = space.filled();
        if read.is_err() || got.is_empty() {
            return Poll::Ready(false);
        }
        let now = Instant::now();
        self.io.state.read_some(now);
        let rest = got.get(self.answer(got, now)..).unwrap_or_default();
        if !rest.is_empty() {
            self.io.state.read_some(now);
            self.io.put_back = [&self.io.put_back, rest].concat().into();
        }
        Poll::Ready(true)
    }

    /// Answers the plain requests that the bytes begin with; how many bytes that were.
    fn answer(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.finishing || !self.io.put_back.is_empty() {
            return 0;
        }
        let (stream, mut done) = (&self.io.stream, 0);
        let mut gathered = Vec::new();
        while done < bytes.len() && gathered.len() < WRITE_MAX {
            let rest = bytes.get(done..).unwrap_or_default();
            let mut length = 0;
            self.answers.recall(rest, now, &mut |answer, of| {
                length = of;
                // The last one, and mostly the only one, needs no place to lie. An error comes again.
                let alone = gathered.is_empty() && of == rest.len();
                let sent = if alone { stream.try_write(answer).unwrap_or(0) } else { 0 };
                gathered.extend_from_slice(answer.get(sent..).unwrap_or_default());
            });
            if length == 0 {
                break;
            }
            done += length;
        }
        if !gathered.is_empty() {
            self.unsent = gathered.into();
        }
        if done > 0 {
            self.answered = true;
            self.io.state.answered_at_once();
        }
        done
    }
}

impl Future for Early<'_> {
    type Output = Next;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if !ready!(self.poll_send(cx)) {
                return Poll::Ready(Next::Close);
            }
            if let Some(next) = self.next() {
                return Poll::Ready(next);
            }
            if !ready!(self.poll_receive(cx)) {
                let nothing_left = self.io.put_back.is_empty();
                return Poll::Ready(if nothing_left { Next::Close } else { Next::Http1 });
            }
        }
    }
}

/// The protocol that a connection with these first bytes speaks; `None` when more are needed.
fn protocol(first: &[u8]) -> Option<Next> {
    match first.get(..PREFACE.len()) {
        Some(first) if first == PREFACE => Some(Next::Http2),
        None if PREFACE.starts_with(first) => None,
        _ => Some(Next::Http1),
    }
}

#[cfg(test)]
#[path = "early_test.rs"]
mod tests;
