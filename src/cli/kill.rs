//! `execd kill`: cancel executions, or send them a signal.

use super::client::{Client, ClientError, encode};
use super::command::{Asked, Kill};
use super::fields;
use super::session;
use super::tasks::{self, REFUSED, TaskError};
use super::terminal;
use serde_json::{Value, json};

/// Does it to each id in turn. 1 when the daemon refused any of them; the others are done all the same.
pub(super) fn run(asked: &Asked<Kill>) -> Result<u8, TaskError> {
    let client = session::open(&asked.target)?;
    let mut code = 0;
    let mut done = Vec::new();
    for id in &asked.what.ids {
        match one(&client, id, asked.what.signal.as_deref()) {
            Ok(()) => done.push(id),
            Err(error @ ClientError::Refused { .. }) => {
                terminal::complain(&format!("execd: {}: {error}", fields::printable(id)));
                code = REFUSED;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let what = asked.what.signal.as_deref().unwrap_or("cancelled");
    if asked.json {
        tasks::print_json(&json!({"done": done, "what": what}))?;
    } else {
        let lines: String = done.iter().map(|id| format!("{}  {what}\n", fields::printable(id))).collect();
        tasks::print(&lines)?;
    }
    Ok(code)
}

fn one(client: &Client, id: &str, signal: Option<&str>) -> Result<(), ClientError> {
    let path = format!("/v1/executions/{}", encode(id));
    match signal {
        None => client.json("DELETE", &path, None).map(drop),
        Some(signal) => {
            let body: Value = json!({"signal": signal});
            client.json("POST", &format!("{path}/signal"), Some(&body)).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;
    use std::time::Duration;

    #[test]
    fn cancel_and_signal_use_their_own_routes() {
        let (address, seen) = fixture::serve_seen(vec![
            ("DELETE /v1/executions/a%2Fb ", fixture::json("{}")),
            ("POST /v1/executions/x/signal ", fixture::response("204 No Content", "", "")),
        ]);
        let client = Client::at(address, None, Duration::from_secs(2));
        assert!(one(&client, "a/b", None).is_ok());
        assert!(one(&client, "x", Some("SIGINT")).is_ok());
        let refused = one(&client, "unknown", None).expect_err("404");
        assert_eq!(refused.to_string(), "execd answered 404: no such thing");
        let requests = seen.lock().expect("not poisoned");
        assert!(
            requests[1].contains("content-type: application/json") && requests[1].ends_with(r#"{"signal":"SIGINT"}"#)
        );
    }
}
