//! `execd health`: one line and an exit code, for HEALTHCHECK and exec probes.

use super::client::ClientError;
use super::command::Asked;
use super::fields::{self, Show};
use super::session;
use super::tasks::{self, NOT_REACHED, REFUSED, TaskError};
use super::terminal::{Terminal, Tone};
use crate::units;
use serde_json::{Value, json};

/// Asks and prints. Healthy and degraded are 0, unhealthy is 1, no answer is 2.
pub(super) fn run(asked: &Asked<()>, terminal: Terminal) -> Result<u8, TaskError> {
    match ask(asked) {
        Ok((url, body)) => {
            let code = exit_code(&body);
            if asked.json {
                tasks::print_json(&body)?
            } else {
                tasks::print(&line(&url, &body, terminal))?
            };
            Ok(code)
        }
        Err(error) if asked.json => {
            let code = TaskError::Client(error).code();
            tasks::print_json(&json!({"status": if code == NOT_REACHED { "unreachable" } else { "unknown" }}))?;
            Ok(code)
        }
        Err(error) => Err(error.into()),
    }
}

/// The body of `/health`, which is JSON with a status also when the code is 503.
fn ask(asked: &Asked<()>) -> Result<(String, Value), ClientError> {
    let client = session::open(&asked.target)?;
    let answer = client.request("GET", "/health", None)?;
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body) if body.get("status").is_some_and(Value::is_string) => Ok((client.url(), body)),
        Ok(_) => Err(ClientError::Refused { status: answer.head.status, detail: "no status in the answer".to_owned() }),
        Err(source) => Err(ClientError::NotJson { address: client.url(), source }),
    }
}

/// 0 for a daemon that can go on working.
fn exit_code(body: &Value) -> u8 {
    match body.get("status").and_then(Value::as_str) {
        Some("healthy" | "degraded") => 0,
        Some(_) | None => REFUSED,
    }
}

/// `healthy  execd 0.1.0  up 3m2s  pid1  2 running  http://127.0.0.1:44772`, without what is not known.
pub(super) fn line(url: &str, body: &Value, terminal: Terminal) -> String {
    let status = fields::text(body, "status");
    let tone = match status.as_str() {
        "healthy" => Tone::Good,
        "degraded" => Tone::Warn,
        _ => Tone::Bad,
    };
    let known = |key| Some(fields::text(body, key)).filter(|text| text != "-");
    let mut parts: Vec<String> = known("status").map(|status| terminal.paint(tone, &status)).into_iter().collect();
    parts.extend(known("version").map(|version| format!("execd {version}")));
    let uptime = fields::number(body, "uptime_ms").map(|ms| if ms < 1000 { ms } else { ms / 1000 * 1000 });
    parts.extend(uptime.map(|ms| format!("up {}", Some(ms).show(units::format_duration_ms))));
    parts.extend(known("init_mode"));
    let running = body.get("executions").and_then(|counts| fields::number(counts, "running"));
    parts.extend(running.map(|count| format!("{count} running")));
    parts.push(url.to_owned());
    parts.join("  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::Target;
    use crate::cli::fixture;
    use crate::config::settings::TokenSource;
    use std::time::Duration;

    fn asked(url: String) -> Asked<()> {
        let timeout = Duration::from_millis(500);
        let target = Target { url: Some(url), token: TokenSource::None, listen: None, state_dirs: Vec::new(), timeout };
        Asked { target, json: false, what: () }
    }

    fn code_of(answer: Vec<u8>) -> u8 {
        let address = fixture::serve(vec![("GET /health", answer)]);
        run(&asked(format!("http://{address}")), Terminal::PLAIN).unwrap_or_else(|error| error.code())
    }

    #[test]
    fn exit_codes_tell_the_three_cases() {
        assert_eq!(code_of(fixture::json(r#"{"status":"healthy"}"#)), 0);
        assert_eq!(code_of(fixture::json(r#"{"status":"degraded"}"#)), 0);
        let broken = fixture::response("503 Service Unavailable", "application/json", r#"{"status":"unhealthy"}"#);
        assert_eq!(code_of(broken), 1);
        assert_eq!(code_of(fixture::response("401 Unauthorized", "application/json", "{}")), 1);
        assert_eq!(code_of(b"SSH-2.0\r\n".to_vec()), 2);
        let closed = run(&asked("http://127.0.0.1:1".to_owned()), Terminal::PLAIN);
        assert_eq!(closed.map_err(|error| error.code()), Err(2));
    }

    #[test]
    fn one_line_leaves_out_what_is_unknown() {
        let full = json!({"status": "healthy", "version": "0.1.0", "uptime_ms": 182_345, "init_mode": "pid1",
                          "executions": {"running": 2}});
        let text = line("http://h", &full, Terminal::PLAIN);
        assert_eq!(text, "healthy  execd 0.1.0  up 3m2s  pid1  2 running  http://h\n");
        assert_eq!(line("http://h", &json!({"status": "degraded"}), Terminal::PLAIN), "degraded  http://h\n");
    }
}
