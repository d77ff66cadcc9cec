//! `GET /openapi.json`: the API document. It is written by people in `proto/openapi.yaml`; `make openapi` makes the JSON from it, and
//! tests keep document, JSON and route table in step.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};

const DOCUMENT: &str = include_str!("../../proto/openapi.json");

/// The handler.
pub(super) async fn document() -> Response<Body> {
    let mut response = Response::new(Body::from(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
