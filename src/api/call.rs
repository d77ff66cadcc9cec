//! A request on its way to a handler that may wait, with what handlers read of it.

use super::Shared;
use super::problem::Problem;
use super::query::{self, Query};
use crate::exec::Execution;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use axum::response::Response;
use std::pin::Pin;
use std::sync::Arc;

/// An answer on its way. Boxed: with one type for all of them a handler costs little but itself.
pub(super) type Pending = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// One request.
pub(super) struct Call {
    /// What every handler shares.
    pub(super) api: Shared,
    /// The `{id}` of its path, as it was written there; empty for paths without one.
    id: String,
    request: Request<Body>,
}

impl Call {
    pub(super) fn new(api: Shared, id: String, request: Request<Body>) -> Self {
        Self { api, id, request }
    }

    pub(super) fn method(&self) -> &Method {
        self.request.method()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Its query string.
    ///
    /// # Errors
    /// As [`Query::parse`].
    pub(super) fn query(&self) -> Result<Query, Problem> {
        Query::parse(self.request.uri().query())
    }

    /// The execution that its path names.
    ///
    /// # Errors
    /// 404 as [`super::Api::execution`].
    pub(super) fn execution(&self) -> Result<Arc<Execution>, Problem> {
        let plain = query::unescape(&self.id).and_then(|id| String::from_utf8(id).ok());
        self.api.execution(plain.as_ref().unwrap_or(&self.id))
    }

    /// Where a stream of events broke off for this client.
    pub(super) fn last_event_id(&self) -> Option<u64> {
        self.headers().get("last-event-id").and_then(|v| v.to_str().ok()?.parse().ok())
    }

    pub(super) fn into_body(self) -> Body {
        self.request.into_body()
    }
}
