//! The proxy against real sockets: clients, servers, and what is told in between.

use super::super::client_hello::tests::hello_for;
use super::super::egress::tests::{Heard, egress};
use super::*;
use serde_json::Value;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A proxy with these rules, and who hears it.
fn proxy(entries: &[&str], limit: Option<u64>) -> (Arc<Proxy>, Arc<Heard>) {
    let (egress, heard) = egress(entries, limit);
    (Proxy::new(egress), heard)
}

async fn client(proxy: &Arc<Proxy>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0.into_std().unwrap();
    proxy.serve(accepted.into()).unwrap();
    client
}

/// A server that does one thing with each connection; its address.
async fn server<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads a head, remembers nothing, answers with these bytes and closes.
async fn answering(answer: &'static [u8]) -> String {
    server(move |mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Sends, reads to the end.
async fn exchange(proxy: &Arc<Proxy>, request: String) -> String {
    let mut client = client(proxy).await;
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), client.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn problem(answer: &str) -> Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or_default()).unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_plain_request_goes_through_and_is_counted() {
    let address = server(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nKeep-Alive: 5\r\nX-A: b\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let (proxy, _) = proxy(&["127.0.0.1"], Some(5));
    let answer = exchange(&proxy, get(&format!("http://{address}/p?q"))).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains(&format!("GET /p?q HTTP/1.1\r\nhost: {address}\r\n")), "{answer}");
    assert!(answer.contains("x-a: b\r\n") && !answer.contains("keep-alive"), "{answer}");
    let figures = proxy.egress().figures();
    assert_eq!(figures.requests, [1, 0, 0]);
    assert!(figures.bytes_out > 50 && figures.bytes_in > figures.bytes_out, "{figures:?}");
}

#[tokio::test]
async fn what_is_not_listed_is_403_and_what_is_too_much_429() {
    let address = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let port = address.rsplit(':').next().unwrap();
    let (proxy, heard) = proxy(&["127.0.0.1", "localhost"], Some(2));
    for (url, expected) in [
        (format!("http://{address}/"), 204),
        (format!("http://127.0.0.2:{port}/"), 403),
        ("http://example.com/".to_owned(), 403),
        (format!("http://2130706433:{port}/"), 400),
        (format!("http://0x7f.1:{port}/"), 400),
        (format!("http://user@{address}/"), 400),
        ("/".to_owned(), 400),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), 204),
        (format!("http://{address}/"), 429),
    ] {
        let answer = exchange(&proxy, get(&url)).await;
        assert_eq!(status(&answer), expected, "{url}: {answer}");
        if expected >= 400 {
            let problem = problem(&answer);
            assert_eq!(
                (problem["status"].as_u64(), problem["limit"].as_u64()),
                (Some(expected.into()), Some(2)),
                "{answer}"
            );
        }
    }
    assert_eq!(proxy.egress().figures().requests, [2, 1, 2]);
    let told = heard.0.lock().unwrap().clone();
    assert!(told.contains(&"over 3".to_owned()) && told.contains(&"domain example.com:80".to_owned()), "{told:?}");
}

#[tokio::test]
async fn an_allowed_name_in_a_private_range_is_403_and_not_counted() {
    let address = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let port = address.rsplit(':').next().unwrap();
    let (proxy, _) = proxy(&["localhost"], Some(5));
    let answer = exchange(&proxy, get(&format!("http://localhost:{port}/"))).await;
    assert_eq!((status(&answer), problem(&answer)["used"].as_u64()), (403, Some(0)), "{answer}");
    let tunnel = exchange(&proxy, format!("CONNECT localhost:{port} HTTP/1.1\r\n\r\n")).await;
    assert_eq!(status(&tunnel), 403, "{tunnel}");
    assert_eq!(proxy.egress().figures().requests, [0, 0, 2]);
}

#[tokio::test]
async fn each_request_of_a_connection_is_judged_alone() {
    let address = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let (proxy, _) = proxy(&["127.0.0.1"], Some(2));
    let mut requests = String::new();
    for url in [format!("http://{address}/"), "http://no.example/".to_owned(), format!("http://{address}/")] {
        requests.push_str(&format!("GET {url} HTTP/1.1\r\nHost: no.example\r\n\r\n"));
    }
    requests.push_str(&get(&format!("http://{address}/")));
    let answers = exchange(&proxy, requests).await;
    let codes: Vec<u16> = answers.split("HTTP/1.1 ").skip(1).map(|part| part[..3].parse().unwrap()).collect();
    assert_eq!(codes, [200, 403, 200, 429], "{answers}");
}

#[tokio::test]
async fn bodies_stream_both_ways_however_they_are_framed() {
    let address = server(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let mut body = Vec::new();
        let chunked = head.contains("transfer-encoding: chunked");
        while !body.ends_with(if chunked { b"\r\n0\r\n\r\n" } else { b"END" }) {
            body.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let (proxy, _) = proxy(&["127.0.0.1"], None);
    let post = format!("POST http://{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let sized = exchange(&proxy, format!("{post}Expect: 100-continue\r\nContent-Length: 7\r\n\r\nabcdEND")).await;
    assert!(
        sized.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n") && sized.contains("abcdEND"),
        "{sized}"
    );
    let chunked =
        exchange(&proxy, format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).await;
    assert!(chunked.contains("abc") && chunked.contains("de") && status(&chunked) == 200, "{chunked}");
}

#[tokio::test]
async fn two_framings_of_one_body_cannot_be_smuggled() {
    let (seen, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            let mut all = Vec::new();
            let _ = timeout(Duration::from_millis(300), stream.read_to_end(&mut all)).await;
            let _ = seen.send(String::from_utf8_lossy(&all).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let (proxy, _) = proxy(&["127.0.0.1"], None);
    let post = format!("POST http://{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for bad in [
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Content-Length: +4\r\n\r\nabcd",
        "Content-Length : 4\r\n\r\nabcd",
    ] {
        let answer = exchange(&proxy, format!("{post}{bad}")).await;
        assert_eq!(status(&answer), 400, "{bad}: {answer}");
    }
    assert_eq!(proxy.egress().figures().requests, [0; 3]);
    // With both, the chunks count, and the server sees one framing only.
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    exchange(&proxy, format!("{post}{both}")).await;
    let head = heads.recv().await.unwrap();
    assert!(!head.contains("content-length") && head.ends_with("5\r\nabcde\r\n0\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn heads_without_bodies_and_broken_answers() {
    let head = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
    let broken = answering(b"SSH-2.0-hello\r\n\r\n").await;
    let cut = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    let switching = answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n").await;
    let (proxy, _) = proxy(&["127.0.0.1"], None);
    let answer = exchange(&proxy, get(&format!("http://{head}/")).replace("GET", "HEAD")).await;
    assert!(answer.contains("content-length: 1000") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(status(&exchange(&proxy, get(&format!("http://{broken}/"))).await), 502);
    assert_eq!(status(&exchange(&proxy, get(&format!("http://{switching}/"))).await), 502);
    let answer = exchange(&proxy, get(&format!("http://{cut}/"))).await;
    assert!(answer.contains("content-length: 10") && answer.ends_with("abc"), "{answer}");
    assert_eq!(status(&exchange(&proxy, get("http://127.0.0.1:1/")).await), 502);
}

#[tokio::test]
async fn a_tunnel_carries_both_ways_and_half_closes() {
    let address = server(|mut stream| async move {
        stream.write_all(b"hello ").await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let (proxy, _) = proxy(&["127.0.0.1"], Some(1));
    let mut client = client(&proxy).await;
    // The server speaks first, and the client's first words come with the head.
    client.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nSSH").as_bytes()).await.unwrap();
    let established = b"HTTP/1.1 200 Connection established\r\n\r\nhello ";
    let mut got = vec![0; established.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, established);
    let body = vec![b'x'; 3 << 20];
    let (mut read, mut write) = client.split();
    let sending = async {
        write.write_all(&body).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, received) = tokio::join!(sending, read.read_to_end(&mut back));
    received.unwrap();
    assert_eq!(back.len(), body.len() + 3);
    let figures = proxy.egress().figures();
    assert_eq!((figures.bytes_out, figures.bytes_in), (body.len() as u64 + 3, body.len() as u64 + 9));
    let over = exchange(&proxy, format!("CONNECT {address} HTTP/1.1\r\n\r\n")).await;
    assert_eq!((status(&over), problem(&over)["reason"].as_str()), (429, Some("network_limit")), "{over}");
}

/// Opens a tunnel and sends a client hello in two pieces; whether the server got it.
async fn hello_arrives(entries: &[&str], name: &str) -> bool {
    let (got, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let got = got.clone();
        async move {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let _ = got.send(all);
        }
    })
    .await;
    let (proxy, _) = proxy(entries, None);
    let mut client = client(&proxy).await;
    client.write_all(format!("CONNECT {address} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    read_head(&mut client).await;
    let hello = hello_for(name);
    client.write_all(&hello[..20]).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let _ = client.write_all(&hello[20..]).await;
    let _ = client.shutdown().await;
    let received = arrived.recv().await.unwrap();
    assert!(received.is_empty() || received == hello);
    let denied = proxy.egress().figures().requests[2];
    assert_eq!(denied, u64::from(received.is_empty()));
    !received.is_empty()
}

#[tokio::test]
async fn the_name_inside_of_tls_must_be_allowed_too() {
    for (name, arrives) in
        [("a.example", true), ("A.example", true), ("evil.example", false), ("127.0.0.1", true), ("not a name", false)]
    {
        assert_eq!(hello_arrives(&["127.0.0.1", "a.example"], name).await, arrives, "{name}");
    }
}

#[tokio::test]
async fn malformed_tunnels_are_400() {
    let (proxy, _) = proxy(&["127.0.0.1"], None);
    for head in ["CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n", "CONNECT 127.0.0.1:80 HTTP/1.1\r\nContent-Length: 9\r\n\r\n"] {
        assert_eq!(status(&exchange(&proxy, head.to_owned()).await), 400, "{head}");
    }
    assert_eq!(proxy.egress().figures().requests, [0; 3]);
}

#[tokio::test]
async fn connections_are_bounded_and_end_with_the_proxy() {
    let (proxy, _) = proxy(&["127.0.0.1"], None);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        clients.push(client(&proxy).await);
    }
    let (one_more, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(proxy.serve(one_more.into()).is_err());
    let silent = server(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    clients[0].write_all(format!("CONNECT {silent} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    read_head(&mut clients[0]).await;
    clients[1].write_all(get(&format!("http://{silent}/")).as_bytes()).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    proxy.close();
    let ends: Vec<JoinHandle<()>> = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { while client.read_u8().await.is_ok() {} }))
        .collect();
    for end in ends {
        timeout(Duration::from_secs(5), end).await.expect("ends").unwrap();
    }
    // Their places come back.
    sleep(Duration::from_millis(20)).await;
    assert_eq!(proxy.places.available_permits(), CONNECTIONS_MAX);
}

#[tokio::test]
async fn the_daemon_itself_is_no_destination() {
    let address = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let (open, _) = egress(&["127.0.0.0/8", "localhost", "::1"], None);
    drop(open);
    let policy = super::super::policy::Policy::new([super::super::policy::RuleList::parse(
        ["0.0.0.0/0", "::/0", "localhost"],
        super::super::policy::Fallback::Deny,
    )
    .unwrap()]);
    let rules = super::super::egress::Rules { policy, control_ports: vec![port], ..Default::default() };
    let proxy = Proxy::new(Arc::new(Egress::new(rules, Box::new(Arc::new(Heard::default())))));
    for host in ["127.0.0.1", "127.8.8.8", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"] {
        let answer = exchange(&proxy, get(&format!("http://{host}:{port}/"))).await;
        assert_eq!(status(&answer), 403, "{host}: {answer}");
    }
    assert_eq!(proxy.egress().figures().requests, [0, 0, 6]);
}
