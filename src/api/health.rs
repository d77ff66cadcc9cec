//! Probes: whether the daemon lives, is ready, and how it is. From memory: no file is opened, nothing is waited for.

use super::Api;
use super::facts::{Counts, EnforcementBody};
use super::guard::Bearer;
use super::problem::{Code, Problem};
use super::query::Query;
use super::routes::Asked;
use crate::exec::Engine;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// The readiness check that says whether executions can be started at all.
pub const ZYGOTE: &str = "zygote";

/// `GET /livez`: 200 as long as the daemon answers at all.
pub(super) fn livez(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    probe(&[(ZYGOTE, !api.is_broken())], &[], "livez", verbose(asked.query)?)
}

/// `GET /readyz`: 503 while starting or draining.
pub(super) fn readyz(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    probe(&api.readiness.checks(), &api.soft_checks(), "readyz", verbose(asked.query)?)
}

/// `GET /ping`: OpenSandbox's readiness.
pub(super) fn ping(_: &Api, _: &Asked<'_>) -> Result<Response<Body>, Problem> {
    Ok(Response::new(Body::empty()))
}

/// `GET /health`: the brief form for everybody, the full one for who has the token. `?full=true` asks for the full one or a 401, `?full=false`
/// for the brief one.
pub(super) fn health(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    let query = Query::parse(asked.query)?;
    if query.get("verbose").is_some() && query.flag("verbose")? {
        return probe(&[], &api.all_checks(), "health", true);
    }
    let entitled = api.rules.bearer(asked.headers) == Bearer::Entitled;
    let full = match query.get("full") {
        None => entitled,
        Some(_) => query.flag("full")?,
    };
    if full && !entitled {
        return Err(Problem::new(Code::Unauthorized, "the full form needs the access token"));
    }
    let mut response = json(api.health_body(full));
    if api.is_broken() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// What was written already: load balancers and probes may ask thousands of times a second.
pub(super) struct Cache {
    /// Does not change while the daemon lives.
    enforcement: String,
    /// The body, brief and full.
    bodies: [Mutex<Option<Written>>; 2],
}

/// Everything that an answer of this room depends on, beside the time and who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    events: u64,
    readiness: u64,
    soft: [bool; 2],
    panics: u64,
}

/// A body before and after the uptime, with what it was written from.
struct Written {
    from: Facts,
    before: String,
    after: String,
}

impl Cache {
    pub(super) fn new(engine: &Engine) -> Self {
        let body = EnforcementBody::of(engine);
        let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "null".to_owned());
        let rows = engine.protection();
        let mut protection = serde_json::Map::new();
        for row in &rows {
            protection.insert(row.name.to_owned(), serde_json::json!(row));
        }
        let enforcement = format!(
            ",\"enforcement\":{},\"protection\":{},\"containment\":{},\"notes\":{}",
            json(serde_json::to_string(&body.enforcement)),
            json(serde_json::to_string(&protection)),
            json(serde_json::to_string(&body.containment)),
            json(serde_json::to_string(&body.notes)),
        );
        Self { enforcement, bodies: Default::default() }
    }
}

impl Api {
    /// The daemon itself cannot do its work any more: without a zygote nothing can be started, and only a restart brings one back.
    fn is_broken(&self) -> bool {
        self.readiness.fails(ZYGOTE)
    }

    /// What makes the daemon weaker, not unready: it goes on and counts what it drops.
    pub(super) fn soft_checks(&self) -> [(&'static str, bool); 2] {
        [("log", !self.telemetry.log.failing()), ("state_dir", !self.engine.journal().is_failing())]
    }

    fn all_checks(&self) -> Vec<(&'static str, bool)> {
        let mut checks = self.readiness.checks();
        checks.extend(self.soft_checks());
        checks
    }

    /// What an answer that is written now depends on.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            events: self.engine.events().changes(),
            readiness: self.readiness.changes(),
            soft: self.soft_checks().map(|(_, ok)| ok),
            panics: self.telemetry.panics.get(),
        }
    }

    /// The body of this millisecond.
    fn health_body(&self, full: bool) -> Bytes {
        let facts = self.facts();
        let mut kept = self.health.bodies[usize::from(full)].lock().unwrap_or_else(PoisonError::into_inner);
        let written = kept.take().filter(|written| written.from == facts).unwrap_or_else(|| self.write(full, facts));
        let body = format!("{}{}{}", written.before, self.telemetry.uptime_ms(), written.after);
        *kept = Some(written);
        body.into()
    }

    fn write(&self, full: bool, from: Facts) -> Written {
        let checks = self.all_checks();
        let status = match (self.is_broken(), checks.iter().all(|(_, ok)| *ok)) {
            (true, _) => "unhealthy",
            (false, true) => "healthy",
            (false, false) => "degraded",
        };
        let version = env!("CARGO_PKG_VERSION");
        let before = format!("{{\"status\":\"{status}\",\"version\":\"{version}\",\"uptime_ms\":");
        let mut after = if full { self.full(&checks) } else { String::new() };
        after.push('}');
        Written { from, before, after }
    }

    fn full(&self, checks: &[(&'static str, bool)]) -> String {
        let counts = Counts::of(&self.engine);
        // Neither counts nor alerts hold anything that JSON cannot.
        let executions = serde_json::to_string(&counts).unwrap_or_default();
        let alerts = serde_json::to_string(&self.alerts(&counts)).unwrap_or_default();
        let checks = checks.iter().map(|(name, ok)| format!("\"{name}\":\"{}\"", if *ok { "ok" } else { "failing" }));
        let checks = checks.collect::<Vec<_>>().join(",");
        let (mode, enforcement) = (self.init_mode, &self.health.enforcement);
        format!(
            ",\"init_mode\":\"{mode}\",\"executions\":{executions}{enforcement},\"checks\":{{{checks}}},\"alerts\":{alerts}"
        )
    }
}

fn verbose(query: Option<&str>) -> Result<bool, Problem> {
    match query {
        None => Ok(false),
        Some(_) => Query::parse(query)?.flag("verbose"),
    }
}

/// `ok`, or in the form of Kubernetes one line per check. Soft checks are shown and decide nothing.
fn probe(
    hard: &[(&'static str, bool)],
    soft: &[(&'static str, bool)],
    name: &str,
    verbose: bool,
) -> Result<Response<Body>, Problem> {
    let ok = hard.iter().all(|(_, ok)| *ok);
    let body = if verbose || !ok { Body::from(lines(hard, soft, name)) } else { Body::from("ok") };
    let mut response = Response::new(body);
    if !ok {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    plain(&mut response, "text/plain; charset=utf-8");
    Ok(response)
}

fn lines(hard: &[(&'static str, bool)], soft: &[(&'static str, bool)], name: &str) -> String {
    let mut out = String::new();
    let rows = hard.iter().map(|row| (row, " failed")).chain(soft.iter().map(|row| (row, " failing, goes on without")));
    for ((check, ok), wrong) in rows {
        let (mark, end) = if *ok { ("[+]", " ok") } else { ("[-]", wrong) };
        let _ = writeln!(out, "{mark}{check}{end}");
    }
    let ok = hard.iter().all(|(_, ok)| *ok);
    out + name + if ok { " check passed\n" } else { " check failed\n" }
}

fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
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
        let text = lines(&[("config", true), ("serving", false)], &[("log", false)], "readyz");
        assert_eq!(text, "[+]config ok\n[-]serving failed\n[-]log failing, goes on without\nreadyz check failed\n");
        let text = lines(&[("config", true)], &[("log", false)], "readyz");
        assert!(text.ends_with("readyz check passed\n"), "{text}");
    }
}
