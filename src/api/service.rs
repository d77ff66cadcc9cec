//! From a request to an answer: guard, route, count, log. The only place that knows all of these; it decides nothing about
//! executions or metrics.

use super::Shared;
use super::call::Call;
use super::guard::{self, Access};
use super::memory::Memory;
use super::problem::{Code, Problem};
use super::routes::{Answer as Who, Asked, AtOnce, Found, Handler, Routes};
use crate::telemetry::{LogLevel, Telemetry};
use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_LENGTH,
    HeaderValue, ORIGIN, VARY,
};
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use execd_wire::{Answer, Answers, CatchPanic, Panicked, Running, State};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much of a body that is refused is read and thrown away, so that the client gets to see why.
const DISCARD_MAX: usize = 16 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// everything
    Api,
    /// only `/metrics…`, open to everybody who can connect
    Metrics,
}

/// Answers requests.
pub struct Service {
    pub(super) api: Shared,
    routes: Routes,
    pub(super) memory: Memory,
}

impl Service {
    /// The whole API over this state.
    pub fn new(api: Shared) -> Self {
        let routes = Routes::new();
        let memory = Memory::new(&api, &routes);
        Self { routes, memory, api }
    }

    fn answer(self: &Arc<Self>, request: Request<Incoming>, connection: &Arc<State>, surface: Surface) -> Answer {
        let started = Instant::now();
        let found = self.routes.find(request.method(), request.uri().path());
        let admitted = self.admit(&request, &found, surface);
        if let (Ok(None), Found::Endpoint { answer: Who::Now(answer), .. }) = (&admitted, &found) {
            connection.answered_at_once();
            let response = self.at_once(*answer, &request);
            return Answer::Now(self.finish(response, &Head::of(&request), &found, started));
        }
        let running = connection.begin();
        Answer::Later(Box::pin(self.clone().later(request.map(Body::new), admitted, found, started, running)))
    }

    async fn later(
        self: Arc<Self>,
        request: Request<Body>,
        admitted: Result<Option<Response>, Problem>,
        found: Found,
        started: Instant,
        running: Running,
    ) -> Response {
        let head = head_of(&request);
        let response = match (admitted, &found) {
            (Ok(None), Found::Endpoint { answer: Who::Later(handler), .. }) => self.call(*handler, request).await,
            // Nothing else is admitted without an answer.
            (Ok(None), _) => Ok(not_found().into_response()),
            (Ok(Some(response)), _) => Ok(response),
            (Err(problem), _) => Ok(refuse(problem, request).await),
        };
        let response = self.finish(response, &Head::of(&head), &found, started);
        if http_body::Body::size_hint(response.body()).exact().is_some() {
            return response;
        }
        // A stream: the connection is at work until its end.
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = &running;
                frame
            }))
        })
    }

    /// The last touch of every answer: errors rendered, CORS, counters, log.
    fn finish(
        &self,
        response: Result<Response, Panicked>,
        head: &Head<'_>,
        found: &Found,
        started: Instant,
    ) -> Response {
        let panicked = response.is_err();
        let mut response = response.unwrap_or_else(|Panicked| {
            self.api.telemetry.panics.inc();
            Problem::new(Code::RuntimeError, "the daemon has a bug here; its log says where").into_response()
        });
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            response = problem.render(head.uri.path());
        }
        if let Some(Ok(origin)) = self.api.rules.cors_origin(head.headers).map(HeaderValue::from_str) {
            allow_origin(&mut response, origin);
        }
        let took = started.elapsed();
        self.api.telemetry.http.answered(found.endpoint(), response.status().as_u16(), took);
        access_log(&self.api.telemetry, head, response.status(), took, panicked);
        response
    }

    fn at_once(&self, answer: AtOnce, request: &Request<Incoming>) -> Result<Response, Panicked> {
        let asked = Asked { query: request.uri().query(), headers: request.headers() };
        let response = execd_wire::catch(|| answer(&self.api, &asked).unwrap_or_else(IntoResponse::into_response))?;
        Ok(if request.method() == Method::HEAD { sized(response).map(|_| Body::empty()) } else { response })
    }

    /// Every check before a handler runs. `Some` is an answer that needs no handler.
    fn admit(&self, request: &Request<Incoming>, found: &Found, surface: Surface) -> Result<Option<Response>, Problem> {
        let (rules, headers, uri) = (&self.api.rules, request.headers(), request.uri());
        rules.host(request.version(), uri, headers)?;
        rules.origin(uri, headers)?;
        let access = found.access();
        if surface == Surface::Metrics {
            if access != Access::Metrics {
                return Err(not_found());
            }
        } else if !(is_preflight(request) && rules.cors_origin(headers).is_some()) {
            rules.token(access, rules.bearer(headers))?;
        }
        match found {
            Found::Nothing => Err(not_found()),
            Found::NotBuilt => Err(Problem::new(Code::NotSupported, "this daemon does not serve this path")),
            Found::Path { methods, .. } | Found::Endpoint { methods, .. } if request.method() == Method::OPTIONS => {
                Ok(Some(options(methods)))
            }
            Found::Path { methods, .. } => Err(Problem::method(methods)),
            Found::Endpoint { takes, .. } => guard::body(*takes, headers).map(|()| None),
        }
    }

    async fn call(&self, handler: Handler, request: Request<Body>) -> Result<Response, Panicked> {
        let head = request.method() == Method::HEAD;
        let id = self.routes.id(request.uri().path()).to_owned();
        let call = Call::new(self.api.clone(), id, request);
        let response = CatchPanic::new(handler(call)).await?;
        let response = sized(response.unwrap_or_else(IntoResponse::into_response));
        Ok(if head { response.map(|_| Body::empty()) } else { response })
    }
}

/// A service as the connections of one listener see it.
pub(super) struct OnSurface {
    pub(super) service: Arc<Service>,
    pub(super) surface: Surface,
}

impl Answers for OnSurface {
    fn answer(&self, request: Request<Incoming>, connection: &Arc<State>) -> Answer {
        self.service.answer(request, connection, self.surface)
    }

    fn recall(&self, bytes: &[u8], now: Instant, give: &mut dyn FnMut(&[u8], usize)) {
        if self.surface == Surface::Api {
            self.service.memory.answer(&self.service.api, bytes, now, give);
        }
    }
}

/// What is still to be known of a request when its answer is there.
struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    fn of<T>(request: &'a Request<T>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

/// The head alone, for when the request itself goes to its handler. Only the header that an answer needs is kept.
fn head_of(request: &Request<Body>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    if let Some(origin) = request.headers().get(ORIGIN) {
        head.headers_mut().insert(ORIGIN, origin.clone());
    }
    head
}

/// A refusal; a body that is under way is read first, or the client would see a reset connection instead.
async fn refuse(problem: Problem, request: Request<Body>) -> Response {
    let mut body = request.into_body();
    let mut left = DISCARD_MAX;
    let whole = http_body::Body::is_end_stream(&body);
    let discard = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    if !whole {
        let _ = tokio::time::timeout(DISCARD_TIME, discard).await;
    }
    problem.into_response()
}

/// With its length in its head, where that is known: an answer to HEAD has it without the body.
fn sized(mut response: Response) -> Response {
    if let Some(length) = http_body::Body::size_hint(response.body()).exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    response
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "no such path; GET /openapi.json lists them all")
}

fn is_preflight(request: &Request<Incoming>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn options(methods: &[&str]) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(list) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, list.clone());
        response.headers_mut().insert(ALLOW, list);
    }
    response
}

/// CORS, only ever for a configured origin. Browsers look at the other headers only when the origin is allowed.
fn allow_origin(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    let send = "authorization, content-type, last-event-id, x-execd-access-token";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(send));
    let see = "execd-output-cursor, execd-output-lost, location, retry-after";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(see));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

fn access_log(telemetry: &Telemetry, head: &Head<'_>, status: StatusCode, took: Duration, panicked: bool) {
    let level = if panicked { LogLevel::Error } else { LogLevel::Debug };
    if !telemetry.log.enabled(level) {
        return;
    }
    let outcome = match status.as_u16() {
        _ if panicked => "exception",
        0..400 => "success",
        400..500 => "refused",
        _ => "failed",
    };
    telemetry.log.log(
        level,
        "request",
        &[
            ("method", head.method.as_str().into()),
            ("path", head.uri.path().into()),
            ("status", status.as_u16().into()),
            ("duration", ((took.as_secs_f64() * 1e6).round() / 1e3).into()),
            ("outcome", outcome.into()),
        ],
    );
}

impl Found {
    fn access(&self) -> Access {
        match self {
            // Who may not ask learns nothing about which paths there are.
            Found::Nothing | Found::NotBuilt => Access::Guarded,
            Found::Path { access, .. } | Found::Endpoint { access, .. } => *access,
        }
    }

    fn endpoint(&self) -> Option<usize> {
        match self {
            Found::Nothing | Found::NotBuilt | Found::Path { .. } => None,
            Found::Endpoint { number, .. } => Some(*number),
        }
    }
}
