//! Counters of HTTP requests. The routes come as a fixed list from the router; a code that is not in the list counts as 0.

use super::counters::{Counter, Histogram};
use super::exposition::{Exposition, Family, Kind};
use std::time::Duration;

const CODES: [u16; 28] = [
    0, 200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 411, 413, 414, 415, 416, 422, 429, 431,
    500, 501, 502, 503, 504,
];
const DURATIONS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

const REQUESTS: Family = Family {
    name: "execd_http_requests",
    kind: Kind::Counter,
    unit: "",
    help: "HTTP requests answered, by route template, method and status code.",
};
const DURATION: Family = Family {
    name: "execd_http_request_duration_seconds",
    kind: Kind::Histogram,
    unit: "seconds",
    help: "Time from the request's head to the response's head, by route template.",
};

/// One route and method; its place in the list is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Template, e.g. `/v1/executions/{id}`.
    pub route: &'static str,
    /// Method in capitals.
    pub method: &'static str,
}

struct PerEndpoint {
    endpoint: Endpoint,
    codes: [Counter; CODES.len()],
    duration: Histogram,
}

/// All counters of requests.
pub struct HttpCounters {
    endpoints: Vec<PerEndpoint>,
}

impl HttpCounters {
    /// Counters for the router's endpoints; what matches none of them counts as route `other`.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let other = Endpoint { route: "other", method: "other" };
        let endpoints = endpoints
            .into_iter()
            .chain([other])
            .map(|endpoint| PerEndpoint {
                endpoint,
                codes: std::array::from_fn(|_| Counter::default()),
                duration: Histogram::new(DURATIONS),
            })
            .collect();
        Self { endpoints }
    }

    /// Counts one answer; `None` or a number beyond the list is route `other`.
    pub fn answered(&self, endpoint: Option<usize>, code: u16, took: Duration) {
        let last = self.endpoints.len() - 1;
        let counters = &self.endpoints[endpoint.unwrap_or(last).min(last)];
        let slot = CODES.iter().position(|c| *c == code).unwrap_or(0);
        counters.codes[slot].inc();
        counters.duration.observe(took);
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        out.family(&REQUESTS);
        for e in &self.endpoints {
            for (code, count) in CODES.iter().zip(&e.codes).filter(|(_, count)| count.get() > 0) {
                let labels = [("route", e.endpoint.route), ("method", e.endpoint.method), ("code", &code.to_string())];
                out.counter(&REQUESTS, &labels, count.get());
            }
        }
        out.family(&DURATION);
        for e in self.endpoints.iter().filter(|e| e.duration.observations() > 0) {
            let (bounds, buckets, sum) = e.duration.read();
            let labels = [("route", e.endpoint.route), ("method", e.endpoint.method)];
            out.histogram(&DURATION, &labels, bounds, &buckets, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Form;
    use super::*;

    #[test]
    fn a_request_is_counted_by_template_method_and_code() {
        let counters = HttpCounters::new([Endpoint { route: "/a/{id}", method: "GET" }]);
        counters.answered(Some(0), 404, Duration::from_micros(120));
        counters.answered(None, 404, Duration::from_micros(1));
        counters.answered(Some(99), 299, Duration::from_micros(1));
        let mut out = Exposition::new(Form::Text);
        counters.render(&mut out);
        let text = out.finish();
        assert!(text.contains("execd_http_requests_total{route=\"/a/{id}\",method=\"GET\",code=\"404\"} 1\n"));
        assert!(text.contains("execd_http_requests_total{route=\"other\",method=\"other\",code=\"404\"} 1\n"));
        assert!(text.contains("execd_http_requests_total{route=\"other\",method=\"other\",code=\"0\"} 1\n"));
        assert!(text.contains(
            "execd_http_request_duration_seconds_bucket{route=\"/a/{id}\",method=\"GET\",le=\"0.00025\"} 1\n"
        ));
    }
}
