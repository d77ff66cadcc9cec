//! The task behind each execution: takes a supervisor, starts the command, turns reports into status, and concludes exactly once.

use super::engine::Shared;
use super::execution::{Ask, Execution};
use super::leftovers;
use super::output::Stream;
use super::pipes;
use super::pool::Supervised;
use super::request::Stdin;
use super::status::{Conclusion, Outcome, Status, Stop, conclude};
use crate::cgroup::group;
use crate::limits::LimitKey;
use crate::limits::world::Containment;
use crate::supervisor::protocol::{self, Breach, MainEnd, Order, Report, Spec, Usage};
use crate::telemetry::executions::Ended;
use nix::sys::socket::MsgFlags;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// After the main process ended, output of others is awaited this long.
const DRAIN: Duration = Duration::from_millis(250);
/// Pause before the second attempt; doubles with each, up to `BACKOFF_MAX`.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What a driver was given.
pub(super) struct Job {
    pub(super) spec: Spec,
    pub(super) stdin: Stdin,
    pub(super) retries: u32,
    /// private work directory, to be removed
    pub(super) work_dir: Option<PathBuf>,
    pub(super) keep_work_dir: bool,
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    execution: Arc<Execution>,
    asks: mpsc::UnboundedReceiver<Ask>,
    job: Job,
    stop: Option<Stop>,
    concluded: bool,
}

/// A driver that goes away without a conclusion has met a bug of ours; its execution still ends exactly once.
impl Drop for Driver {
    fn drop(&mut self) {
        if !self.concluded {
            self.conclude(&Outcome::Lost { stop: self.stop });
            self.execution.output().close();
        }
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        execution: Arc<Execution>,
        asks: mpsc::UnboundedReceiver<Ask>,
        job: Job,
    ) -> Driver {
        Driver { shared, execution, asks, job, stop: None, concluded: false }
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
                    let outcome = Outcome::StartFailed { exit_code: 125, message, stop: self.stop };
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
            self.execution.begin_again(&conclusion);
            self.pause(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            if let Some(stop) = self.stop {
                self.finish(&Outcome::Lost { stop: Some(stop) }, None).await;
                break;
            }
        }
        self.tidy_up();
    }

    /// Waits between attempts; a stop ends the wait.
    async fn pause(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                ask = self.asks.recv() => match ask {
                    Some(Ask::Stop(stop) | Ask::Kill(stop)) => {
                        self.stop = Some(stop);
                        return;
                    }
                    Some(Ask::Signal(_) | Ask::Release | Ask::Usage(_)) => {}
                    None => return,
                },
            }
        }
    }

    async fn begin(&mut self) -> io::Result<Attempt> {
        self.execution.set_status(Status::Initializing);
        let pipes = pipes::open(&self.job.stdin)?;
        let spec = protocol::pack(&self.job.spec)?;
        let supervised = self.hand_over(&spec, &pipes.child)?;
        drop(pipes.child);
        self.execution.output().reopen();
        let output = self.execution.output();
        let pumps = vec![
            tokio::spawn(pipes::pump(pipes.stdout, Stream::Stdout, output.clone())),
            tokio::spawn(pipes::pump(pipes.stderr, Stream::Stderr, output.clone())),
        ];
        match (&self.job.stdin, pipes.stdin) {
            (Stdin::Bytes(bytes), Some(pipe)) => drop(tokio::spawn(pipes::feed(pipe, bytes.clone()))),
            (Stdin::Open, pipe) => self.execution.set_stdin(pipe).await,
            (Stdin::Empty, _) | (Stdin::Bytes(_), None) => {}
        }
        Ok(Attempt {
            slot: supervised.slot,
            socket: crate::sys::poll::watch(supervised.socket)?,
            pumps,
            main: None,
            failed: None,
            drain_until: None,
            gone: false,
            usage_waits: Vec::new(),
        })
    }

    /// Gives the specification to a supervisor. One that died in reserve is replaced once.
    fn hand_over(&self, spec: &OwnedFd, child: &[OwnedFd; 3]) -> io::Result<Supervised> {
        let [stdin, stdout, stderr] = child;
        let fds = [spec.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let attempt = || -> io::Result<Supervised> {
            let supervised = self.shared.pool.take()?;
            protocol::send(supervised.socket.as_fd(), &Order::Start, &fds)?;
            Ok(supervised)
        };
        attempt().or_else(|_| attempt())
    }

    /// The one end. What survives the main process by permission is followed until it is gone.
    async fn finish(&mut self, outcome: &Outcome, attempt: Option<&mut Attempt>) {
        self.execution.set_stdin(None).await;
        self.conclude(outcome);
        if let Some(attempt) = attempt {
            attempt.run_to_the_end(self).await;
            self.end_strays();
            self.shared.journal.put(&self.execution.view());
        }
        self.execution.output().close();
    }

    /// Where orphans leave the supervisor's tree, they are known by their environment only.
    fn end_strays(&self) {
        if self.shared.containment == Containment::None {
            let id = self.execution.id();
            tokio::task::spawn_blocking(move || leftovers::end(&HashSet::from([id])));
        }
    }

    /// View, counters, record.
    fn conclude(&mut self, outcome: &Outcome) {
        self.concluded = true;
        let conclusion = conclude(outcome);
        let (breach, message) = match outcome {
            Outcome::Ended { breach, .. } => (*breach, None),
            Outcome::StartFailed { message, .. } => (None, Some(message.clone())),
            Outcome::Lost { .. } => (None, None),
        };
        self.execution.conclude(&conclusion, breach, message);
        self.count(&conclusion, breach);
        self.shared.journal.put(&self.execution.view());
    }

    fn count(&self, conclusion: &Conclusion, breach: Option<Breach>) {
        let view = self.execution.view();
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

    fn tidy_up(mut self) {
        self.shared.ended(&self.execution);
        if let Some(dir) = self.job.work_dir.take().filter(|_| !self.job.keep_work_dir) {
            // A large tree takes a while; nobody waits for it.
            tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir));
        }
    }
}

/// One attempt under way.
struct Attempt {
    slot: u32,
    socket: AsyncFd<OwnedFd>,
    pumps: Vec<JoinHandle<()>>,
    main: Option<MainEnd>,
    failed: Option<protocol::StartFailure>,
    drain_until: Option<Instant>,
    /// the supervisor's stream has ended
    gone: bool,
    usage_waits: Vec<oneshot::Sender<Usage>>,
}

impl Attempt {
    /// Until the result is known: the main process ended and its output is in, or nobody will ever say.
    async fn run_to_result(&mut self, driver: &mut Driver) -> Outcome {
        while !self.has_result() {
            self.step(driver).await;
        }
        if self.main.is_some() && self.pumps_run() {
            driver.execution.update(|view| view.pipes_held_open = true);
        }
        self.drain_until = None;
        self.outcome(driver.stop)
    }

    /// Until the supervisor has let go of everything.
    async fn run_to_the_end(&mut self, driver: &mut Driver) {
        while !self.gone {
            self.step(driver).await;
        }
        // With every writer dead the pipes end by themselves.
        self.pumps.retain(|pump| !pump.is_finished());
        for pump in self.pumps.drain(..) {
            let _ = tokio::time::timeout(DRAIN, pump).await;
        }
    }

    fn has_result(&self) -> bool {
        if self.failed.is_some() {
            return true;
        }
        let drained = !self.pumps_run() || self.drain_until.is_some_and(|until| Instant::now() >= until);
        (self.main.is_some() && drained) || (self.gone && self.main.is_none())
    }

    fn pumps_run(&self) -> bool {
        self.pumps.iter().any(|pump| !pump.is_finished())
    }

    fn outcome(&self, stop: Option<Stop>) -> Outcome {
        match (&self.failed, &self.main) {
            (Some(failed), _) => {
                Outcome::StartFailed { exit_code: failed.exit_code, message: failed.message.clone(), stop }
            }
            (None, Some(end)) => {
                let stop = stop.filter(|_| end.cancelled);
                Outcome::Ended { exit: end.exit, breach: end.breach, stop }
            }
            (None, None) => Outcome::Lost { stop },
        }
    }

    /// One report, ask, end of a pump, or the end of the draining time.
    async fn step(&mut self, driver: &mut Driver) {
        // A handle must not be polled again once it has given its result.
        self.pumps.retain(|pump| !pump.is_finished());
        let draining = self.main.is_some() && self.drain_until.is_some();
        let until = self.drain_until.unwrap_or_else(Instant::now);
        let pump = self.pumps.iter_mut().find(|pump| !pump.is_finished());
        tokio::select! {
            biased;
            report = receive(&self.socket), if !self.gone => self.note(report, driver),
            ask = driver.asks.recv() => self.pass_on(ask, driver),
            _ = async { match pump { Some(pump) => { let _ = pump.await; } None => std::future::pending().await } }, if draining => {}
            () = sleep_until(until), if draining => {}
        }
    }

    fn note(&mut self, report: io::Result<Option<Report>>, driver: &mut Driver) {
        let execution = &driver.execution;
        match report {
            Ok(Some(Report::Held { pid })) => {
                execution.update(|view| view.pid = Some(pid));
                execution.set_status(Status::Ready);
                driver.shared.pool.refill();
                driver.shared.journal.put(&execution.view());
            }
            Ok(Some(Report::Started { pid })) => {
                execution.note_started(pid);
                driver.shared.refill_soon();
                driver.shared.journal.put(&execution.view());
            }
            Ok(Some(Report::StartFailed(failed))) => {
                self.failed = Some(failed);
                driver.shared.pool.refill();
            }
            Ok(Some(Report::Terminating)) => {
                if !execution.status().is_final() {
                    execution.set_status(Status::Terminating);
                }
            }
            Ok(Some(Report::MainEnded(end))) => {
                execution.update(|view| view.usage.update(&end.usage));
                self.drain_until = Some(Instant::now() + DRAIN);
                self.main = Some(end);
            }
            Ok(Some(Report::Gone(usage) | Report::Usage(usage))) => {
                execution.update(|view| view.usage.update(&usage));
                for waiting in self.usage_waits.drain(..) {
                    let _ = waiting.send(usage);
                }
            }
            Ok(None) | Err(_) => self.lose(driver),
        }
    }

    /// The stream ended. Without a result the supervisor died: whatever its groups still hold is killed.
    fn lose(&mut self, driver: &Driver) {
        self.gone = true;
        self.usage_waits.clear();
        if self.main.is_none() && self.failed.is_none() {
            let (shared, slot) = (driver.shared.clone(), self.slot);
            tokio::task::spawn_blocking(move || group::kill_and_remove_slot(&shared.domain, slot));
        }
    }

    fn pass_on(&mut self, ask: Option<Ask>, driver: &mut Driver) {
        let order = match ask {
            Some(Ask::Stop(stop)) => {
                driver.stop.get_or_insert(stop);
                Order::Cancel
            }
            Some(Ask::Kill(stop)) => {
                driver.stop.get_or_insert(stop);
                Order::Kill
            }
            Some(Ask::Signal(signal)) => Order::Signal(signal),
            Some(Ask::Release) => Order::Release,
            Some(Ask::Usage(reply)) => {
                self.usage_waits.push(reply);
                Order::Usage
            }
            // The execution holds a sender as long as we hold the execution.
            None => return,
        };
        // A supervisor that cannot take it is dead, which its stream says by itself.
        let _ = protocol::send(self.socket.get_ref().as_fd(), &order, &[]);
    }
}

async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<Report>> {
    loop {
        let mut ready = socket.readable().await?;
        let attempt = ready.try_io(|fd| protocol::receive::<Report>(fd.get_ref().as_fd(), MsgFlags::MSG_DONTWAIT));
        match attempt {
            Ok(message) => return message.map(|found| found.map(|(report, _)| report)),
            Err(_would_block) => {}
        }
    }
}
