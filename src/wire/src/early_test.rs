use super::*;
use crate::connection::State;
use crate::plain;
use crate::protocol::Answer;
use hyper::Request;
use hyper::body::Incoming;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers the path `/N` with N times `x` in brackets.
struct Xs;

impl Answers for Xs {
    fn answer(&self, _: Request<Incoming>, _: &Arc<State>) -> Answer {
        unreachable!("no engine here")
    }

    fn recall(&self, bytes: &[u8], _: Instant, give: &mut dyn FnMut(&[u8], usize)) {
        let known = plain::parse(bytes).and_then(|(plain, length)| Some((plain.path[1..].parse().ok()?, length)));
        if let Some((count, length)) = known {
            give(format!("[{}]", "x".repeat(count)).as_bytes(), length);
        }
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") })
}

/// A client that writes these pieces, then reads to the end; what it read, what followed, and what was left for the engine.
async fn exchange(pieces: Vec<Vec<u8>>, finishing: bool) -> (Vec<u8>, Next, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let mut io = Io::new(listener.accept().await.unwrap().0);
    let client = tokio::spawn(async move {
        for (n, piece) in pieces.into_iter().enumerate() {
            if n > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            client.write_all(&piece).await.unwrap();
        }
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        let _ = client.read_to_end(&mut got).await;
        got
    });
    let next = Early::new(&mut io, &Xs, finishing).await;
    let mut left = Vec::new();
    io.read_to_end(&mut left).await.unwrap();
    drop(io);
    (client.await.unwrap(), next, left)
}

const GET: &[u8] = b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn what_is_not_answered_is_the_engines_byte_for_byte() {
    let post = b"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".as_slice();
    for (pieces, answered, next, left) in [
        (vec![GET], "[xxx]", Next::Close, b"".as_slice()),
        (vec![GET, GET], "[xxx][xxx]", Next::Close, b""),
        (vec![&GET[..9], &GET[9..]], "", Next::Http1, GET),
        (vec![post, GET], "", Next::Http1, &[post, GET].concat()),
        (vec![&[GET, post].concat(), GET], "[xxx]", Next::Http1, &[post, GET].concat()),
        (vec![&[GET, &GET[..5]].concat()], "[xxx]", Next::Http1, &GET[..5]),
        (vec![b"\r\n", GET], "", Next::Http1, &[b"\r\n", GET].concat()),
        (vec![], "", Next::Close, b""),
    ] {
        let pieces: Vec<Vec<u8>> = pieces.into_iter().map(<[u8]>::to_vec).collect();
        let got = run(exchange(pieces.clone(), false));
        assert_eq!(got, (answered.into(), next, left.to_vec()), "{pieces:?}");
        let got = run(exchange(pieces.clone(), true));
        let next = if pieces.is_empty() { Next::Close } else { Next::Http1 };
        assert_eq!(got, (Vec::new(), next, pieces.concat()), "finishing, {pieces:?}");
    }
}

#[test]
fn the_protocol_is_known_by_the_first_bytes_also_in_pieces() {
    for (pieces, next) in [
        (vec![&PREFACE[..3], &PREFACE[3..], b"more"], Next::Http2),
        (vec![PREFACE.as_slice()], Next::Http2),
        (vec![b"P".as_slice(), b"OST / HTTP/1.1\r\n\r\n"], Next::Http1),
        (vec![b"P".as_slice()], Next::Http1),
        (vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r".as_slice(), b"x"], Next::Http1),
        (vec![GET, PREFACE], Next::Http1),
    ] {
        for finishing in [false, true] {
            let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
            assert_eq!(run(exchange(pieces.clone(), finishing)).1, next, "{pieces:?}");
        }
    }
}

#[test]
fn finishing_closes_between_answers_and_never_before_the_first_request() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut io = Io::new(listener.accept().await.unwrap().0);
        let mut early = Box::pin(Early::new(&mut io, &Xs, false));
        let pause = Duration::from_millis(5);
        assert!(tokio::time::timeout(pause, &mut early).await.is_err(), "nothing came yet");
        client.write_all(GET).await.unwrap();
        assert!(tokio::time::timeout(pause, &mut early).await.is_err(), "kept alive");
        early.as_mut().finish();
        assert_eq!(early.await, Next::Close);
        drop(io);
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "[xxx]");
    });
}

#[test]
fn a_batch_of_answers_is_bounded() {
    let asked = b"GET /30000 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(9);
    let (got, next, left) = run(exchange(vec![asked.clone()], false));
    assert_eq!((got.len(), next), (3 * 30_002, Next::Http1));
    assert_eq!(left, asked[asked.len() / 3..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_pieces_every_byte_is_answered_or_left(
        parts in prop::collection::vec(prop_oneof![
            3 => (0usize..50).prop_map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()),
            1 => Just(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            1 => prop::collection::vec(any::<u8>(), 1..40),
            1 => Just(PREFACE.to_vec()),
        ], 1..8),
        cuts in prop::collection::vec(0usize..300, 0..4),
    ) {
        let sent = parts.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (sent.len() + 1)).chain([0, sent.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|w| sent[w[0]..w[1]].to_vec()).collect();
        let (got, next, left) = run(exchange(pieces, false));
        let mut expected = Vec::new();
        let mut rest = sent.as_slice();
        while rest.len() > left.len() {
            let mut step = 0;
            Xs.recall(rest, Instant::now(), &mut |answer, length| {
                expected.extend_from_slice(answer);
                step = length;
            });
            prop_assert!(step > 0, "only plain requests are answered");
            rest = &rest[step..];
        }
        prop_assert_eq!(rest, &left[..]);
        prop_assert_eq!(got, expected);
        prop_assert_eq!(next == Next::Close, left.is_empty());
    }
}
