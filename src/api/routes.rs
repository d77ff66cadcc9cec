//! The route table. What is not here does not exist; what OpenSandbox has and we have not yet answers 501.
//!
//! ```text
//! GET    /livez /readyz /ping /health           from memory; open but for /ping and the full form of /health
//! GET    /metrics /metrics/prometheus           JSON, Prometheus text or OpenMetrics
//! GET    /metrics/watch                         the JSON again and again, as server-sent events
//! POST   /v1/executions[?wait=true]             start one                     GET   list them, page by page
//! GET    /v1/executions/{id}                    look at one                   DELETE   cancel it
//! POST   /v1/executions/{id}/signal             send a signal
//! POST   /v1/executions/{id}/start              let a held one go
//! PUT    /v1/executions/{id}/stdin              feed it
//! GET    /v1/executions/{id}/output             captured bytes, from a cursor, tail or followed
//! GET    /v1/executions/{id}/logs               the same as JSON or server-sent events
//! GET    /v1/agent-types /v1/stats /v1/alerts /v1/enforcement
//! GET    /v1/events                             every change of every execution, as server-sent events
//! GET    /openapi.json                          this table as an OpenAPI 3.1 document
//! ```

use super::call::{Call, Pending};
use super::guard::{Access, Takes};
use super::problem::Problem;
use super::{Api, events, executions, facts, health, logs, metrics, openapi, output, watch};
use crate::telemetry::http::Endpoint;
use Answer::{Later, Now};
use axum::http::{HeaderMap, Method};
use axum::response::Response;

/// One path.
pub(super) struct Route {
    /// Template, e.g. `/v1/executions/{id}`.
    pub path: &'static str,
    /// What it answers to, in the order of the `Allow` header.
    pub methods: &'static [&'static str],
    /// Who may ask.
    pub access: Access,
    /// What its body may be.
    pub takes: Takes,
    /// Who answers.
    answer: Answer,
}

/// Who answers a route.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// From memory, without waiting and without a body: called directly, for GET and HEAD. Probes are most of a daemon's
    /// requests, and the way through a task would cost more than the answer.
    Now(AtOnce),
    /// A handler that may wait, for all methods of its path.
    Later(Handler),
}

/// An answer that is there at once.
pub(super) type AtOnce = fn(&Api, &Asked<'_>) -> Result<Response, Problem>;

/// A handler that may wait.
pub(super) type Handler = fn(Call) -> Pending;

/// What an answer from memory may look at.
pub(super) struct Asked<'a> {
    /// The query string.
    pub(super) query: Option<&'a str>,
    /// The headers.
    pub(super) headers: &'a HeaderMap,
}

const READ: &[&str] = &["GET", "HEAD"];

#[rustfmt::skip]
const TABLE: &[Route] = &[
    Route { path: "/livez", methods: READ, access: Access::Open, takes: Takes::Nothing, answer: Now(health::livez) },
    Route { path: "/readyz", methods: READ, access: Access::Open, takes: Takes::Nothing, answer: Now(health::readyz) },
    Route { path: "/health", methods: READ, access: Access::Open, takes: Takes::Nothing, answer: Now(health::health) },
    Route { path: "/ping", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Now(health::ping) },
    Route { path: "/metrics", methods: READ, access: Access::Metrics, takes: Takes::Nothing, answer: Later(|call| Box::pin(metrics::metrics(call))) },
    Route { path: "/metrics/prometheus", methods: READ, access: Access::Metrics, takes: Takes::Nothing, answer: Later(|call| Box::pin(metrics::prometheus(call))) },
    Route { path: "/metrics/watch", methods: READ, access: Access::Metrics, takes: Takes::Nothing, answer: Later(|call| Box::pin(watch::watch(call))) },
    Route { path: "/v1/executions", methods: &["GET", "HEAD", "POST"], access: Access::Guarded, takes: Takes::Json, answer: Later(executions) },
    Route { path: "/v1/executions/{id}", methods: &["GET", "HEAD", "DELETE"], access: Access::Guarded, takes: Takes::Nothing, answer: Later(execution) },
    Route { path: "/v1/executions/{id}/signal", methods: &["POST"], access: Access::Guarded, takes: Takes::Json, answer: Later(|call| Box::pin(executions::signal(call))) },
    Route { path: "/v1/executions/{id}/start", methods: &["POST"], access: Access::Guarded, takes: Takes::Nothing, answer: Later(|call| Box::pin(executions::release(call))) },
    Route { path: "/v1/executions/{id}/stdin", methods: &["PUT"], access: Access::Guarded, takes: Takes::Raw, answer: Later(|call| Box::pin(executions::stdin(call))) },
    Route { path: "/v1/executions/{id}/output", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Later(|call| Box::pin(output::output(call))) },
    Route { path: "/v1/executions/{id}/logs", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Later(|call| Box::pin(logs::logs(call))) },
    Route { path: "/v1/agent-types", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Now(facts::agent_types) },
    Route { path: "/v1/stats", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Now(facts::stats) },
    Route { path: "/v1/alerts", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Now(facts::alerts) },
    Route { path: "/v1/enforcement", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Now(facts::enforcement) },
    Route { path: "/v1/events", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Later(|call| Box::pin(events::events(call))) },
    Route { path: "/openapi.json", methods: READ, access: Access::Guarded, takes: Takes::Nothing, answer: Now(openapi::document) },
];

/// Surfaces that others know and this daemon does not have: OpenSandbox's, and the sweeper's.
const NOT_BUILT: &[&str] = &[
    "/command",
    "/session",
    "/files",
    "/directories",
    "/code",
    "/pty",
    "/proxy",
    "/v1/isolated",
    "/v1/filesystem",
    "/v1/cleanup",
];

/// What a path and a method lead to.
#[derive(Clone, Copy)]
pub(super) enum Found {
    /// no such path
    Nothing,
    /// known, not built
    NotBuilt,
    /// the path, but not this method
    Path {
        /// the methods that it answers
        methods: &'static [&'static str],
        /// who may ask
        access: Access,
    },
    /// both
    Endpoint {
        /// its place in [`endpoints`]
        number: usize,
        /// the methods of its path
        methods: &'static [&'static str],
        /// who may ask
        access: Access,
        /// what its body may be
        takes: Takes,
        /// who answers
        answer: Answer,
    },
}

/// Finds routes by path.
pub(super) struct Routes {
    paths: matchit::Router<(usize, &'static Route)>,
}

impl Routes {
    /// The table, ready to be asked.
    pub(super) fn new() -> Self {
        let mut paths = matchit::Router::new();
        let mut first = 0;
        for route in TABLE {
            // A conflict would be a fault of the table, which a test looks for.
            let _ = paths.insert(route.path, (first, route));
            first += route.methods.len();
        }
        Self { paths }
    }

    /// What a request leads to.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found {
        let Ok(found) = self.paths.at(path) else {
            return if not_built(path) { Found::NotBuilt } else { Found::Nothing };
        };
        let (first, route) = *found.value;
        let (methods, access, takes) = (route.methods, route.access, route.takes);
        match methods.iter().position(|m| *m == method.as_str()) {
            Some(place) => Found::Endpoint { number: first + place, methods, access, takes, answer: route.answer },
            None => Found::Path { methods, access },
        }
    }

    /// The `{id}` in a path, as it is written there; empty where there is none.
    pub(super) fn id<'p>(&self, path: &'p str) -> &'p str {
        self.paths.at(path).ok().and_then(|found| found.params.get("id")).unwrap_or_default()
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

/// Every path and method, numbered by place; these are the labels of the HTTP metrics.
pub fn endpoints() -> impl Iterator<Item = Endpoint> {
    TABLE.iter().flat_map(|r| r.methods.iter().map(|method| Endpoint { route: r.path, method }))
}

fn executions(call: Call) -> Pending {
    if call.method() == Method::POST { Box::pin(executions::create(call)) } else { Box::pin(executions::list(call)) }
}

fn execution(call: Call) -> Pending {
    if call.method() == Method::DELETE { Box::pin(executions::cancel(call)) } else { Box::pin(executions::get(call)) }
}

fn not_built(path: &str) -> bool {
    NOT_BUILT.iter().any(|p| path.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_under_its_own_number() {
        let routes = Routes::new();
        for (n, endpoint) in endpoints().enumerate() {
            let method = endpoint.method.parse().unwrap();
            let path = endpoint.route.replace("{id}", "x");
            match routes.find(&method, &path) {
                Found::Endpoint { number, .. } => assert_eq!(number, n, "{endpoint:?}"),
                _ => panic!("{endpoint:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let routes = Routes::new();
        for (path, expected) in [
            ("/nothing", Found::Nothing),
            ("/commander", Found::Nothing),
            ("/command", Found::NotBuilt),
            ("/files/info", Found::NotBuilt),
            ("/v1/isolated/x", Found::NotBuilt),
            ("", Found::Nothing),
            ("*", Found::Nothing),
        ] {
            let found = routes.find(&Method::GET, path);
            assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&expected), "{path}");
        }
        let wrong = routes.find(&Method::DELETE, "/health");
        assert!(matches!(wrong, Found::Path { methods: ["GET", "HEAD"], access: Access::Open }));
    }
}
