//! HTTP: listeners, guard, routes, errors and streams. A thin dialect over the rooms below: what an execution is and how limits hold
//! is none of its business, and nothing below may know of it.

mod body;
mod call;
mod events;
mod executions;
mod facts;
#[cfg(fuzzing)]
#[path = "../fuzzing/api.rs"]
pub mod fuzzing;
mod guard;
mod health;
mod json;
pub mod listen;
mod logs;
mod memory;
mod metrics;
mod negotiate;
mod openapi;
mod output;
mod problem;
mod query;
pub mod readiness;
mod routes;
mod server;
mod service;
mod sse;
mod start;
#[cfg(test)]
mod status_codes_test;
#[cfg(test)]
mod test_daemon;
mod watch;

pub use execd_wire::drain;
pub use guard::Rules;
pub use health::ZYGOTE;
pub use problem::{Code, Problem};
pub use routes::endpoints;
pub use server::Server;
pub use service::{Service, Surface};

use crate::exec::Engine;
use crate::sample::{Sampler, Snapshot};
use crate::telemetry::Telemetry;
use readiness::Readiness;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch as channel;
use watch::Watch;

/// What every handler shares.
pub struct Api {
    rules: Rules,
    init_mode: &'static str,
    telemetry: Arc<Telemetry>,
    readiness: Readiness,
    sampler: Mutex<Sampler>,
    watch: Watch,
    engine: Engine,
    health: health::Cache,
    /// Changes when every stream has to end.
    over: channel::Sender<()>,
}

/// As handlers hold it.
pub type Shared = Arc<Api>;

/// The parts that the composition root gives.
pub struct Parts {
    /// Token, hosts and origins.
    pub rules: Rules,
    /// `pid1`, `subreaper` or `none`.
    pub init_mode: &'static str,
    /// Counters and log.
    pub telemetry: Arc<Telemetry>,
    /// What stands in the way of being ready.
    pub readiness: Readiness,
    /// What looks at the container.
    pub sampler: Sampler,
    /// The executions.
    pub engine: Engine,
}

impl Api {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Shared {
        let Parts { rules, init_mode, telemetry, readiness, sampler, engine } = parts;
        let watch = Watch::default();
        let health = health::Cache::new(&engine);
        let (sampler, over) = (Mutex::new(sampler), channel::Sender::new(()));
        Arc::new(Self { rules, init_mode, telemetry, readiness, sampler, watch, engine, health, over })
    }

    /// The daemon is going down: not ready any more, and every stream ends; clients connect again elsewhere or later.
    pub fn drain(&self) {
        self.readiness.set("serving", false);
        self.watch.end();
        self.over.send_replace(());
    }

    /// Looks at the container now.
    fn look(&self) -> Snapshot {
        // A look that panicked leaves a sampler that can still look.
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner).look()
    }
}
