//! The engine: starts executions, finds them, ends them. Every surface goes through here; nothing here knows HTTP.

mod making;

use super::driver::{Driver, EgressJob, Job};
use super::events::Events;
use super::execution::Execution;
use super::handover::Handover;
use super::id;
use super::journal::{Journal, Restored};
use super::leftovers;
use super::network::Surroundings;
use super::output::Output;
use super::pool::Pool;
use super::recent::Recent;
use super::request::{StartError, StartRequest, resolve};
use super::status::{Conclusion, Reason, Status, Stop};
use super::table::{Filter, Table};
use super::workdir::WorkDirs;
use crate::cgroup::domain::Domain;
use crate::config::AgentTypes;
use crate::limits::plan;
use crate::limits::protection::{self, Protection};
use crate::limits::world::{Containment, Subject, World};
use crate::limits::{Enforcement, LimitKey};
use crate::network::egress::Rules;
use crate::sys::time::unix_ms;
use crate::telemetry::Telemetry;
use crate::telemetry::clock::rfc3339;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What the engine is built from.
pub struct Parts {
    /// agent types, built-in and configured
    pub types: AgentTypes,
    /// type of requests that name none
    pub default_type: String,
    /// most executions that have not ended
    pub max_executions: usize,
    /// where private work directories are made
    pub work_root: PathBuf,
    /// user and group of executions unless type or request say otherwise
    pub user: Option<(u32, Option<u32>)>,
    /// what can be enforced
    pub world: World,
    /// where groups are made
    pub domain: Domain,
    /// supervisors
    pub pool: Pool,
    /// records
    pub journal: Journal,
    /// counters and log
    pub telemetry: Arc<Telemetry>,
    /// environment that executions start from, without secrets
    pub base_env: Vec<(String, String)>,
    /// what of the daemon matters to the network of executions
    pub surroundings: Surroundings,
}

/// What drivers share.
pub(super) struct Shared {
    pub(super) pool: Pool,
    pub(super) journal: Journal,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) domain: Domain,
    pub(super) work_dirs: WorkDirs,
    pub(super) containment: Containment,
    table: Table,
    recent: Recent,
}

/// What a start leaves to be done waits until the command has had the processors for a moment: most are short.
const AFTER_START: Duration = Duration::from_millis(3);

impl Shared {
    /// Makes what the next start finds ready: a supervisor, and a work directory.
    pub(super) fn refill(&self) {
        if let Some(spare) = self.work_dirs.refill() {
            self.pool.note_spare(&spare);
        }
        self.pool.refill();
    }

    /// A command was started: forks a new reserve and, if it is yet to be, notes it in the journal, beside what is going on.
    pub(super) fn started(self: &Arc<Self>, execution: &Arc<Execution>, note: bool) {
        let (shared, execution) = (self.clone(), execution.clone());
        crate::task::run(async move {
            tokio::time::sleep(AFTER_START).await;
            shared.refill();
            // The record of an end holds the rest.
            if note && !execution.status().is_final() {
                shared.journal.put(&execution.view());
            }
        });
    }

    /// Its output is recent from now on, and no longer that of an older one.
    pub(super) fn ended(&self, execution: &Execution) {
        self.recent.add(execution.output());
        self.forget(self.table.ended(execution));
    }

    fn forget(&self, ids: Vec<String>) {
        for id in ids {
            self.journal.remove(&id);
        }
    }
}

/// The engine. Cloning gives another handle.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    types: RwLock<Arc<AgentTypes>>,
    default_type: String,
    max_executions: usize,
    user: Option<(u32, Option<u32>)>,
    world: World,
    base_env: Vec<(String, String)>,
    surroundings: Surroundings,
    events: Arc<Events>,
    shared: Arc<Shared>,
    draining: AtomicBool,
    daemon_uid: u32,
}

impl Engine {
    /// Builds the engine and takes over the records of an earlier daemon.
    pub fn new(parts: Parts) -> Engine {
        let shared = Shared {
            pool: parts.pool,
            journal: parts.journal,
            telemetry: parts.telemetry,
            domain: parts.domain,
            work_dirs: WorkDirs::new(parts.work_root),
            containment: parts.world.containment(),
            table: Table::default(),
            recent: Recent::default(),
        };
        let inner = Inner {
            types: RwLock::new(Arc::new(parts.types)),
            default_type: parts.default_type,
            max_executions: parts.max_executions,
            user: parts.user,
            world: parts.world,
            base_env: parts.base_env,
            surroundings: parts.surroundings,
            events: Arc::default(),
            shared: Arc::new(shared),
            draining: AtomicBool::new(false),
            daemon_uid: nix::unistd::geteuid().as_raw(),
        };
        Engine { inner: Arc::new(inner) }
    }

    /// Brings back the records of an earlier daemon. What was running then is `lost` now.
    pub fn restore(&self) -> usize {
        let mut records = self.inner.shared.journal.restore();
        // Serving goes on meanwhile: what is in the table was started by this daemon.
        records.retain(|record| self.get(&record.view.id).is_none());
        let count = records.len();
        let had_processes = records.iter().filter(|record| !record.view.status.is_final() || record.view.survivors);
        leftovers::end(&had_processes.map(|record| record.view.id.clone()).collect());
        let executions = records.into_iter().map(|record| Arc::new(self.restore_one(record))).collect();
        let shared = &self.inner.shared;
        shared.forget(shared.table.restore(executions));
        count
    }

    fn restore_one(&self, record: Restored) -> Execution {
        let Restored { mut view, output } = record;
        if view.private_dir {
            // The daemon that made it did not come to removing it.
            self.inner.shared.work_dirs.remove(Path::new(&view.cwd));
        }
        let before = view.clone();
        view.survivors = false;
        if !view.status.is_final() {
            let lost = Conclusion { status: Status::Failed, reason: Reason::Lost, exit_code: None, signal: None };
            view.conclude(&lost);
            view.finished_at = Some(rfc3339(unix_ms()));
        }
        if view != before {
            self.inner.shared.journal.put(&view);
        }
        let output = Arc::new(output.map_or_else(
            || {
                let none = Output::new(None);
                none.close();
                none
            },
            Output::restored,
        ));
        Execution::new(view, output, self.inner.events.clone(), 0)
    }

    /// Starts an execution. It exists from here on; its status tells how far it is.
    pub fn start(&self, request: StartRequest) -> Result<Arc<Execution>, StartError> {
        let inner = &self.inner;
        if inner.draining.load(Ordering::Relaxed) {
            return Err(StartError::Draining);
        }
        let request = self.with_default_user(request);
        let resolved = resolve(&request, &self.agent_types(), &inner.default_type, &inner.world, inner.daemon_uid)?;
        if inner.shared.table.active() >= inner.max_executions {
            return Err(StartError::Full { max: inner.max_executions });
        }
        let now = unix_ms();
        let id = id::new(now);
        let (cwd, work_dir) = self.work_dir(&id, &request, &resolved)?;
        let spec = self.spec(&id, &request, &resolved, &cwd, work_dir.is_some());
        let spec = spec.map_err(|error| StartError::Internal(error.to_string()))?;
        let egress = resolved.policy.clone().map(|policy| EgressJob {
            rules: Rules {
                policy,
                limit: resolved.limits.network_requests,
                control_ports: inner.surroundings.control_ports.clone(),
                pinned: inner.surroundings.pinned.clone(),
                uid: resolved.uid.unwrap_or(inner.daemon_uid),
            },
            on_limit: resolved.agent_type.on_network,
            own_variables: request.env.iter().map(|(name, _)| name.clone()).collect(),
            gated: inner.world.seccomp && inner.world.seccomp_notify,
        });
        let job = Job {
            spec,
            egress,
            stdin: request.stdin.clone(),
            retries: request.retries,
            work_dir,
            keep_work_dir: request.keep_work_dir,
            awaited: request.awaited,
        };
        let handed = Handover::at_once(&job, &inner.shared.pool);
        let view = self.view(&id, now, &request, &resolved, &job.spec);
        let file = inner.shared.journal.output(&id, resolved.agent_type.output_bytes);
        let output = Arc::new(Output::new(file));
        inner.shared.telemetry.executions.started(&resolved.agent_type.name);
        let execution = Arc::new(Execution::new(view, output, inner.events.clone(), now));
        inner.shared.table.insert(execution.clone());
        crate::task::run(Driver::new(inner.shared.clone(), execution.clone(), job, handed).drive());
        Ok(execution)
    }

    /// One execution by its identifier.
    pub fn get(&self, id: &str) -> Option<Arc<Execution>> {
        self.inner.shared.table.get(id)
    }

    /// Executions that match, oldest first, at most `filter.limit`; with the cursor for the next page.
    pub fn list(&self, filter: &Filter) -> (Vec<Arc<Execution>>, Option<String>) {
        self.inner.shared.table.list(filter)
    }

    /// Executions that have not ended, or have ended with survivors that are kept.
    pub fn active(&self) -> usize {
        self.inner.shared.table.active()
    }

    /// How many executions are in each status.
    pub fn counts(&self) -> [(Status, usize); 8] {
        self.inner.shared.table.counts()
    }

    /// The protection table of an ordinary typed execution.
    pub fn protection(&self) -> Vec<Protection> {
        protection::table(&self.inner.world, self.typical())
    }

    /// The enforcement table of an ordinary typed execution.
    pub fn enforcement(&self) -> Vec<(LimitKey, Enforcement)> {
        plan::table(&self.inner.world, self.typical())
    }

    /// What holds a list of allowed domains of an ordinary typed execution.
    pub fn domain_enforcement(&self) -> Enforcement {
        super::network::enforcement(plan::plan(LimitKey::NetworkRequests, &self.inner.world, self.typical()))
    }

    fn typical(&self) -> Subject {
        Subject { other_uid: self.inner.user.is_some_and(|(uid, _)| uid != self.inner.daemon_uid), ..Subject::TYPICAL }
    }

    /// What this sandbox offers.
    pub fn world(&self) -> &World {
        &self.inner.world
    }

    /// What could not be had, in words.
    pub fn notes(&self) -> &[String] {
        &self.inner.shared.domain.notes
    }

    /// How processes are found and killed.
    pub fn containment(&self) -> Containment {
        self.inner.world.containment()
    }

    /// Agent types in force.
    pub fn agent_types(&self) -> Arc<AgentTypes> {
        self.inner.types.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the agent types; executions that run keep what they were started with.
    pub fn set_agent_types(&self, types: AgentTypes) {
        *self.inner.types.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(types);
        self.expect_the_usual();
    }

    /// From now on names mean what the system's files say at this moment.
    pub fn renew_names(&self) {
        self.inner.surroundings.pinned.renew();
    }

    /// Most executions that may be active.
    pub fn max_executions(&self) -> usize {
        self.inner.max_executions
    }

    /// Changes as they happen.
    pub fn events(&self) -> &Arc<Events> {
        &self.inner.events
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.inner.shared.journal
    }

    /// Starts nothing new from here on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// KILL to every execution, now.
    pub fn kill_all(&self) {
        for execution in self.inner.shared.table.all_active() {
            // Ended meanwhile is fine.
            let _ = execution.kill(Stop::Shutdown);
        }
    }

    /// Ends everything: TERM at once, KILL to what is left after `patience`. Returns when no process is left or the second deadline,
    /// which is as long again but at most two seconds, has passed.
    pub async fn shutdown(&self, patience: Duration) {
        self.drain();
        let active = self.inner.shared.table.all_active();
        for execution in &active {
            // Ended meanwhile is fine.
            let _ = execution.stop(Stop::Shutdown);
        }
        if tokio::time::timeout(patience, all_over(&active)).await.is_err() {
            for execution in &active {
                let _ = execution.kill(Stop::Shutdown);
            }
            let last = patience.clamp(Duration::from_millis(500), Duration::from_secs(2));
            let _ = tokio::time::timeout(last, all_over(&active)).await;
        }
        self.inner.shared.pool.retire();
        self.inner.shared.journal.flush();
    }
}

async fn all_over(executions: &[Arc<Execution>]) {
    for execution in executions {
        execution.wait_over().await;
    }
}
