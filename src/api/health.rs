//! Probes: whether the daemon lives, is ready, and how it is. From memory: no file is opened, nothing is waited for.

use super::guard::Bearer;
use super::problem::{Code, Problem};
use super::query::Query;
use super::{Api, Shared};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};

/// `GET /livez`: 200 as long as the daemon answers at all.
pub(super) async fn livez(State(api): State<Shared>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    let broken = api.broken();
    let checks = [("daemon", broken.is_none())];
    probe(&checks, "livez", verbose(query.as_deref())?)
}

/// `GET /readyz`: 200 when nothing is in the way of work.
pub(super) async fn readyz(State(api): State<Shared>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    probe(&api.checks(), "readyz", verbose(query.as_deref())?)
}

/// `GET /ping`: OpenSandbox's readiness.
pub(super) async fn ping() -> StatusCode {
    StatusCode::OK
}

/// `GET /health`: the brief form for everybody, the full one for who has the token. `?full=true` asks for the full one or a 401, `?full=false`
/// for the brief one.
pub(super) async fn health(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let query = Query::parse(query.as_deref())?;
    if query.get("verbose").is_some() && query.flag("verbose")? {
        return probe(&api.checks(), "health", true);
    }
    let entitled = api.rules.bearer(&headers) == Bearer::Entitled;
    let full = match query.get("full") {
        None => entitled,
        Some(_) => query.flag("full")?,
    };
    if full && !entitled {
        return Err(Problem::new(Code::Unauthorized, "the full form needs the access token"));
    }
    Ok(json(api.broken().is_none(), api.health(full)))
}

impl Api {
    /// Why the daemon itself is broken, if it is.
    fn broken(&self) -> Option<&'static str> {
        None
    }

    /// Every readiness check by name.
    fn checks(&self) -> Vec<(&'static str, bool)> {
        let mut checks = self.readiness.checks();
        checks.push(("log", !self.telemetry.log.failing()));
        checks
    }

    fn health(&self, full: bool) -> String {
        let checks = self.checks();
        let status = status(self.broken().is_some(), &checks);
        let mut out = String::with_capacity(256);
        let (version, uptime) = (env!("CARGO_PKG_VERSION"), self.telemetry.uptime_ms());
        out.push_str("{\"status\":\"");
        out.push_str(status);
        out.push_str("\",\"version\":\"");
        out.push_str(version);
        out.push_str("\",\"uptime_ms\":");
        out.push_str(&uptime.to_string());
        if full {
            self.push_full(&mut out, &checks);
        }
        out.push('}');
        out
    }

    fn push_full(&self, out: &mut String, checks: &[(&'static str, bool)]) {
        out.push_str(",\"init_mode\":\"");
        out.push_str(self.init_mode);
        out.push_str("\",\"checks\":{");
        for (n, (name, ok)) in checks.iter().enumerate() {
            out.push_str(if n == 0 { "\"" } else { ",\"" });
            out.push_str(name);
            out.push_str(if *ok { "\":\"ok\"" } else { "\":\"failing\"" });
        }
        out.push('}');
    }
}

fn status(broken: bool, checks: &[(&str, bool)]) -> &'static str {
    match (broken, checks.iter().all(|(_, ok)| *ok)) {
        (true, _) => "unhealthy",
        (false, true) => "healthy",
        (false, false) => "degraded",
    }
}

fn verbose(query: Option<&str>) -> Result<bool, Problem> {
    match query {
        None => Ok(false),
        Some(_) => Query::parse(query)?.flag("verbose"),
    }
}

/// `ok`, or in the form of Kubernetes one line per check.
fn probe(checks: &[(&'static str, bool)], name: &str, verbose: bool) -> Result<Response<Body>, Problem> {
    let ok = checks.iter().all(|(_, ok)| *ok);
    let body = if verbose || !ok { lines(checks, name, ok) } else { "ok".to_owned() };
    let mut response = Response::new(Body::from(body));
    if !ok {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    plain(&mut response, "text/plain; charset=utf-8");
    Ok(response)
}

fn lines(checks: &[(&'static str, bool)], name: &str, ok: bool) -> String {
    let mut out = String::new();
    for (check, ok) in checks {
        out.push_str(if *ok { "[+]" } else { "[-]" });
        out.push_str(check);
        out.push_str(if *ok { " ok\n" } else { " failed\n" });
    }
    out + name + if ok { " check passed\n" } else { " check failed\n" }
}

fn json(ok: bool, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    if !ok {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    plain(&mut response, "application/json");
    response
}

fn plain(response: &mut Response<Body>, kind: &'static str) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_is_in_the_form_of_kubernetes() {
        let text = lines(&[("config", true), ("state_dir", false)], "readyz", false);
        assert_eq!(text, "[+]config ok\n[-]state_dir failed\nreadyz check failed\n");
    }

    #[test]
    fn a_failing_check_degrades_and_only_a_broken_daemon_is_unhealthy() {
        assert_eq!(status(false, &[("a", true)]), "healthy");
        assert_eq!(status(false, &[("a", false)]), "degraded");
        assert_eq!(status(true, &[("a", true)]), "unhealthy");
    }
}
