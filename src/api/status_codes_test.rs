//! Every route with every status code that it can give: what PRODUCT promises, and what the API document lists.

use crate::api::Rules;
use crate::api::test_daemon::{Daemon, run, start};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";

async fn send(daemon: &Daemon, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = format!("{headers}Content-Length: {}\r\n", body.len());
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let request = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{length}\r\n{body}");
    let answer = daemon.raw(request.as_bytes()).await;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// An execution that has ended.
async fn ended(daemon: &Daemon) -> String {
    let (status, view) = send(daemon, "POST", "/v1/executions?wait=true", JSON, r#"{"command":["true"]}"#).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!((&view["status"], &view["reason"]), (&json!("failed"), &json!("start_failed")), "{view}");
    view["id"].as_str().unwrap().to_owned()
}

#[test]
fn every_route_gives_the_codes_it_promises() {
    run(async {
        let daemon = start(Rules { token: Some("t".into()), guard_metrics: true, ..Rules::default() }, 100);
        let open = start(Rules::default(), 100);
        let id = ended(&open).await;
        let one = |rest: &str| format!("/v1/executions/{id}{rest}");
        let deep = format!("{{\"command\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
        let big = format!("{{\"shell\":\"{}\"}}", "x".repeat(2 << 20));
        let nobody = "/v1/executions/nobody".to_owned();
        let create = "/v1/executions".to_owned();
        let rows: Vec<(&str, String, &str, &str, u16)> = vec![
            ("POST", create.clone(), JSON, r#"{"command":["true"]}"#, 201),
            ("POST", create.clone(), JSON, r#"{"agent_type":"validation","shell":"true"}"#, 201),
            ("POST", create.clone(), JSON, "{", 400),
            ("POST", create.clone(), JSON, "", 400),
            ("POST", create.clone(), JSON, "[]", 400),
            ("POST", create.clone(), JSON, &deep, 400),
            ("POST", create.clone(), JSON, r#"{"command":"true"}"#, 400),
            (
                "POST",
                create.clone(),
                JSON,
                r#"{"agent_type":"VALIDATION","command":["a"],"limits":{"memory_bytes":99999999999}}"#,
                403,
            ),
            ("POST", create.clone(), JSON, &big, 413),
            ("POST", create.clone(), "", "{}", 415),
            ("POST", create.clone(), "Content-Type: text/plain\r\n", "{}", 415),
            ("POST", create.clone(), JSON, r#"{"agent_type":"NOBODY","command":["a"]}"#, 422),
            ("POST", create.clone(), JSON, r#"{"command":[]}"#, 422),
            ("POST", create.clone(), JSON, r#"{"command":["a"],"cwd":"/no/such"}"#, 422),
            ("POST", create.clone(), JSON, r#"{"command":["a"],"colour":"red"}"#, 422),
            ("POST", "/v1/executions?wait=maybe".into(), JSON, r#"{"command":["a"]}"#, 422),
            ("POST", "/v1/executions?weight=1".into(), JSON, r#"{"command":["a"]}"#, 422),
            ("GET", create.clone(), "", "", 200),
            ("HEAD", create.clone(), "", "", 200),
            ("GET", "/v1/executions?status=failed&limit=1".into(), "", "", 200),
            ("GET", "/v1/executions?status=odd".into(), "", "", 422),
            ("GET", "/v1/executions?limit=0".into(), "", "", 422),
            ("GET", "/v1/executions?a=%zz".into(), "", "", 400),
            ("PUT", create.clone(), "", "", 405),
            ("GET", one(""), "", "", 200),
            ("GET", nobody.clone(), "", "", 404),
            ("GET", "/v1/executions/..%2f..%2fetc".into(), "", "", 404),
            ("DELETE", one(""), "", "", 409),
            ("DELETE", nobody.clone(), "", "", 404),
            ("POST", one("/signal"), JSON, r#"{"signal":"SIGINT"}"#, 409),
            ("POST", one("/signal"), JSON, r#"{"signal":"SIGNAL"}"#, 422),
            ("POST", one("/signal"), JSON, r#"{"signal":2}"#, 400),
            ("POST", one("/signal"), JSON, r#"{"signals":"SIGINT"}"#, 422),
            ("POST", one("/signal"), "", "x", 415),
            ("POST", nobody.clone() + "/signal", JSON, r#"{"signal":"SIGINT"}"#, 404),
            ("POST", one("/start"), "", "", 409),
            ("POST", nobody.clone() + "/start", "", "", 404),
            ("PUT", one("/stdin"), "", "bytes", 409),
            ("PUT", one("/stdin?close=perhaps"), "", "", 422),
            ("PUT", nobody.clone() + "/stdin", "", "", 404),
            ("GET", one("/output"), "", "", 200),
            ("GET", one("/output?follow=true"), "", "", 200),
            ("GET", one("/output?stream=stdall"), "", "", 422),
            ("GET", one("/output?cursor=-1"), "", "", 422),
            ("GET", nobody.clone() + "/output", "", "", 404),
            ("GET", one("/logs"), "", "", 200),
            ("GET", one("/logs?follow=true"), "", "", 200),
            ("GET", one("/logs?tail=x"), "", "", 422),
            ("GET", nobody.clone() + "/logs", "", "", 404),
            ("GET", "/v1/agent-types".into(), "", "", 200),
            ("GET", "/v1/stats".into(), "", "", 200),
            ("GET", "/v1/alerts".into(), "", "", 200),
            ("GET", "/v1/enforcement".into(), "", "", 200),
            ("HEAD", "/v1/events".into(), "", "", 200),
            ("GET", "/v1/events?x=1".into(), "", "", 422),
            ("GET", "/openapi.json".into(), "", "", 200),
            ("GET", "/livez".into(), "", "", 200),
            ("GET", "/livez?verbose=maybe".into(), "", "", 422),
            ("GET", "/readyz".into(), "", "", 200),
            ("GET", "/health".into(), "", "", 200),
            ("GET", "/health?verbose".into(), "", "", 200),
            ("GET", "/ping".into(), "", "", 200),
            ("GET", "/metrics".into(), "", "", 200),
            ("GET", "/metrics".into(), "Accept: image/png\r\n", "", 406),
            ("GET", "/metrics?format=odd".into(), "", "", 422),
            ("GET", "/metrics/prometheus".into(), "", "", 200),
            ("HEAD", "/metrics/watch".into(), "", "", 200),
            ("GET", "/metrics/watch?interval_ms=1".into(), "", "", 422),
            ("POST", "/v1/cleanup".into(), JSON, "{}", 501),
            ("GET", "/files/info".into(), "", "", 501),
            ("GET", "/v1/none".into(), "", "", 404),
        ];
        for (method, path, headers, body, expected) in &rows {
            let (status, answer) = send(&open, method, path, headers, body).await;
            assert_eq!(status, *expected, "{method} {path} {body:.80}: {answer}");
            if status >= 400 {
                assert!(answer["code"].is_string() && answer["message"].is_string(), "{method} {path}: {answer}");
                assert_eq!(answer["status"], status, "{answer}");
            }
        }
        for endpoint in crate::api::endpoints() {
            let path = endpoint.route.replace("{id}", &id);
            let (status, answer) = send(&daemon, endpoint.method, &path, JSON, "").await;
            let always_open = ["/livez", "/readyz", "/health"].contains(&endpoint.route);
            let expected = if always_open { 200 } else { 401 };
            assert_eq!(status, expected, "{} {path} without token: {answer}", endpoint.method);
            let (status, answer) = send(&daemon, "BREW", &path, "Authorization: Bearer t\r\n", "").await;
            assert_eq!(status, 405, "BREW {path}: {answer}");
            let (status, _) = send(&open, endpoint.method, &path, "Host: evil.example\r\n", "").await;
            assert_eq!(status, 403, "{} {path} from a rebound name", endpoint.method);
            let covered = rows.iter().any(|(m, p, ..)| {
                let known = p.split('?').next().unwrap().replace(&id, "{id}");
                known == endpoint.route && (*m == endpoint.method || endpoint.method == "HEAD")
            });
            assert!(covered, "no row for {endpoint:?}");
        }
    });
}

#[test]
fn a_full_or_draining_daemon_says_when_to_come_back() {
    run(async {
        let daemon = start(Rules::default(), 100);
        daemon.engine.drain();
        let (status, answer) = send(&daemon, "POST", "/v1/executions", JSON, r#"{"command":["a"]}"#).await;
        assert_eq!((status, &answer["code"]), (503, &json!("SHUTTING_DOWN")), "{answer}");
    });
}

#[test]
fn the_object_of_an_execution_has_the_promised_members() {
    run(async {
        let daemon = start(Rules::default(), 100);
        let body = r#"{"agent_type":"validation","command":["a"],"task_id":"t","labels":{"k":"v"}}"#;
        let (_, view) = send(&daemon, "POST", "/v1/executions?wait=true", JSON, body).await;
        for key in
            ["id", "status", "reason", "exit_code", "signal", "agent_type", "task_id", "created_at", "started_at"]
                .into_iter()
                .chain(["finished_at", "limits", "containment", "usage", "breach", "pipes_held_open", "attempt"])
        {
            assert!(view.get(key).is_some(), "{key} in {view}");
        }
        assert_eq!((&view["agent_type"], &view["task_id"]), (&json!("VALIDATION"), &json!("t")));
        let (_, page) = send(&daemon, "GET", "/v1/executions?task_id=t", "", "").await;
        assert_eq!(page["executions"][0]["id"], view["id"]);
        let (_, health) = send(&daemon, "GET", "/health", "", "").await;
        assert_eq!(health["executions"]["failed"], 1, "{health}");
        assert!(health["enforcement"]["memory_bytes"]["strength"].is_string(), "{health}");
    });
}
