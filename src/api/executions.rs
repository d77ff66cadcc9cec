//! `/v1/executions…`: start, list, look, end, signal, let go, feed. Output has rooms of its own.

use super::body;
use super::call::Call;
use super::json::{Json, Members, invalid};
use super::problem::{Code, Problem};
use super::query::{self, Query};
use super::{Api, start};
use crate::exec::{Execution, ExecutionView, Filter, MAX_PAGE, Refused, Status, Stop, is_valid_id, parse_signal};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Executions on a page unless the request says otherwise.
const PAGE: usize = 100;
/// How long an answer waits for the command to be on its way; a host that is slower answers with an earlier status.
const STARTED_PATIENCE: Duration = Duration::from_secs(2);

/// `POST /v1/executions[?wait=true]`
pub(super) async fn create(call: Call) -> Result<Response, Problem> {
    let query = call.query()?;
    query.only(&["wait"])?;
    let wait = query.flag("wait")?;
    let api = call.api.clone();
    let execution = api.engine.start(start::parse(&body::read(call.into_body()).await?, wait)?)?;
    if wait {
        return body::json(StatusCode::OK, &execution.wait().await);
    }
    // With this answer in hand a client may signal it and write to it.
    let _ = tokio::time::timeout(STARTED_PATIENCE, execution.wait_started()).await;
    let view = execution.view();
    let mut response = body::json(StatusCode::CREATED, &view)?;
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/executions/{}", view.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

#[derive(Serialize)]
struct Page {
    executions: Vec<ExecutionView>,
    next: Option<String>,
}

/// `GET /v1/executions`
pub(super) async fn list(call: Call) -> Result<Response, Problem> {
    let filter = filter(&call.query()?)?;
    let (executions, next) = call.api.engine.list(&filter);
    body::json(StatusCode::OK, &Page { executions: executions.iter().map(|e| e.view()).collect(), next })
}

pub(super) fn filter(query: &Query) -> Result<Filter, Problem> {
    query.only(&["status", "agent_type", "task_id", "limit", "after"])?;
    let limit = query.number("limit", 1..=MAX_PAGE as u64)?.map_or(PAGE, |n| usize::try_from(n).unwrap_or(PAGE));
    let after = query.get("after").map(str::to_owned);
    if let Some(id) = after.as_deref().filter(|id| !is_valid_id(id)) {
        return Err(query::invalid("after", id, "the id of an execution"));
    }
    Ok(Filter {
        status: query.get("status").map_or(Ok(Vec::new()), statuses)?,
        agent_type: query.get("agent_type").map(str::to_owned),
        task_id: query.get("task_id").map(str::to_owned),
        limit,
        after,
    })
}

/// `running,ready`
fn statuses(text: &str) -> Result<Vec<Status>, Problem> {
    let words = || Status::ALL.map(Status::as_str);
    let one = |word: &str| Status::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(word.trim()));
    let wrong = |word: &str| query::invalid("status", word, &words().join(", ")).with("allowed", words().to_vec());
    text.split(',').filter(|w| !w.trim().is_empty()).map(|word| one(word).ok_or_else(|| wrong(word))).collect()
}

/// `GET /v1/executions/{id}`
pub(super) async fn get(call: Call) -> Result<Response, Problem> {
    body::json(StatusCode::OK, &call.execution()?.fresh_view().await)
}

/// `DELETE /v1/executions/{id}`
pub(super) async fn cancel(call: Call) -> Result<Response, Problem> {
    let execution = call.execution()?;
    execution.stop(Stop::Cancelled)?;
    body::json(StatusCode::ACCEPTED, &execution.view())
}

/// `POST /v1/executions/{id}/signal`
pub(super) async fn signal(call: Call) -> Result<Response, Problem> {
    let execution = call.execution()?;
    let mut members = Members::of(Json::parse(&body::read(call.into_body()).await?)?, "", &["signal"])?;
    let name = members.string("signal")?.unwrap_or_default();
    let allowed = "a signal's name or number, e.g. \"SIGINT\"";
    let number = parse_signal(&name).ok_or_else(|| invalid("signal", &format!("{name:?}"), allowed))?;
    execution.signal(number)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/executions/{id}/start`
pub(super) async fn release(call: Call) -> Result<Response, Problem> {
    let execution = call.execution()?;
    execution.release()?;
    body::json(StatusCode::ACCEPTED, &execution.view())
}

/// `PUT /v1/executions/{id}/stdin[?close=true]`: the pipe's own speed is felt by the sender.
pub(super) async fn stdin(call: Call) -> Result<Response, Problem> {
    let query = call.query()?;
    query.only(&["close"])?;
    let close = query.flag("close")?;
    let execution = call.execution()?;
    let mut body = call.into_body();
    while let Some(frame) = body.frame().await {
        let cut = |e| Problem::new(Code::BadRequest, format!("the body broke off: {e}"));
        if let Ok(data) = frame.map_err(cut)?.into_data() {
            execution.write_stdin(&data).await?;
        }
    }
    if close {
        execution.close_stdin();
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Api {
    /// The execution, or 404.
    pub(super) fn execution(&self, id: &str) -> Result<Arc<Execution>, Problem> {
        let unknown = || {
            let shown: String = id.chars().take(64).collect();
            let detail = format!("no execution {shown:?}; finished ones are forgotten when there are many");
            Problem::new(Code::ExecutionNotFound, detail)
        };
        self.engine.get(id).ok_or_else(unknown)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let code = match refused {
            Refused::Ended => Code::ExecutionFinished,
            Refused::Busy => Code::TooManyRequests,
            Refused::NotHeld | Refused::NotRunning | Refused::StdinClosed => Code::WrongStatus,
        };
        Problem::new(code, refused.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_wrong_ones_named() {
        let read = |raw| filter(&Query::parse(Some(raw)).unwrap());
        let good = read("status=running,READY&agent_type=validation&task_id=t&limit=5").unwrap();
        assert_eq!(good.status, [Status::Running, Status::Ready]);
        assert_eq!((good.limit, good.task_id.as_deref()), (5, Some("t")));
        assert_eq!(read("").unwrap().limit, PAGE);
        for (raw, code) in [
            ("status=gone", Code::InvalidValue),
            ("limit=0", Code::InvalidValue),
            ("limit=1001", Code::InvalidValue),
            ("after=../x", Code::InvalidValue),
            ("states=running", Code::UnknownMember),
        ] {
            assert_eq!(read(raw).unwrap_err().code(), code, "{raw}");
        }
    }
}
