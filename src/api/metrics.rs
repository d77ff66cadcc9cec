//! `GET /metrics`: the container's figures as JSON, or those and the daemon's counters for Prometheus.

use super::Api;
use super::call::Call;
use super::negotiate::{self, Offer};
use super::problem::{Code, Problem};
use crate::sample::Snapshot;
use crate::telemetry::exposition::Form;
use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use axum::http::{HeaderMap, Response};
use std::time::Duration;

const JSON: Offer = ("application", "json");
const TEXT: Offer = ("text", "plain");
const OPEN_METRICS: Offer = ("application", "openmetrics-text");

/// What the answer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Prometheus(Form),
}

/// `GET /metrics`
pub(super) async fn metrics(call: Call) -> Result<Response<Body>, Problem> {
    let asked = call.query()?.word("format", &["json", "prometheus", "openmetrics"])?;
    let format = format(asked, accept(call.headers())).ok_or_else(not_acceptable)?;
    render(&call.api, format).await
}

/// `GET /metrics/prometheus`: one of Prometheus' two forms whatever else is accepted.
pub(super) async fn prometheus(call: Call) -> Result<Response<Body>, Problem> {
    let form = match negotiate::choose(accept(call.headers()), &[TEXT, OPEN_METRICS]) {
        Some(1) => Form::OpenMetrics,
        _ => Form::Text,
    };
    render(&call.api, Format::Prometheus(form)).await
}

fn format(asked: Option<&str>, accept: Option<&str>) -> Option<Format> {
    let number = match asked {
        Some("json") => 0,
        Some("prometheus") => 1,
        Some("openmetrics") => 2,
        _ => negotiate::choose(accept, &[JSON, TEXT, OPEN_METRICS])?,
    };
    Some([Format::Json, Format::Prometheus(Form::Text), Format::Prometheus(Form::OpenMetrics)][number])
}

fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(ACCEPT).and_then(|v| v.to_str().ok())
}

fn not_acceptable() -> Problem {
    let forms = vec!["application/json", "text/plain", "application/openmetrics-text"];
    Problem::new(Code::NotAcceptable, "metrics come as JSON, Prometheus text or OpenMetrics").with("allowed", forms)
}

/// A rate needs a window: whoever asks in the daemon's first moments waits for one instead of getting a null that typed clients refuse.
const FIRST_WINDOW: Duration = Duration::from_millis(100);

async fn look(api: &Api) -> Snapshot {
    let snapshot = api.look();
    let uptime = Duration::from_millis(api.telemetry.uptime_ms());
    if snapshot.cpu_used_pct.is_some() || uptime > FIRST_WINDOW * 2 {
        return snapshot;
    }
    tokio::time::sleep(FIRST_WINDOW).await;
    api.look()
}

async fn render(api: &Api, format: Format) -> Result<Response<Body>, Problem> {
    let snapshot = look(api).await;
    let (kind, body) = match format {
        Format::Json => {
            let failed = |e| Problem::new(Code::RuntimeError, format!("the figures cannot be written as JSON: {e}"));
            ("application/json", serde_json::to_vec(&snapshot).map_err(failed)?)
        }
        Format::Prometheus(form) => (form.content_type(), api.telemetry.render(form, Some(&snapshot)).into_bytes()),
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_wins_over_the_header() {
        let text = Some(Format::Prometheus(Form::Text));
        let open = Some(Format::Prometheus(Form::OpenMetrics));
        for (asked, accept, expected) in [
            (None, None, Some(Format::Json)),
            (None, Some("*/*"), Some(Format::Json)),
            (None, Some("text/plain"), text),
            (None, Some("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"), open),
            (None, Some("image/png"), None),
            (Some("json"), Some("text/plain"), Some(Format::Json)),
            (Some("prometheus"), None, text),
            (Some("openmetrics"), Some("image/png"), open),
        ] {
            assert_eq!(format(asked, accept), expected, "{asked:?} {accept:?}");
        }
    }
}
