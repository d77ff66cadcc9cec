//! Counters of executions, by agent type and outcome. Labels are closed lists: the configured agent types and `other`, limits,
//! mechanisms, reasons. Never an id, a path or a command.

use super::counters::{Counter, Gauge, Histogram, PerLabel};
use super::exposition::{Exposition, Family, Kind};
use crate::limits::{LimitKey, Mechanism};
use std::time::Duration;

/// Every (status, reason) that an execution can end with; the last one catches what is not in this list.
pub const OUTCOMES: [(&str, &str); 15] = [
    ("completed", "exit"),
    ("failed", "exit"),
    ("failed", "signal"),
    ("failed", "start_failed"),
    ("failed", "memory_limit"),
    ("failed", "cpu_time_limit"),
    ("failed", "wall_time_limit"),
    ("failed", "network_limit"),
    ("failed", "process_limit"),
    ("failed", "storage_limit"),
    ("failed", "lost"),
    ("terminated", "cancelled"),
    ("terminated", "cleanup"),
    ("terminated", "shutdown"),
    ("failed", "other"),
];

const MECHANISMS: [(Mechanism, &str); 7] = [
    (Mechanism::Cgroup2, "cgroup2"),
    (Mechanism::Cgroup1, "cgroup1"),
    (Mechanism::Rlimit, "rlimit"),
    (Mechanism::Watchdog, "watchdog"),
    (Mechanism::Seccomp, "seccomp"),
    (Mechanism::Proxy, "proxy"),
    (Mechanism::Timer, "timer"),
];

/// Agent types that get a label of their own; the rest count as `other`.
const TYPES_MAX: usize = 64;

const DURATIONS: &[f64] = &[0.005, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0, 900.0, 3600.0];
const MIB: f64 = 1_048_576.0;
const MEMORY: &[f64] =
    &[4.0 * MIB, 16.0 * MIB, 64.0 * MIB, 128.0 * MIB, 256.0 * MIB, 512.0 * MIB, 1024.0 * MIB, 4096.0 * MIB];
const CPU: &[f64] = &[0.01, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 600.0];

const STARTED: Family = Family {
    name: "execd_executions_started",
    kind: Kind::Counter,
    unit: "",
    help: "Executions created, by agent type.",
};
const FINISHED: Family = Family {
    name: "execd_executions_finished",
    kind: Kind::Counter,
    unit: "",
    help: "Executions that ended, by agent type, status and reason.",
};
const RUNNING: Family = Family {
    name: "execd_executions_running",
    kind: Kind::Gauge,
    unit: "",
    help: "Executions that have not ended, by agent type.",
};
const DURATION: Family = Family {
    name: "execd_execution_duration_seconds",
    kind: Kind::Histogram,
    unit: "seconds",
    help: "Wall time from start to end, by agent type.",
};
const MEMORY_PEAK: Family = Family {
    name: "execd_execution_usage_memory_peak_bytes",
    kind: Kind::Histogram,
    unit: "bytes",
    help: "Peak of unreclaimable memory of an execution, by agent type.",
};
const CPU_USED: Family = Family {
    name: "execd_execution_usage_cpu_seconds",
    kind: Kind::Histogram,
    unit: "seconds",
    help: "User and system CPU time of an execution, by agent type.",
};
const BREACHES: Family = Family {
    name: "execd_limit_breaches",
    kind: Kind::Counter,
    unit: "",
    help: "Executions that a limit ended, by limit and by the mechanism that noticed.",
};
const SOFT_HITS: Family = Family {
    name: "execd_soft_limit_hits",
    kind: Kind::Counter,
    unit: "",
    help: "Calls that a limit refused while the execution went on, by limit.",
};

const NETWORK: Family = Family {
    name: "execd_network_requests",
    kind: Kind::Counter,
    unit: "",
    help: "Network requests of ended executions, by agent type and verdict.",
};
const NETWORK_BYTES: Family = Family {
    name: "execd_network_proxied_bytes",
    kind: Kind::Counter,
    unit: "bytes",
    help: "Bytes of ended executions through their egress proxies, by agent type and direction.",
};

/// What is said to a network request.
const VERDICTS: [&str; 3] = ["allowed", "limit", "domain"];
const DIRECTIONS: [&str; 2] = ["out", "in"];

/// What is known of an execution when it has ended; unknown figures are `None` and are not observed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended<'a> {
    /// Final status, e.g. `failed`.
    pub status: &'a str,
    /// Reason, e.g. `memory_limit`.
    pub reason: &'a str,
    /// Start to end.
    pub wall: Option<Duration>,
    /// Peak of unreclaimable memory in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// User plus system CPU time.
    pub cpu: Option<Duration>,
    /// The limit that ended it and what noticed.
    pub breach: Option<(LimitKey, Mechanism)>,
}

struct PerType {
    name: String,
    started: Counter,
    running: Gauge,
    network: [Counter; 3],
    network_bytes: [Counter; 2],
    finished: [Counter; OUTCOMES.len()],
    duration: Histogram,
    memory: Histogram,
    cpu: Histogram,
}

impl PerType {
    fn new(name: String) -> Self {
        Self {
            name,
            started: Counter::default(),
            running: Gauge::default(),
            network: Default::default(),
            network_bytes: Default::default(),
            finished: std::array::from_fn(|_| Counter::default()),
            duration: Histogram::new(DURATIONS),
            memory: Histogram::new(MEMORY),
            cpu: Histogram::new(CPU),
        }
    }
}

/// All counters of executions.
pub struct ExecutionCounters {
    types: Vec<PerType>,
    breaches: [PerLabel<{ LimitKey::ALL.len() }>; MECHANISMS.len()],
    soft_hits: PerLabel<{ LimitKey::ALL.len() }>,
}

impl ExecutionCounters {
    /// Counters for the configured agent types, the first 64 of them by name, and `other`.
    pub fn new<'a>(agent_types: impl IntoIterator<Item = &'a str>) -> Self {
        let mut types: Vec<_> = agent_types.into_iter().take(TYPES_MAX).map(|n| PerType::new(n.to_owned())).collect();
        types.push(PerType::new("other".to_owned()));
        let limits = LimitKey::ALL.map(LimitKey::short);
        Self { types, breaches: std::array::from_fn(|_| PerLabel::new(limits)), soft_hits: PerLabel::new(limits) }
    }

    /// An execution was created. Every one counted here must be counted by [`Self::finished`] once.
    pub fn started(&self, agent_type: &str) {
        let counters = self.of(agent_type);
        counters.started.inc();
        counters.running.inc();
    }

    /// It ended.
    pub fn finished(&self, agent_type: &str, ended: &Ended<'_>) {
        let counters = self.of(agent_type);
        counters.running.dec();
        counters.finished[outcome(ended.status, ended.reason)].inc();
        if let Some(wall) = ended.wall {
            counters.duration.observe(wall);
        }
        if let Some(cpu) = ended.cpu {
            counters.cpu.observe(cpu);
        }
        if let Some(bytes) = ended.memory_peak_bytes {
            #[allow(clippy::cast_precision_loss)]
            counters.memory.observe_f64(bytes as f64);
        }
        if let Some((limit, mechanism)) = ended.breach {
            self.breaches[place(mechanism)].at(place_of(limit)).inc();
        }
    }

    /// A limit refused `n` calls and the run went on.
    pub fn soft_hits(&self, limit: LimitKey, n: u64) {
        self.soft_hits.at(place_of(limit)).add(n);
    }

    /// Network requests of an execution that has ended, by verdict (allowed, limit, domain), and bytes through its egress proxy (out, in).
    pub fn network(&self, agent_type: &str, requests: [u64; 3], bytes: Option<[u64; 2]>) {
        let counters = self.of(agent_type);
        for (counter, n) in counters.network.iter().zip(requests) {
            counter.add(n);
        }
        for (counter, n) in counters.network_bytes.iter().zip(bytes.unwrap_or_default()) {
            counter.add(n);
        }
    }

    /// Executions created and ended since the daemon began, of all types.
    pub fn totals(&self) -> (u64, u64) {
        let created = self.types.iter().map(|t| t.started.get()).sum();
        let ended = self.types.iter().flat_map(|t| t.finished.iter().map(Counter::get)).sum();
        (created, ended)
    }

    fn of(&self, agent_type: &str) -> &PerType {
        let known = self.types.iter().find(|t| t.name.eq_ignore_ascii_case(agent_type));
        known.unwrap_or(&self.types[self.types.len() - 1])
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        self.render_counts(out);
        self.render_network(out);
        self.render_histograms(out);
        out.family(&BREACHES);
        for ((_, mechanism), limits) in MECHANISMS.iter().zip(&self.breaches) {
            for (limit, count) in limits.iter().filter(|(_, count)| *count > 0) {
                out.counter(&BREACHES, &[("limit", limit), ("mechanism", mechanism)], count);
            }
        }
        out.family(&SOFT_HITS);
        for (limit, count) in self.soft_hits.iter() {
            out.counter(&SOFT_HITS, &[("limit", limit)], count);
        }
    }

    fn render_counts(&self, out: &mut Exposition) {
        out.family(&STARTED);
        for t in &self.types {
            out.counter(&STARTED, &[("agent_type", &t.name)], t.started.get());
        }
        out.family(&RUNNING);
        for t in &self.types {
            #[allow(clippy::cast_precision_loss)]
            out.gauge(&RUNNING, &[("agent_type", &t.name)], t.running.get() as f64);
        }
        out.family(&FINISHED);
        for t in &self.types {
            for ((status, reason), count) in OUTCOMES.iter().zip(&t.finished) {
                if count.get() > 0 {
                    let labels = [("agent_type", t.name.as_str()), ("status", *status), ("reason", *reason)];
                    out.counter(&FINISHED, &labels, count.get());
                }
            }
        }
    }

    fn render_network(&self, out: &mut Exposition) {
        out.family(&NETWORK);
        for t in &self.types {
            for (verdict, count) in VERDICTS.iter().zip(&t.network) {
                out.counter(&NETWORK, &[("agent_type", &t.name), ("verdict", verdict)], count.get());
            }
        }
        out.family(&NETWORK_BYTES);
        for t in self.types.iter().filter(|t| t.network_bytes.iter().any(|count| count.get() > 0)) {
            for (direction, count) in DIRECTIONS.iter().zip(&t.network_bytes) {
                out.counter(&NETWORK_BYTES, &[("agent_type", &t.name), ("direction", direction)], count.get());
            }
        }
    }

    fn render_histograms(&self, out: &mut Exposition) {
        type Of = fn(&PerType) -> &Histogram;
        let each: [(&Family, Of); 3] =
            [(&DURATION, |t| &t.duration), (&MEMORY_PEAK, |t| &t.memory), (&CPU_USED, |t| &t.cpu)];
        for (family, of) in each {
            out.family(family);
            for t in self.types.iter().filter(|t| t.started.get() > 0) {
                let (bounds, buckets, sum) = of(t).read();
                out.histogram(family, &[("agent_type", &t.name)], bounds, &buckets, sum);
            }
        }
    }
}

fn outcome(status: &str, reason: &str) -> usize {
    OUTCOMES.iter().position(|o| *o == (status, reason)).unwrap_or(OUTCOMES.len() - 1)
}

fn place(mechanism: Mechanism) -> usize {
    MECHANISMS.iter().position(|(m, _)| *m == mechanism).unwrap_or(0)
}

fn place_of(limit: LimitKey) -> usize {
    LimitKey::ALL.iter().position(|l| *l == limit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Form;
    use super::*;

    fn text(counters: &ExecutionCounters) -> String {
        let mut out = Exposition::new(Form::Text);
        counters.render(&mut out);
        out.finish()
    }

    #[test]
    fn an_end_by_a_limit_is_counted_by_type_reason_and_mechanism() {
        let counters = ExecutionCounters::new(["VALIDATION"]);
        counters.started("validation");
        let ended = Ended {
            status: "failed",
            reason: "memory_limit",
            wall: Some(Duration::from_secs(2)),
            memory_peak_bytes: Some(64 << 20),
            breach: Some((LimitKey::MemoryBytes, Mechanism::Watchdog)),
            ..Ended::default()
        };
        counters.finished("VALIDATION", &ended);
        counters.network("VALIDATION", [5, 2, 1], Some([10, 20]));
        let text = text(&counters);
        for line in [
            "execd_executions_started_total{agent_type=\"VALIDATION\"} 1",
            "execd_executions_running{agent_type=\"VALIDATION\"} 0",
            "execd_executions_finished_total{agent_type=\"VALIDATION\",status=\"failed\",reason=\"memory_limit\"} 1",
            "execd_network_requests_total{agent_type=\"VALIDATION\",verdict=\"limit\"} 2",
            "execd_network_proxied_bytes_total{agent_type=\"VALIDATION\",direction=\"in\"} 20",
            "execd_limit_breaches_total{limit=\"memory\",mechanism=\"watchdog\"} 1",
            "execd_execution_duration_seconds_count{agent_type=\"VALIDATION\"} 1",
            "execd_execution_usage_memory_peak_bytes_sum{agent_type=\"VALIDATION\"} 67108864",
            "execd_execution_usage_cpu_seconds_count{agent_type=\"VALIDATION\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
    }

    #[test]
    fn an_unknown_type_counts_as_other_so_that_labels_stay_bounded() {
        let counters = ExecutionCounters::new(["A"]);
        for n in 0..1000 {
            counters.started(&format!("T{n}"));
        }
        assert!(text(&counters).contains("execd_executions_started_total{agent_type=\"other\"} 1000\n"));
    }
}
