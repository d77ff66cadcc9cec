//! One execution as the daemon holds it: its view, its output, and the way to its driver.

use super::asks::Asks;
use super::events::{Event, Events};
use super::feed::Feed;
use super::network::{Account, Sum};
use super::output::Output;
use super::status::{Conclusion, Status, Stop};
use super::view::{AttemptView, DestinationView, ExecutionView};
use crate::network::egress::{Destination, Egress};
use crate::supervisor::protocol::{Breach, NetworkUsage};
use crate::sys::time::unix_ms;
use crate::telemetry::clock::rfc3339;
use crate::telemetry::{Field, Telemetry};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Why an operation on an execution is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 409
    #[error("the execution has ended already")]
    Ended,
    /// 409
    #[error("the execution is not held: only one in status ready waits for a start signal")]
    NotHeld,
    /// 409
    #[error("the command does not run yet, so no signal can reach it")]
    NotRunning,
    /// 409
    #[error("standard input is closed: the execution ended, or was started without one")]
    StdinClosed,
    /// 429
    #[error("too many signals wait for the execution's supervisor, which is slow or stopped; try again, or cancel")]
    Busy,
}

/// Waiting for fresh figures from a supervisor longer than this gives the last known ones.
const USAGE_PATIENCE: Duration = Duration::from_millis(100);

/// One execution.
#[derive(Debug)]
pub struct Execution {
    view: Mutex<ExecutionView>,
    status: watch::Sender<Status>,
    output: Arc<Output>,
    asks: Asks,
    network: Mutex<Account>,
    stdin: Feed,
    /// Not ended, or ended with survivors that are kept.
    active: AtomicBool,
    /// Nobody follows it any more: no process of it is left.
    over: watch::Sender<bool>,
    events: Arc<Events>,
    created_ms: u64,
}

impl Execution {
    pub(super) fn new(view: ExecutionView, output: Arc<Output>, events: Arc<Events>, created_ms: u64) -> Execution {
        let ended = view.status.is_final();
        Execution {
            status: watch::Sender::new(view.status),
            view: Mutex::new(view),
            output,
            asks: Asks::default(),
            network: Mutex::default(),
            stdin: Feed::default(),
            active: AtomicBool::new(!ended),
            over: watch::Sender::new(ended),
            events,
            created_ms,
        }
    }

    fn lock(&self) -> MutexGuard<'_, ExecutionView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present view, with the output figures of this moment.
    pub fn view(&self) -> ExecutionView {
        let mut view = self.lock().clone();
        view.usage.output_bytes = self.output.total();
        view.usage.output_lost_bytes = self.output.lost();
        view.last_output_at = self.output.last_at().map(rfc3339).or(view.last_output_at);
        if let Some(sum) = self.network_sum() {
            view.usage.update_network(sum);
        }
        view
    }

    /// The view after asking the supervisor for fresh figures; an ended one answers at once.
    pub async fn fresh_view(&self) -> ExecutionView {
        if self.has_processes()
            && let Some(answer) = self.asks.usage()
        {
            // Too late or gone: the last known figures stand.
            let _ = tokio::time::timeout(USAGE_PATIENCE, answer).await;
        }
        self.view()
    }

    /// Whether type (case ignored) and task id are these, where given.
    pub(super) fn matches(&self, agent_type: Option<&str>, task_id: Option<&str>) -> bool {
        let view = self.lock();
        agent_type.is_none_or(|asked| view.agent_type.eq_ignore_ascii_case(asked))
            && task_id.is_none_or(|asked| view.task_id.as_deref() == Some(asked))
    }

    /// When it ended (RFC 3339 sorts by time), and its identifier.
    pub(super) fn ended_as(&self) -> (Option<String>, String) {
        let view = self.lock();
        (view.finished_at.clone(), view.id.clone())
    }

    /// Its identifier.
    pub fn id(&self) -> String {
        self.lock().id.clone()
    }

    /// Its agent type.
    pub(super) fn agent_type(&self) -> String {
        self.lock().agent_type.clone()
    }

    /// Creation, unix ms.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Not ended, or ended with survivors that are kept.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    fn has_processes(&self) -> bool {
        match self.status() {
            Status::Running | Status::Terminating => true,
            Status::Queued | Status::Initializing | Status::Ready => false,
            Status::Completed | Status::Failed | Status::Terminated => self.is_active(),
        }
    }

    /// Captured output.
    pub fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// Changes of status, for streams.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Waits for the end.
    pub async fn wait(&self) -> ExecutionView {
        // The sender is ours, so waiting cannot fail.
        let _ = self.status.subscribe().wait_for(|status| status.is_final()).await;
        self.view()
    }

    /// Waits until no process of it is left, survivors included.
    pub(super) async fn wait_over(&self) {
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Waits until it has left the statuses before the command runs or is held.
    pub async fn wait_started(&self) {
        let early = |status: &Status| matches!(status, Status::Queued | Status::Initializing);
        let _ = self.status.subscribe().wait_for(|status| !early(status)).await;
    }

    /// Ends it, or the survivors that it left: TERM, grace, KILL. One that is ending already is not an error.
    pub fn stop(&self, stop: Stop) -> Result<(), Refused> {
        self.refuse_unless_active()?;
        self.asks.stop(stop);
        Ok(())
    }

    /// Ends it now.
    pub fn kill(&self, stop: Stop) -> Result<(), Refused> {
        self.refuse_unless_active()?;
        self.asks.kill(stop);
        Ok(())
    }

    /// Sends a signal to every process.
    pub fn signal(&self, signal: i32) -> Result<(), Refused> {
        self.refuse_unless_active()?;
        // A command that is being started gets it as soon as it runs.
        if !self.has_processes() && self.status() != Status::Initializing {
            return Err(Refused::NotRunning);
        }
        self.asks.signal(signal)
    }

    /// Lets a held command go.
    pub fn release(&self) -> Result<(), Refused> {
        match self.status() {
            Status::Ready => {
                self.asks.release();
                Ok(())
            }
            status if status.is_final() => Err(Refused::Ended),
            _ => Err(Refused::NotHeld),
        }
    }

    fn refuse_unless_active(&self) -> Result<(), Refused> {
        if self.is_active() { Ok(()) } else { Err(Refused::Ended) }
    }

    /// What was asked, for the driver.
    pub(super) fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Writes to its standard input; waits while the pipe is full, so a sender feels the reader's speed.
    pub async fn write_stdin(&self, bytes: &[u8]) -> Result<(), Refused> {
        self.stdin.write(bytes).await
    }

    /// Closes its standard input, also under a writer that waits for its reader.
    pub fn close_stdin(&self) {
        self.stdin.set(None);
    }

    pub(super) fn set_stdin(&self, pipe: Option<pipe::Sender>) {
        self.stdin.set(pipe);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut ExecutionView)) {
        change(&mut self.lock());
    }

    /// Moves on and tells everybody.
    pub(super) fn set_status(&self, status: Status) {
        self.lock().status = status;
        self.publish(status);
    }

    fn publish(&self, status: Status) {
        let event = self.event(status, None);
        // Followers of the output wait for its changes only.
        self.status.send_replace(status);
        self.events.publish(event);
    }

    fn event(&self, status: Status, refused: Option<DestinationView>) -> Event {
        let view = self.lock();
        Event {
            seq: 0,
            timestamp: unix_ms(),
            id: view.id.clone(),
            agent_type: view.agent_type.clone(),
            task_id: view.task_id.clone(),
            status,
            reason: view.reason,
            refused,
        }
    }

    /// What the proxy says counts from now on.
    pub(super) fn set_egress(&self, egress: Arc<Egress>) {
        self.network().egress = Some(egress);
    }

    /// What the gate says.
    pub(super) fn update_network(&self, usage: NetworkUsage) {
        self.network().gate = Some(usage);
    }

    /// Connections to the proxy that never reached it.
    pub(super) fn dropped_connections(&self) -> u64 {
        self.network().gate.as_ref().map_or(0, |gate| gate.dropped_connections)
    }

    /// Everything on the network so far; `None` where nobody counts.
    pub(super) fn network_sum(&self) -> Option<Sum> {
        self.network().sum()
    }

    /// Tells that a request was refused, unless that was told too often lately.
    pub(super) fn note_refused(&self, destination: &Destination, telemetry: &Telemetry) {
        if !self.network().may_tell(destination.at_ms) {
            return;
        }
        let refused = Some(DestinationView::from(destination.clone()));
        let event = self.event(self.status(), refused);
        let fields: [(&str, Field<'_>); 4] = [
            ("execution", event.id.as_str().into()),
            ("agent_type", event.agent_type.as_str().into()),
            ("destination", destination.to.as_str().into()),
            ("verdict", destination.verdict.as_str().into()),
        ];
        telemetry.log.warn("network request refused", &fields);
        self.events.publish(event);
    }

    fn network(&self) -> MutexGuard<'_, Account> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command runs, since `ago`.
    pub(super) fn note_started(&self, pid: i32, ago: Duration) {
        {
            let mut view = self.lock();
            view.pid = Some(pid);
            let ago = u64::try_from(ago.as_millis()).unwrap_or(0);
            view.started_at = Some(rfc3339(unix_ms().saturating_sub(ago)));
            view.status = Status::Running;
        }
        self.publish(Status::Running);
    }

    /// The one end. With survivors it stays active.
    pub(super) fn conclude(&self, conclusion: &Conclusion, breach: Option<Breach>, message: Option<String>) {
        {
            let mut view = self.lock();
            view.conclude(conclusion);
            view.breach = breach.map(Into::into);
            view.message = message;
            view.finished_at = Some(rfc3339(unix_ms()));
            view.usage.output_bytes = self.output.total();
            view.usage.output_lost_bytes = self.output.lost();
            view.last_output_at = self.output.last_at().map(rfc3339);
            self.active.store(view.survivors, Ordering::Relaxed);
        }
        self.publish(conclusion.status);
    }

    /// No survivor is left.
    pub(super) fn end_survivors(&self) {
        let mut view = self.lock();
        if std::mem::replace(&mut view.survivors, false) && view.status.is_final() {
            self.active.store(false, Ordering::Relaxed);
            self.events.note_silent_change();
        }
    }

    /// Nobody follows it any more.
    pub(super) fn set_over(&self) {
        self.end_survivors();
        // The account is closed; the view keeps what it says.
        let account = std::mem::take(&mut *self.network());
        if let Some(sum) = account.sum() {
            self.lock().usage.update_network(sum);
        }
        self.asks.forget();
        self.over.send_replace(true);
    }

    /// Puts the ended attempt aside and begins again.
    pub(super) fn begin_again(&self, conclusion: &Conclusion) {
        let mut view = self.lock();
        let ended = AttemptView {
            attempt: view.attempt,
            reason: conclusion.reason,
            exit_code: conclusion.exit_code,
            signal: conclusion.signal.map(super::status::signal_name),
            started_at: view.started_at.take(),
            finished_at: rfc3339(unix_ms()),
        };
        view.attempts.push(ended);
        view.attempt += 1;
        view.pid = None;
        view.status = Status::Queued;
        drop(view);
        *self.network() = Account::default();
        self.publish(Status::Queued);
    }
}

/// Bytes of an inline standard input, at most.
pub const MAX_INLINE_STDIN: usize = 1 << 20;
