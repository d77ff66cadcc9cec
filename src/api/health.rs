//! Probes: whether the daemon lives, is ready, and how it is. From memory: no file is opened, nothing is waited for.

use super::Api;
use super::facts::{Counts, EnforcementBody};
use super::guard::Bearer;
use super::problem::{Code, Problem};
use super::query::Query;
use super::routes::Asked;
use crate::exec::Engine;
use crate::limits::protection::Protection;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

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
    executions: Mutex<Executions>,
    /// The whole body, brief and full, with what it was written from.
    bodies: [Mutex<Option<(Written, Bytes)>>; 2],
}

/// Everything that an answer of this room depends on, beside who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    uptime_ms: u64,
    events: u64,
    readiness: u64,
    soft: [bool; 2],
    panics: u64,
}

/// Counts of executions, as JSON too, and the number of events when they were taken.
#[derive(Default)]
struct Executions {
    at: Option<u64>,
    counts: Counts,
    json: String,
}

impl Cache {
    pub(super) fn new(engine: &Engine) -> Self {
        let body = EnforcementBody::of(engine);
        let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "null".to_owned());
        let rows = engine.protection();
        let protection: BTreeMap<&str, &Protection> = rows.iter().map(|row| (row.name, row)).collect();
        let enforcement = format!(
            ",\"enforcement\":{},\"protection\":{},\"containment\":{},\"notes\":{}",
            json(serde_json::to_string(&body.enforcement)),
            json(serde_json::to_string(&protection)),
            json(serde_json::to_string(&body.containment)),
            json(serde_json::to_string(&body.notes)),
        );
        Self { enforcement, executions: Mutex::default(), bodies: Default::default() }
    }

    /// Writes the counts and returns them. They change only with an event.
    fn push_executions(&self, engine: &Engine, out: &mut String) -> Counts {
        let now = engine.events().changes();
        let mut kept = self.executions.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.at != Some(now) {
            let counts = Counts::of(engine);
            // Counts hold nothing that JSON cannot.
            let json = serde_json::to_string(&counts).unwrap_or_default();
            *kept = Executions { at: Some(now), counts, json };
        }
        out.push_str(&kept.json);
        kept.counts
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
    pub(super) fn written(&self, now: Instant) -> Written {
        Written {
            uptime_ms: self.telemetry.uptime_ms_at(now),
            events: self.engine.events().changes(),
            readiness: self.readiness.changes(),
            soft: self.soft_checks().map(|(_, ok)| ok),
            panics: self.telemetry.panics.get(),
        }
    }

    /// The body of this millisecond: the one already written if nothing has changed.
    fn health_body(&self, full: bool) -> Bytes {
        let now = self.written(Instant::now());
        let mut kept = self.health.bodies[usize::from(full)].lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((written, body)) if *written == now => body.clone(),
            _ => {
                let body = Bytes::from(self.health(full, now.uptime_ms));
                *kept = Some((now, body.clone()));
                body
            }
        }
    }

    fn health(&self, full: bool, uptime: u64) -> String {
        let checks = self.all_checks();
        let status = match (self.is_broken(), checks.iter().all(|(_, ok)| *ok)) {
            (true, _) => "unhealthy",
            (false, true) => "healthy",
            (false, false) => "degraded",
        };
        let version = env!("CARGO_PKG_VERSION");
        let mut out = String::with_capacity(if full { 4096 } else { 96 });
        // Writing to a string cannot fail.
        let _ = write!(out, "{{\"status\":\"{status}\",\"version\":\"{version}\",\"uptime_ms\":{uptime}");
        if full {
            self.push_full(&mut out, &checks);
        }
        out.push('}');
        out
    }

    fn push_full(&self, out: &mut String, checks: &[(&'static str, bool)]) {
        let _ = write!(out, ",\"init_mode\":\"{}\",\"executions\":", self.init_mode);
        let counts = self.health.push_executions(&self.engine, out);
        out.push_str(&self.health.enforcement);
        out.push_str(",\"checks\":{");
        for (n, (name, ok)) in checks.iter().enumerate() {
            let mark = if n == 0 { "" } else { "," };
            let _ = write!(out, "{mark}\"{name}\":\"{}\"", if *ok { "ok" } else { "failing" });
        }
        out.push_str("},\"alerts\":");
        out.push_str(&serde_json::to_string(&self.alerts(&counts)).unwrap_or_default());
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
