//! The server over real sockets: one daemon per test, on a port of its own.

use crate::api::Rules;
use crate::api::test_daemon::{run, start};
use crate::telemetry::{Dropped, Stream};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[test]
fn probes_and_metrics_answer_in_their_forms() {
    run(async {
        let daemon = start(Rules::default(), 100);
        for (path, headers, kind, part) in [
            ("/livez", "", "text/plain", "ok"),
            ("/readyz?verbose", "", "text/plain", "[+]log ok\n[+]state_dir ok\nreadyz check passed\n"),
            ("/ping", "", "", ""),
            ("/health", "", "application/json", "\"init_mode\":\"none\""),
            ("/metrics", "", "application/json", "{\"cpu_count\":"),
            ("/metrics", "Accept: text/plain\r\n", "text/plain; version=0.0.4", "execd_build_info{"),
            ("/metrics?format=openmetrics", "", "application/openmetrics-text", "# EOF\n"),
            ("/metrics/prometheus", "", "text/plain; version=0.0.4", "execd_container_pids "),
        ] {
            let (status, answer) = daemon.ask("GET", path, headers).await;
            assert_eq!(status, 200, "{path}: {answer}");
            assert!(answer.contains(kind) && answer.contains(part), "{path}: {answer}");
        }
        let (status, answer) = daemon.ask("HEAD", "/metrics", "").await;
        assert!(status == 200 && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(daemon.status("GET", "/metrics?format=xml", "").await, 422);
        assert_eq!(daemon.status("GET", "/metrics", "Accept: image/png\r\n").await, 406);
    });
}

#[test]
fn not_ready_is_503_by_name() {
    run(async {
        let daemon = start(Rules::default(), 100);
        let guard = daemon.readiness.block("config");
        let (status, answer) = daemon.ask("GET", "/readyz", "").await;
        assert!(status == 503 && answer.contains("[-]config failed"), "{answer}");
        assert_eq!(daemon.status("GET", "/livez", "").await, 200);
        assert!(daemon.ask("GET", "/health", "").await.1.contains("\"status\":\"degraded\""));
        drop(guard);
        assert_eq!(daemon.status("GET", "/readyz", "").await, 200);
    });
}

#[test]
fn what_is_open_guarded_unknown_and_not_built() {
    run(async {
        let daemon = start(Rules { token: Some("t".into()), ..Rules::default() }, 100);
        let good = "X-EXECD-ACCESS-TOKEN: t\r\n";
        for (method, path, headers, expected) in [
            ("GET", "/livez", "", 200),
            ("GET", "/readyz", "", 200),
            ("GET", "/health", "", 200),
            ("GET", "/health?full=true", "", 401),
            ("GET", "/health?full=true", good, 200),
            ("GET", "/metrics", "", 200),
            ("GET", "/ping", "", 401),
            ("GET", "/ping", good, 200),
            ("GET", "/ping", "Authorization: Bearer t\r\n", 200),
            ("GET", "/ping", "Authorization: Bearer u\r\n", 401),
            ("GET", "/nothing", "", 401),
            ("GET", "/nothing", good, 404),
            ("POST", "/command", good, 501),
            ("DELETE", "/health", good, 405),
            ("BREW", "/health", good, 405),
            ("OPTIONS", "/health", "", 204),
            ("GET", "/livez", "Host: evil.example\r\n", 403),
            ("GET", "/livez", "Origin: http://evil.example\r\n", 403),
        ] {
            let (status, answer) = daemon.ask(method, path, headers).await;
            assert_eq!(status, expected, "{method} {path} {headers}: {answer}");
            if status >= 400 {
                assert!(answer.contains("content-type: application/problem+json"), "{answer}");
                assert!(answer.contains(&format!("\"instance\":\"{}\"", path.split('?').next().unwrap())), "{answer}");
            }
        }
        let brief = daemon.ask("GET", "/health", "").await.1;
        assert!(!brief.contains("init_mode"), "{brief}");
    });
}

#[test]
fn only_a_configured_origin_gets_cors_headers() {
    run(async {
        let rules = Rules { token: Some("t".into()), origins: vec!["https://a.example".into()], ..Rules::default() };
        let daemon = start(rules, 100);
        let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
        let (status, answer) = daemon.ask("OPTIONS", "/ping", preflight).await;
        assert!(status == 204 && answer.contains("access-control-allow-origin: https://a.example"), "{answer}");
        let (status, answer) = daemon.ask("GET", "/ping", "Origin: https://a.example\r\n").await;
        assert!(status == 401 && answer.contains("access-control-allow-origin"), "{answer}");
        let answer = daemon.ask("GET", "/ping", "").await.1;
        assert!(!answer.contains("access-control"), "{answer}");
    });
}

#[test]
fn heads_that_are_no_requests_are_refused() {
    run(async {
        let daemon = start(Rules::default(), 100);
        let big = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
        let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
        let many = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200));
        for (request, expected) in [
            ("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400"),
            ("nonsense\r\n\r\n", "HTTP/1.1 400"),
            (big.as_str(), "HTTP/1.1 431"),
            (long.as_str(), "HTTP/1.1 4"),
            (many.as_str(), "HTTP/1.1 431"),
        ] {
            let answer = daemon.raw(request.as_bytes()).await;
            // A client that still writes may see the reset before the answer.
            assert!(
                answer.is_empty() && request.len() > 60_000 || answer.starts_with(expected),
                "{request:.40}: {answer}"
            );
        }
        assert_eq!(daemon.status("GET", "/livez", "").await, 200);
    });
}

#[test]
fn watchers_share_ticks_and_bad_intervals_are_refused() {
    run(async {
        let daemon = start(Rules::default(), 100);
        assert_eq!(daemon.status("GET", "/metrics/watch?interval_ms=99", "").await, 422);
        assert_eq!(daemon.status("GET", "/metrics/watch?interval_ms=x", "").await, 422);
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = daemon.open().await;
            stream.write_all(b"GET /metrics/watch?interval_ms=100 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            streams.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(350)).await;
        for stream in &mut streams {
            let mut got = vec![0; 64 * 1024];
            let n = stream.read(&mut got).await.unwrap();
            let text = String::from_utf8_lossy(&got[..n]).into_owned();
            assert!(text.contains("content-type: text/event-stream"), "{text}");
            assert!(text.contains("retry: 1000\n"), "{text}");
            assert!(text.matches("data: {\"cpu_count\":").count() >= 3, "{text}");
            assert!(text.contains("\nid: "), "{text}");
        }
        assert_eq!(daemon.telemetry.stream(Stream::Metrics).get(), 3);
        drop(streams);
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(daemon.telemetry.stream(Stream::Metrics).get(), 0);
    });
}

#[test]
fn a_full_table_gives_its_place_to_newcomers_unless_all_are_at_work() {
    run(async {
        let daemon = start(Rules::default(), 3);
        let mut idle = Vec::new();
        for _ in 0..10 {
            idle.push(daemon.open().await);
        }
        assert_eq!(daemon.status("GET", "/livez", "").await, 200);
        assert!(daemon.server.connections() <= 3);
        drop(idle);
        let mut busy = Vec::new();
        for _ in 0..3 {
            let mut stream = daemon.open().await;
            stream.write_all(b"GET /metrics/watch HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            busy.push(stream);
        }
        let (status, answer) = daemon.ask("GET", "/livez", "").await;
        assert!(status == 503 && answer.contains("TOO_MANY_CONNECTIONS"), "{answer}");
        assert!(daemon.telemetry.dropped(Dropped::Connections).get() >= 1);
        drop(busy);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(daemon.status("GET", "/livez", "").await, 200);
    });
}

#[test]
fn draining_ends_idle_connections_and_cuts_streams_at_the_deadline() {
    run(async {
        let daemon = start(Rules::default(), 10);
        let mut idle = daemon.open().await;
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut some = [0; 512];
        assert!(idle.read(&mut some).await.unwrap() > 0);
        let mut stream = daemon.open().await;
        stream.write_all(b"GET /metrics/watch HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut some).await.unwrap() > 0);
        let address = daemon.address;
        daemon.drain.start();
        assert_eq!(idle.read(&mut some).await.unwrap(), 0);
        // Probes are answered while it drains.
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!daemon.drain.finish(Duration::from_millis(50)).await);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
}

#[test]
fn h2_with_prior_knowledge_is_spoken() {
    run(async {
        let daemon = start(Rules::default(), 10);
        let mut stream = daemon.open().await;
        // Preface and empty SETTINGS.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "SETTINGS come first");
    });
}
