//! Finds the daemon that a subcommand talks to.

use super::client::{Client, ClientError};
use super::command::Target;
use super::discover;
use crate::config::resolve;
use crate::config::values::Token;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long one address may take to show that it is ours.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client for the named daemon, or for the first one found that answers.
///
/// # Errors
/// [`ClientError::Url`] for a URL that cannot be used; [`ClientError::NotFound`] with every place that was tried.
pub(super) fn open(target: &Target) -> Result<Client, ClientError> {
    open_in(target, Path::new("/proc"))
}

fn open_in(target: &Target, proc: &Path) -> Result<Client, ClientError> {
    // A token file that only the daemon may read must not stop a health check: open routes need none, others answer 401.
    let token = resolve::token(&target.token).ok().flatten();
    if let Some(url) = &target.url {
        return Client::for_url(url, token, target.timeout);
    }
    let addresses = discover::addresses(target, proc);
    let found = addresses.iter().find(|address| is_daemon(**address, target.timeout));
    let found = found.ok_or_else(|| {
        let tried: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        ClientError::NotFound { tried: tried.join(", ") }
    });
    found.map(|address| client(*address, token, target.timeout))
}

fn client(address: SocketAddr, token: Option<Token>, timeout: Duration) -> Client {
    Client::at(address, token, timeout)
}

/// Ours answers `/health` with an object that has a status; the token is not sent to whoever listens there.
fn is_daemon(address: SocketAddr, timeout: Duration) -> bool {
    let probe = client(address, None, timeout.min(PROBE_TIMEOUT));
    let answer = probe.request("GET", "/health", None).ok();
    let body: Option<serde_json::Value> = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    body.is_some_and(|body| body.get("status").is_some_and(serde_json::Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;
    use crate::config::settings::TokenSource;

    fn target(listen: SocketAddr) -> Target {
        let timeout = Duration::from_secs(2);
        Target { url: None, token: TokenSource::None, listen: Some(listen), state_dirs: Vec::new(), timeout }
    }

    #[test]
    fn a_stranger_on_the_port_is_not_taken_for_the_daemon() {
        let stranger = fixture::serve(vec![("GET /health", fixture::response("200 OK", "text/html", "<p>hello"))]);
        let error = open_in(&target(stranger), Path::new("/nonexistent")).expect_err("not ours");
        assert!(matches!(&error, ClientError::NotFound { tried } if tried.contains(&stranger.to_string())), "{error}");
    }

    #[test]
    fn the_daemon_is_found_where_its_settings_say() {
        let daemon = fixture::serve(vec![("GET /health", fixture::json(r#"{"status":"healthy"}"#))]);
        let client = open_in(&target(daemon), Path::new("/nonexistent")).expect("found");
        assert_eq!(client.url(), format!("http://{daemon}"));
    }
}
