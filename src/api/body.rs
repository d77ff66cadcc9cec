//! Bodies in and out: bounded in size and time on the way in, JSON on the way out.

use super::guard::{self, BODY_MAX};
use super::problem::{Code, Problem};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Serialize;
use std::time::Duration;

/// A JSON body must be there this long after its head.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a whole body.
///
/// # Errors
/// 413 above 2 MiB, 408 after 30 s, 400 when it breaks off.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    let late = |_| Problem::new(Code::RequestTimeout, "the body was not there after 30 s");
    tokio::time::timeout(PATIENCE, collect(body)).await.map_err(late)?
}

async fn collect(mut body: Body) -> Result<Bytes, Problem> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let cut = |e| Problem::new(Code::BadRequest, format!("the body broke off: {e}"));
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        if (all.len() + data.len()) as u64 > BODY_MAX {
            return Err(guard::too_large());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// A JSON answer.
///
/// # Errors
/// 500 when the value cannot be written as JSON, which no type of ours does.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let failed = |e| Problem::new(Code::RuntimeError, format!("the answer cannot be written as JSON: {e}"));
    let mut response = Response::new(Body::from(serde_json::to_vec(value).map_err(failed)?));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
