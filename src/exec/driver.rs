//! The task behind each execution: takes a supervisor, starts the command, turns reports into status, and concludes exactly once.

use super::attempt::Attempt;
use super::engine::Shared;
use super::execution::Execution;
use super::handover::{Handed, Handover};
use super::leftovers;
use super::network::Proxied;
use super::output::Stream;
use super::pipes;
use super::request::Stdin;
use super::status::{Conclusion, Outcome, Status, Stop, conclude};
use super::view::ExecutionView;
use crate::agent_type::OnLimit;
use crate::limits::LimitKey;
use crate::limits::world::Containment;
use crate::network::egress::{Rules, Verdict};
use crate::supervisor::protocol::{Breach, Spec};
use crate::telemetry::Dropped;
use crate::telemetry::executions::Ended;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Pause before the second attempt; doubles with each, up to `BACKOFF_MAX`.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long a start waits for a zygote that has too many requests before it.
const ZYGOTE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries meanwhile.
const ZYGOTE_TRY_AGAIN: Duration = Duration::from_millis(5);

/// What a driver was given.
pub(super) struct Job {
    pub(super) spec: Spec,
    pub(super) stdin: Stdin,
    pub(super) retries: u32,
    /// what its egress proxy is to hold, if it has one
    pub(super) egress: Option<EgressJob>,
    /// private work directory, to be removed
    pub(super) work_dir: Option<PathBuf>,
    pub(super) keep_work_dir: bool,
    /// who asked for it learns of it by its end
    pub(super) awaited: bool,
}

/// The egress proxy of a job.
pub(super) struct EgressJob {
    pub(super) rules: Rules,
    pub(super) on_limit: OnLimit,
    /// Variables that the request sets itself.
    pub(super) own_variables: Vec<String>,
    /// The gate tells whose each connection is; without it whoever comes is served.
    pub(super) gated: bool,
}

pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) execution: Arc<Execution>,
    job: Job,
    /// The first attempt is under way already.
    handed: Option<Handed>,
    concluded: bool,
}

/// A driver that goes away without a conclusion has met a bug of ours; its execution still ends exactly once.
impl Drop for Driver {
    fn drop(&mut self) {
        if !self.concluded {
            self.conclude(&Outcome::Lost { stop: self.stop() });
            self.note();
            self.execution.output().close();
        }
        self.execution.close_stdin();
        self.execution.set_over();
        self.shared.ended(&self.execution);
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, execution: Arc<Execution>, job: Job, handed: Option<Handed>) -> Driver {
        Driver { shared, execution, job, handed, concluded: false }
    }

    /// The command runs.
    pub(super) fn started(&self) {
        if !self.job.awaited {
            self.note();
        }
        self.shared.started(&self.execution, self.job.awaited);
    }

    /// Who asked for the end, if anybody did.
    pub(super) fn stop(&self) -> Option<Stop> {
        self.execution.asks().stopped()
    }

    /// Time between TERM and KILL.
    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.job.spec.grace_ms)
    }

    /// The wall limit.
    pub(super) fn wall_time(&self) -> Option<Duration> {
        self.job.spec.limits.wall_time_ms.map(Duration::from_millis)
    }

    /// Runs every attempt and concludes.
    pub(super) async fn drive(mut self) {
        let mut backoff = BACKOFF;
        loop {
            let left = self.job.retries;
            let mut attempt = match self.begin().await {
                Ok(attempt) => attempt,
                Err(error) => {
                    let message = format!("start a supervisor: {error}");
                    let outcome = Outcome::StartFailed { exit_code: 125, message, stop: self.stop() };
                    self.finish(&outcome, None).await;
                    break;
                }
            };
            let outcome = attempt.run_to_result(&mut self).await;
            let conclusion = conclude(&outcome);
            if left == 0 || !conclusion.reason.is_retryable() {
                self.finish(&outcome, Some(&mut attempt)).await;
                break;
            }
            self.job.retries -= 1;
            attempt.run_to_the_end(&mut self).await;
            self.count_network();
            self.execution.begin_again(&conclusion);
            // A stop ends the wait.
            let _ = timeout(backoff, self.execution.asks().stop_came()).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            if let Some(stop) = self.stop() {
                self.finish(&Outcome::Lost { stop: Some(stop) }, None).await;
                break;
            }
        }
        self.tidy_up();
    }

    async fn begin(&mut self) -> io::Result<Attempt> {
        self.execution.set_status(Status::Initializing);
        let mut proxied = self.begin_proxy()?;
        let Handed { supervised, pipes } = match self.handed.take() {
            Some(handed) => handed,
            None => self.hand_over(proxied.as_ref()).await?,
        };
        if let Some(proxied) = &mut proxied {
            proxied.handed_over();
        }
        self.execution.output().reopen();
        let output = self.execution.output();
        let pumps = vec![
            tokio::spawn(pipes::pump(pipes.stdout, Stream::Stdout, output.clone())),
            tokio::spawn(pipes::pump(pipes.stderr, Stream::Stderr, output.clone())),
        ];
        match (&self.job.stdin, pipes.stdin) {
            (Stdin::Bytes(bytes), Some(pipe)) => crate::task::run(pipes::feed(pipe, bytes.clone())),
            (Stdin::Open, pipe) => self.execution.set_stdin(pipe),
            (Stdin::Empty, _) | (Stdin::Bytes(_), None) => {}
        }
        Attempt::new(supervised.slot, supervised.socket, pumps, proxied)
    }

    fn begin_proxy(&self) -> io::Result<Option<Proxied>> {
        let Some(EgressJob { rules, on_limit, gated, .. }) = &self.job.egress else { return Ok(None) };
        let mut proxied = Proxied::begin(&self.execution, &self.shared.telemetry, rules.clone(), *on_limit)?;
        if !gated {
            proxied.serve_all()?;
        }
        Ok(Some(proxied))
    }

    /// Gives the specification to a supervisor. A zygote that is behind is waited for, unless somebody asks for the end.
    async fn hand_over(&self, proxied: Option<&Proxied>) -> io::Result<Handed> {
        let handover = Handover::prepare(&self.job, proxied)?;
        let deadline = Instant::now() + ZYGOTE_PATIENCE;
        loop {
            match handover.send(&self.shared.pool, proxied) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && Instant::now() < deadline
                        && self.stop().is_none() =>
                {
                    sleep(ZYGOTE_TRY_AGAIN).await;
                }
                result => return result.map(|supervised| handover.done(supervised)),
            }
        }
    }

    /// The one end. What survives the main process by permission is followed until it is gone.
    async fn finish(&mut self, outcome: &Outcome, attempt: Option<&mut Attempt>) {
        let settled = attempt.as_ref().is_some_and(|attempt| attempt.is_settled());
        self.conclude(outcome);
        if settled {
            self.count_network();
        }
        // Whoever waits for the end hears of it first.
        tokio::task::yield_now().await;
        self.note();
        self.execution.close_stdin();
        if let Some(attempt) = attempt {
            attempt.run_to_the_end(self).await;
            self.end_strays();
            if !settled {
                self.note();
            }
        }
        if !settled {
            self.count_network();
        }
        self.execution.output().close();
    }

    /// Where orphans leave the supervisor's tree, they are known by their environment only.
    fn end_strays(&self) {
        if self.shared.containment == Containment::None {
            let id = self.execution.id();
            crate::task::run_blocking(move || {
                leftovers::end(&HashSet::from([id]));
            });
        }
    }

    fn note(&self) {
        self.shared.journal.put(&self.execution.view());
    }

    /// View and counters; the record follows.
    fn conclude(&mut self, outcome: &Outcome) {
        self.concluded = true;
        let conclusion = conclude(outcome);
        let (breach, message) = match outcome {
            Outcome::Ended { breach, .. } => (*breach, None),
            Outcome::StartFailed { message, .. } => (None, Some(message.clone())),
            Outcome::Lost { .. } => (None, None),
        };
        self.execution.conclude(&conclusion, breach, message);
        self.execution.update(|view| self.count(view, &conclusion, breach));
    }

    fn count(&self, view: &ExecutionView, conclusion: &Conclusion, breach: Option<Breach>) {
        let cpu = view.usage.cpu_user_ms.zip(view.usage.cpu_system_ms).map(|(user, system)| user + system);
        let ended = Ended {
            status: conclusion.status.as_str(),
            reason: conclusion.reason.as_str(),
            wall: view.usage.wall_ms.map(Duration::from_millis),
            memory_peak_bytes: view.usage.memory_peak_bytes,
            cpu: cpu.map(Duration::from_millis),
            breach: breach.map(|breach| (breach.limit, breach.mechanism)),
        };
        let counters = &self.shared.telemetry.executions;
        counters.finished(&view.agent_type, &ended);
        counters.soft_hits(LimitKey::Pids, view.usage.pids_denied.unwrap_or(0));
    }

    /// Once per attempt, when nothing of it can reach the network any more.
    fn count_network(&self) {
        let dropped = self.execution.dropped_connections();
        self.shared.telemetry.dropped(Dropped::ProxyConnections).add(dropped);
        let Some(sum) = self.execution.network_sum() else { return };
        let counters = &self.shared.telemetry.executions;
        counters.network(&self.execution.agent_type(), sum.requests, sum.bytes);
        counters.soft_hits(LimitKey::NetworkRequests, sum.requests[Verdict::Limit as usize]);
    }

    fn tidy_up(mut self) {
        if let Some(dir) = self.job.work_dir.take().filter(|_| !self.job.keep_work_dir) {
            // A large tree takes a while; nobody waits for it.
            crate::task::run_blocking(move || drop(std::fs::remove_dir_all(dir)));
        }
    }
}
