//! Errors on the wire: RFC 9457 `application/problem+json` that also carries OpenSandbox's `code` and `message`.
//!
//! A handler returns a [`Problem`]; the service adds `instance` and renders it, so that no handler needs the request's path.

use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Map, Value};

/// What went wrong, by name. OpenSandbox's names where one fits, else ours; a name never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// not JSON, or JSON of the wrong shape (OpenSandbox's)
    InvalidRequestBody,
    /// a query parameter that must be there is not (OpenSandbox's)
    MissingQuery,
    /// the daemon itself failed (OpenSandbox's)
    RuntimeError,
    /// this surface is not built (OpenSandbox's)
    NotSupported,
    /// the request line or a header is not what HTTP asks for
    BadRequest,
    /// the token is missing or wrong
    Unauthorized,
    /// the `Host` is not one of ours
    HostNotAllowed,
    /// a web page of another origin asks
    OriginNotAllowed,
    /// a limit would be looser than its type's
    LimitLoosened,
    /// no such path
    NotFound,
    /// no execution with that id
    ExecutionNotFound,
    /// the path is there, the method is not
    MethodNotAllowed,
    /// none of the forms that `Accept` names
    NotAcceptable,
    /// the execution has ended already
    ExecutionFinished,
    /// the execution's status does not allow this
    WrongStatus,
    /// what the agent type requires cannot be enforced here
    EnforcementUnavailable,
    /// the body is too long
    PayloadTooLarge,
    /// the body took too long to arrive
    RequestTimeout,
    /// the body is not of the content type asked for
    UnsupportedMediaType,
    /// the value is of the right type and wrong all the same
    InvalidValue,
    /// a member or parameter that does not exist
    UnknownMember,
    /// no such agent type
    UnknownAgentType,
    /// as many executions as are allowed already run
    TooManyExecutions,
    /// the execution takes requests more slowly than they come
    TooManyRequests,
    /// as many connections as are allowed already are at work
    TooManyConnections,
    /// the daemon is going down
    ShuttingDown,
}

impl Code {
    /// Every code, for the API document and its test.
    pub const ALL: [Code; 26] = [
        Code::InvalidRequestBody,
        Code::MissingQuery,
        Code::RuntimeError,
        Code::NotSupported,
        Code::BadRequest,
        Code::Unauthorized,
        Code::HostNotAllowed,
        Code::OriginNotAllowed,
        Code::LimitLoosened,
        Code::NotFound,
        Code::ExecutionNotFound,
        Code::MethodNotAllowed,
        Code::NotAcceptable,
        Code::ExecutionFinished,
        Code::WrongStatus,
        Code::EnforcementUnavailable,
        Code::PayloadTooLarge,
        Code::RequestTimeout,
        Code::UnsupportedMediaType,
        Code::InvalidValue,
        Code::UnknownMember,
        Code::UnknownAgentType,
        Code::TooManyExecutions,
        Code::TooManyRequests,
        Code::TooManyConnections,
        Code::ShuttingDown,
    ];

    /// Name on the wire, status, and the title that goes with it.
    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Code::InvalidRequestBody => ("INVALID_REQUEST_BODY", S::BAD_REQUEST, "The request body is malformed"),
            Code::MissingQuery => ("MISSING_QUERY", S::BAD_REQUEST, "A query parameter is missing"),
            Code::RuntimeError => ("RUNTIME_ERROR", S::INTERNAL_SERVER_ERROR, "The daemon failed"),
            Code::NotSupported => ("NOT_SUPPORTED", S::NOT_IMPLEMENTED, "Not supported"),
            Code::BadRequest => ("BAD_REQUEST", S::BAD_REQUEST, "The request is malformed"),
            Code::Unauthorized => ("UNAUTHORIZED", S::UNAUTHORIZED, "An access token is required"),
            Code::HostNotAllowed => ("HOST_NOT_ALLOWED", S::FORBIDDEN, "The host name is not allowed"),
            Code::OriginNotAllowed => ("ORIGIN_NOT_ALLOWED", S::FORBIDDEN, "The origin is not allowed"),
            Code::LimitLoosened => ("LIMIT_LOOSENED", S::FORBIDDEN, "A limit may not be loosened"),
            Code::NotFound => ("NOT_FOUND", S::NOT_FOUND, "Not found"),
            Code::ExecutionNotFound => ("EXECUTION_NOT_FOUND", S::NOT_FOUND, "No such execution"),
            Code::MethodNotAllowed => ("METHOD_NOT_ALLOWED", S::METHOD_NOT_ALLOWED, "Method not allowed"),
            Code::NotAcceptable => ("NOT_ACCEPTABLE", S::NOT_ACCEPTABLE, "No acceptable form"),
            Code::ExecutionFinished => ("EXECUTION_FINISHED", S::CONFLICT, "The execution has ended"),
            Code::WrongStatus => ("WRONG_STATUS", S::CONFLICT, "The execution's status does not allow this"),
            Code::EnforcementUnavailable => {
                ("ENFORCEMENT_UNAVAILABLE", S::CONFLICT, "A required limit cannot be enforced here")
            }
            Code::PayloadTooLarge => ("PAYLOAD_TOO_LARGE", S::PAYLOAD_TOO_LARGE, "The request body is too large"),
            Code::RequestTimeout => ("REQUEST_TIMEOUT", S::REQUEST_TIMEOUT, "The request took too long to arrive"),
            Code::UnsupportedMediaType => {
                ("UNSUPPORTED_MEDIA_TYPE", S::UNSUPPORTED_MEDIA_TYPE, "Unsupported content type")
            }
            Code::InvalidValue => ("INVALID_VALUE", S::UNPROCESSABLE_ENTITY, "A value is not allowed"),
            Code::UnknownMember => ("UNKNOWN_MEMBER", S::UNPROCESSABLE_ENTITY, "A name is not known"),
            Code::UnknownAgentType => ("UNKNOWN_AGENT_TYPE", S::UNPROCESSABLE_ENTITY, "No such agent type"),
            Code::TooManyExecutions => ("TOO_MANY_EXECUTIONS", S::TOO_MANY_REQUESTS, "Too many executions"),
            Code::TooManyRequests => ("TOO_MANY_REQUESTS", S::TOO_MANY_REQUESTS, "Too many requests wait"),
            Code::TooManyConnections => ("TOO_MANY_CONNECTIONS", S::SERVICE_UNAVAILABLE, "Too many connections"),
            Code::ShuttingDown => ("SHUTTING_DOWN", S::SERVICE_UNAVAILABLE, "The daemon is shutting down"),
        }
    }

    /// The name in the member `code`.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }
}

/// An error answer. Small on purpose: it travels in every handler's `Result`.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    detail: String,
    members: Map<String, Value>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// An error with one sentence that says what was wrong and what is allowed.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let header = match code {
            Code::Unauthorized => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Code::TooManyExecutions | Code::TooManyRequests | Code::ShuttingDown => {
                Some((RETRY_AFTER, HeaderValue::from_static("1")))
            }
            _ => None,
        };
        Problem(Box::new(Inner { code, detail: detail.into(), members: Map::new(), header }))
    }

    /// Adds a member, e.g. `field` or `allowed`.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// The path is there, the method is not.
    pub fn method(allowed: &[&str]) -> Self {
        let list = allowed.join(", ");
        let mut problem =
            Problem::new(Code::MethodNotAllowed, format!("this path answers {list}")).with("allowed", allowed.to_vec());
        problem.0.header = HeaderValue::from_str(&list).ok().map(|value| (ALLOW, value));
        problem
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The answer for a request of this path.
    pub fn render(self, path: &str) -> axum::response::Response {
        let body = self.body(path);
        let mut response = Response::new(axum::body::Body::from(body));
        *response.status_mut() = self.0.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.0.header {
            headers.insert(name, value);
        }
        response
    }

    /// The JSON object.
    pub(super) fn body(&self, path: &str) -> String {
        let (name, status, title) = self.0.code.row();
        let mut all = Map::new();
        all.insert("type".into(), format!("urn:execd:problem:{}", name.to_ascii_lowercase()).into());
        all.insert("title".into(), title.into());
        all.insert("status".into(), status.as_u16().into());
        all.insert("detail".into(), self.0.detail.clone().into());
        all.insert("instance".into(), path.into());
        all.insert("code".into(), name.into());
        all.insert("message".into(), self.0.detail.clone().into());
        all.extend(self.0.members.clone());
        Value::Object(all).to_string()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = self.0.code.status();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Code::ALL.iter().map(|c| c.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn a_problem_carries_both_dialects_and_its_members() {
        let problem =
            Problem::new(Code::UnknownMember, "no member \"x\"").with("field", "x").with("allowed", vec!["a"]);
        let body: Value = serde_json::from_str(&problem.body("/v1/executions")).unwrap();
        assert_eq!(body["status"], 422);
        assert_eq!(body["code"], "UNKNOWN_MEMBER");
        assert_eq!(body["message"], body["detail"]);
        assert_eq!(body["instance"], "/v1/executions");
        assert_eq!(body["type"], "urn:execd:problem:unknown_member");
        assert_eq!(body["allowed"][0], "a");
    }

    #[test]
    fn a_wrong_method_says_which_are_right_in_the_allow_header() {
        let response = Problem::method(&["GET", "HEAD"]).render("/health");
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD");
    }
}
