//! Telemetry: log lines and counters of the daemon. Everything here is cheap, bounded and never blocks; nothing here decides.
//!
//! One [`Telemetry`] is built by the composition root and shared; there are no global registries. Who knows HTTP, executions or
//! cgroups counts here, but this room knows none of them.

pub mod clock;
mod container;
pub mod counters;
pub mod executions;
pub mod exposition;
pub mod http;
mod line;
mod log;
mod process;
mod rotate;

pub use crate::config::values::{FileLog, LogLevel};
pub use line::{Field, LINE_MAX};
pub use log::{LogError, Logger};

use crate::sample::Snapshot;
use counters::{Counter, Gauge, PerLabel};
use executions::ExecutionCounters;
use exposition::{Exposition, Family, Form, Kind};
use http::{Endpoint, HttpCounters};
use std::time::Instant;

const BUILD: Family = Family { name: "execd_build", kind: Kind::Info, unit: "", help: "The running build." };
const STREAMS: Family =
    Family { name: "execd_sse_streams", kind: Kind::Gauge, unit: "", help: "Open event streams, by what they carry." };
const DROPPED: Family = Family {
    name: "execd_dropped",
    kind: Kind::Counter,
    unit: "",
    help: "What was dropped because a reader, the disk or a bound did not take it.",
};
const PANICS: Family = Family {
    name: "execd_panics",
    kind: Kind::Counter,
    unit: "",
    help: "Panics caught; each one is a bug worth a report.",
};

/// Kinds of event streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `/metrics/watch`
    Metrics,
    /// `/v1/events`
    Events,
    /// `/v1/executions/{id}/logs?follow=true`
    Logs,
    /// `/v1/executions/{id}/output?follow=true`
    Output,
}

const STREAM_NAMES: [&str; 4] = ["metrics", "events", "logs", "output"];

/// What can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// metrics that a slow watcher did not see
    Metrics,
    /// events that a slow reader of `/v1/events` did not see
    Events,
    /// bytes of output that fell out of their ring before anybody read them
    OutputBytes,
    /// connections turned away because too many were open
    Connections,
    /// records that could not be written to the state directory
    Records,
    /// connections of executions to their egress proxies
    ProxyConnections,
}

const DROPPED_NAMES: [&str; 6] = ["metrics", "events", "output_bytes", "connections", "records", "proxy_connections"];

/// The log and every counter of the daemon.
pub struct Telemetry {
    /// The log.
    pub log: Logger,
    /// Executions.
    pub executions: ExecutionCounters,
    /// Requests.
    pub http: HttpCounters,
    /// Panics caught.
    pub panics: Counter,
    streams: [Gauge; STREAM_NAMES.len()],
    dropped: PerLabel<{ DROPPED_NAMES.len() }>,
    started: Instant,
    started_unix_ms: u64,
}

impl Telemetry {
    /// All at 0, for these agent types and endpoints.
    pub fn new<'a>(
        log: Logger,
        agent_types: impl IntoIterator<Item = &'a str>,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Self {
        Self {
            log,
            executions: ExecutionCounters::new(agent_types),
            http: HttpCounters::new(endpoints),
            panics: Counter::default(),
            streams: Default::default(),
            dropped: PerLabel::new(DROPPED_NAMES),
            started: Instant::now(),
            started_unix_ms: clock::now_unix_ms(),
        }
    }

    /// The gauge of open streams of a kind.
    pub fn stream(&self, kind: Stream) -> &Gauge {
        &self.streams[kind as usize]
    }

    /// The counter of what was dropped.
    pub fn dropped(&self, what: Dropped) -> &Counter {
        self.dropped.at(what as usize)
    }

    /// Milliseconds since the daemon started, by the monotonic clock.
    pub fn uptime_ms(&self) -> u64 {
        self.uptime_ms_at(Instant::now())
    }

    /// The same at another moment.
    pub fn uptime_ms_at(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// When the daemon started, in milliseconds since the epoch.
    pub fn started_unix_ms(&self) -> u64 {
        self.started_unix_ms
    }

    /// The whole exposition, with the container's figures if there are any.
    pub fn render(&self, form: Form, snapshot: Option<&Snapshot>) -> String {
        let mut out = Exposition::new(form);
        out.family(&BUILD);
        out.info(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))]);
        process::render(&mut out, self.started_unix_ms);
        self.executions.render(&mut out);
        self.http.render(&mut out);
        self.render_rest(&mut out);
        if let Some(snapshot) = snapshot {
            container::render(&mut out, snapshot);
        }
        out.finish()
    }

    fn render_rest(&self, out: &mut Exposition) {
        out.family(&STREAMS);
        for (name, gauge) in STREAM_NAMES.iter().zip(&self.streams) {
            #[allow(clippy::cast_precision_loss)]
            out.gauge(&STREAMS, &[("stream", name)], gauge.get() as f64);
        }
        out.family(&DROPPED);
        out.counter(&DROPPED, &[("what", "log_lines")], self.log.dropped());
        for (what, count) in self.dropped.iter() {
            out.counter(&DROPPED, &[("what", what)], count);
        }
        out.family(&PANICS);
        out.counter(&PANICS, &[], self.panics.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_families_are_there_in_both_forms() {
        let telemetry = Telemetry::new(Logger::to_fd(LogLevel::Info, None), ["DEFAULT"], []);
        telemetry.stream(Stream::Metrics).inc();
        for form in [Form::Text, Form::OpenMetrics] {
            let text = telemetry.render(form, None);
            for family in [
                "execd_build_info{version=",
                "process_cpu_seconds_total ",
                "process_resident_memory_bytes ",
                "process_open_fds ",
                "process_start_time_seconds ",
                "execd_executions_started_total{agent_type=\"DEFAULT\"} 0",
                "execd_sse_streams{stream=\"metrics\"} 1",
                "execd_dropped_total{what=\"log_lines\"} 0",
                "execd_panics_total 0",
            ] {
                assert!(text.contains(family), "{family} in {form:?}\n{text}");
            }
        }
    }
}
