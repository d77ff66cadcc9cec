//! The same requests on both ways, over real sockets: what memory answers, and what the HTTP engine, guard and router answer.

use super::{digits, overwrite};
use crate::api::Rules;
use crate::api::test_daemon::{Daemon, run, start};
use crate::telemetry::LogLevel;
use crate::telemetry::exposition::Form;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A header that memory does not know, so that the request goes the long way.
const LONG_WAY: &str = "X-Long-Way: 1\r\n";
/// Ends a connection; always answered by the engine.
const LAST: &str = "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn from_memory(daemon: &Daemon, request: &str) -> bool {
    daemon.service.memory.answer(&daemon.service.api, request.as_bytes(), Instant::now(), &mut |_, _| {}).is_some()
}

/// Replaces what depends on the moment of asking.
fn timeless(answer: &str) -> String {
    let mut out = String::new();
    let mut rest = answer;
    while let Some((at, key, end)) =
        [("date: ", "\r"), ("\"uptime_ms\":", ",")].iter().filter_map(|(k, e)| Some((rest.find(k)?, *k, *e))).min()
    {
        let (before, after) = rest.split_at(at + key.len());
        out += before;
        rest = &after[after.find(end).unwrap_or(0)..];
    }
    out + rest
}

/// Both ways' answers to a request with these lines before its end.
async fn both(daemon: &Daemon, line: &str, headers: &str) -> (String, String) {
    let early = daemon.raw(format!("{line}\r\n{headers}\r\n{LAST}").as_bytes()).await;
    let late = daemon.raw(format!("{line}\r\n{LONG_WAY}{headers}\r\n{LAST}").as_bytes()).await;
    (early, late)
}

async fn compare(daemon: &Daemon, line: &str, headers: &str) {
    // The length changes with the digits of the uptime.
    for last in [false, false, true] {
        let (early, late) = both(daemon, line, headers).await;
        let same = timeless(&early) == timeless(&late);
        assert!(same || !last, "{line} {headers:?}\n--- from memory\n{early}\n--- the long way\n{late}");
        if same {
            return;
        }
    }
}

#[test]
fn both_ways_give_the_same_bytes() {
    run(async {
        let rules = Rules { hosts: vec!["execd.example".into()], ..Rules::default() };
        let guarded = start(Rules { token: Some("t".into()), ..rules.clone() }, 100);
        let open = start(rules, 100);
        let unready = start(Rules::default(), 100);
        let _guard = unready.readiness.block("config");
        for daemon in [&open, &guarded, &unready] {
            for path in
                ["/health", "/livez", "/readyz", "/ping", "/health?full=true", "/health/", "/metrics/", "//health", "/"]
            {
                for version in ["HTTP/1.1", "HTTP/1.0"] {
                    for method in ["GET", "HEAD", "POST", "get"] {
                        compare(daemon, &format!("{method} {path} {version}"), "Host: localhost\r\n").await;
                    }
                }
                for host in
                    ["127.0.0.1:1", "[::1]:2", "LOCALHOST.", "execd.example", "evil.example", "a b", ":1", "", "\u{e4}"]
                {
                    compare(daemon, &format!("GET {path} HTTP/1.1"), &format!("Host: {host}\r\n")).await;
                }
                for headers in [
                    "",
                    "Host: localhost\r\nHost: evil.example\r\n",
                    "Host: localhost\r\nOrigin: http://evil.example\r\n",
                    "Host: localhost\r\nAuthorization: Bearer t\r\n",
                    "Host: localhost\r\nX-EXECD-ACCESS-TOKEN: wrong\r\n",
                    "Host: localhost\r\nContent-Length: 0\r\n",
                    "Host: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nab",
                    "Host: localhost\r\nTransfer-Encoding: chunked\r\n",
                    "Host: localhost\r\nConnection: close\r\n",
                    "Host: localhost\r\nConnection: keep-alive\r\nAccept: image/png\r\nUser-Agent: a\r\n",
                    "Host: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n",
                ] {
                    compare(daemon, &format!("GET {path} HTTP/1.1"), headers).await;
                }
            }
        }
    });
}

#[test]
fn what_memory_answers() {
    run(async {
        let open = start(Rules::default(), 100);
        let guarded = start(Rules { token: Some("t".into()), ..Rules::default() }, 100);
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for (path, without_token, with_token) in [
            ("/health", true, true),
            ("/livez", true, true),
            ("/readyz", true, true),
            ("/ping", true, false),
            ("/metrics", false, false),
        ] {
            assert_eq!(from_memory(&open, &get(path)), without_token, "{path}");
            assert_eq!(from_memory(&guarded, &get(path)), with_token, "{path} of a guarded daemon");
        }
        // A head that was known is not known with another host, or with more or less of it.
        assert!(from_memory(&open, &get("/health")));
        assert!(!from_memory(&open, "GET /health HTTP/1.1\r\nHost: localhos\r\n\r\n"));
        assert!(!from_memory(&open, "GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\n\r\n"));
        assert!(!from_memory(&open, "GET /health HTTP/1.1\r\nHost: localhost\r\n"));
        let brief = guarded.raw((get("/health") + LAST).as_bytes()).await;
        assert!(!brief.contains("init_mode"), "{brief}");
        open.telemetry.log.set_level(LogLevel::Debug);
        assert!(!from_memory(&open, &get("/health")), "each request is a line in the log");
    });
}

#[test]
fn the_uptime_is_written_in_its_place_while_it_fits() {
    let text = b"date: 1\r\n\r\n{\"uptime_ms\":998,\"x\":1}";
    let mut bytes = text.to_vec();
    let digits = digits(&bytes);
    assert_eq!(&text[digits.clone()], b"998");
    for (uptime, fits) in [(999, true), (1000, false), (99, false), (100, true)] {
        assert_eq!(overwrite(&mut bytes[digits.clone()], uptime), fits, "{uptime}");
        let whole = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!fits || whole.contains(&format!("\"uptime_ms\":{uptime},\"x\":1}}")), "{whole}");
    }
    assert_eq!(super::digits(b"ok"), 0..0);
}

#[test]
fn nothing_from_memory_is_stale() {
    run(async {
        let daemon = start(Rules::default(), 100);
        let mut stream = daemon.open().await;
        let mut ask = async |path: &str| {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
            let mut some = vec![0; 16 << 10];
            let n = stream.read(&mut some).await.unwrap();
            String::from_utf8_lossy(&some[..n]).into_owned()
        };
        assert!(ask("/health").await.contains("\"status\":\"healthy\""));
        let guard = daemon.readiness.block("config");
        assert!(ask("/health").await.contains("\"status\":\"degraded\""), "in the same millisecond");
        drop(guard);
        assert!(ask("/health").await.contains("\"status\":\"healthy\""));
        let uptime = async |text: String| -> u64 {
            text.split("\"uptime_ms\":").nth(1).and_then(|t| t.split(',').next()?.parse().ok()).unwrap()
        };
        let before = uptime(ask("/health").await).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(uptime(ask("/health").await).await >= before + 20);
        daemon.telemetry.panics.inc();
        assert!(ask("/health").await.contains("execd_panic"));
        let guard = daemon.readiness.block("config");
        assert!(ask("/readyz").await.starts_with("HTTP/1.1 503"));
        drop(guard);
        assert!(ask("/readyz").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn both_ways_are_counted_alike() {
    run(async {
        let daemon = start(Rules::default(), 100);
        for headers in ["", LONG_WAY] {
            for path in ["/health", "/livez", "/readyz", "/ping"] {
                daemon.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{LAST}").as_bytes()).await;
            }
        }
        let text = daemon.telemetry.render(Form::Text, None);
        for path in ["/health", "/livez", "/readyz", "/ping"] {
            let requests = format!("execd_http_requests_total{{route=\"{path}\",method=\"GET\",code=\"200\"}} 2\n");
            let times = format!("execd_http_request_duration_seconds_count{{route=\"{path}\",method=\"GET\"}} 2\n");
            assert!(text.contains(&requests) && text.contains(&times), "{path}\n{text}");
        }
    });
}

#[test]
fn requests_in_pieces_and_in_batches_get_the_same_answers() {
    run(async {
        let daemon = start(Rules::default(), 200);
        let one = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let two = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let odd = "GET /livez?verbose HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let all = [one, two, one, odd, one, LAST].concat();
        let expected = timeless(&daemon.raw(all.as_bytes()).await);
        assert_eq!(expected.matches("HTTP/1.1 200 OK").count(), 5, "{expected}");
        for cut in 1..all.len() {
            let mut stream = daemon.open().await;
            stream.set_nodelay(true).unwrap();
            let (first, second) = all.as_bytes().split_at(cut);
            stream.write_all(first).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.write_all(second).await.unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).await.unwrap();
            assert_eq!(timeless(&got), expected, "cut at {cut}");
        }
    });
}

#[test]
fn a_peer_that_asks_much_and_reads_late_gets_all_in_order() {
    run(async {
        let daemon = start(Rules::default(), 10);
        const REQUESTS: usize = 20_000;
        let (mut reader, mut writer) = daemon.open().await.into_split();
        let asking = tokio::spawn(async move {
            let batch = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
            for _ in 0..REQUESTS / 100 {
                writer.write_all(batch.as_bytes()).await.unwrap();
            }
            writer.write_all(LAST.as_bytes()).await.unwrap();
            writer
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        drop(asking.await.unwrap());
        let text = String::from_utf8(got).unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), REQUESTS);
        assert!(text.matches("HTTP/1.1 404").count() == 1 && text.ends_with('}'));
    });
}
