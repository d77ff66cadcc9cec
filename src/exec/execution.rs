//! One execution as the daemon holds it: its view, its output, and the way to its driver.

use super::events::{Event, Events};
use super::output::Output;
use super::status::{Conclusion, Status, Stop};
use super::view::{AttemptView, ExecutionView};
use crate::supervisor::protocol::{Breach, Usage};
use crate::sys::time::unix_ms;
use crate::telemetry::clock::rfc3339;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

/// What callers ask of an execution's driver.
#[derive(Debug)]
pub(super) enum Ask {
    /// end it: TERM, grace, KILL
    Stop(Stop),
    /// end it now
    Kill(Stop),
    /// a signal to every process
    Signal(i32),
    /// let a held command go
    Release,
    /// fresh figures
    Usage(oneshot::Sender<Usage>),
}

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
}

/// Waiting for fresh figures from a supervisor longer than this gives the last known ones.
const USAGE_PATIENCE: Duration = Duration::from_millis(100);

/// One execution.
#[derive(Debug)]
pub struct Execution {
    view: Mutex<ExecutionView>,
    status: watch::Sender<Status>,
    output: Arc<Output>,
    asks: mpsc::UnboundedSender<Ask>,
    stdin: tokio::sync::Mutex<Option<pipe::Sender>>,
    events: Arc<Events>,
    created_ms: u64,
}

impl Execution {
    pub(super) fn new(
        view: ExecutionView,
        output: Arc<Output>,
        events: Arc<Events>,
        created_ms: u64,
    ) -> (Execution, mpsc::UnboundedReceiver<Ask>) {
        let (asks, receiver) = mpsc::unbounded_channel();
        let status = watch::Sender::new(view.status);
        let stdin = tokio::sync::Mutex::new(None);
        let view = Mutex::new(view);
        (Execution { view, status, output, asks, stdin, events, created_ms }, receiver)
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
        view
    }

    /// The view after asking the supervisor for fresh figures; an ended one answers at once.
    pub async fn fresh_view(&self) -> ExecutionView {
        if matches!(self.status(), Status::Running | Status::Terminating) {
            let (reply, answer) = oneshot::channel();
            if self.asks.send(Ask::Usage(reply)).is_ok() {
                // Too late or gone: the last known figures stand.
                let _ = tokio::time::timeout(USAGE_PATIENCE, answer).await;
            }
        }
        self.view()
    }

    /// Whether type (case ignored) and task id are these, where given.
    pub(super) fn matches(&self, agent_type: Option<&str>, task_id: Option<&str>) -> bool {
        let view = self.lock();
        agent_type.is_none_or(|asked| view.agent_type.eq_ignore_ascii_case(asked))
            && task_id.is_none_or(|asked| view.task_id.as_deref() == Some(asked))
    }

    /// Its identifier.
    pub fn id(&self) -> String {
        self.lock().id.clone()
    }

    /// Creation, unix ms.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        *self.status.borrow()
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

    /// Waits until it has left the statuses before the command runs or is held.
    pub async fn wait_started(&self) {
        let early = |status: &Status| matches!(status, Status::Queued | Status::Initializing);
        let _ = self.status.subscribe().wait_for(|status| !early(status)).await;
    }

    /// Ends it: TERM, grace, KILL. One that is ending already is not an error.
    pub fn stop(&self, stop: Stop) -> Result<(), Refused> {
        self.ask(Ask::Stop(stop))
    }

    /// Ends it now.
    pub fn kill(&self, stop: Stop) -> Result<(), Refused> {
        self.ask(Ask::Kill(stop))
    }

    /// Sends a signal to every process.
    pub fn signal(&self, signal: i32) -> Result<(), Refused> {
        match self.status() {
            Status::Running | Status::Terminating => self.ask(Ask::Signal(signal)),
            Status::Queued | Status::Initializing | Status::Ready => Err(Refused::NotRunning),
            Status::Completed | Status::Failed | Status::Terminated => Err(Refused::Ended),
        }
    }

    /// Lets a held command go.
    pub fn release(&self) -> Result<(), Refused> {
        match self.status() {
            Status::Ready => self.ask(Ask::Release),
            status if status.is_final() => Err(Refused::Ended),
            _ => Err(Refused::NotHeld),
        }
    }

    fn ask(&self, ask: Ask) -> Result<(), Refused> {
        if self.status().is_final() {
            return Err(Refused::Ended);
        }
        self.asks.send(ask).map_err(|_| Refused::Ended)
    }

    /// Writes to its standard input; waits while the pipe is full, so a sender feels the reader's speed.
    pub async fn write_stdin(&self, bytes: &[u8]) -> Result<(), Refused> {
        let mut stdin = self.stdin.lock().await;
        let pipe = stdin.as_mut().ok_or(Refused::StdinClosed)?;
        if pipe.write_all(bytes).await.is_err() {
            *stdin = None;
            return Err(Refused::StdinClosed);
        }
        Ok(())
    }

    /// Closes its standard input.
    pub async fn close_stdin(&self) {
        *self.stdin.lock().await = None;
    }

    pub(super) async fn set_stdin(&self, pipe: Option<pipe::Sender>) {
        *self.stdin.lock().await = pipe;
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
        let event = {
            let view = self.lock();
            Event {
                seq: 0,
                timestamp: unix_ms(),
                id: view.id.clone(),
                agent_type: view.agent_type.clone(),
                task_id: view.task_id.clone(),
                status,
                reason: view.reason,
            }
        };
        // Followers of the output wait for its changes only.
        self.status.send_replace(status);
        self.events.publish(event);
    }

    pub(super) fn note_started(&self, pid: i32) {
        {
            let mut view = self.lock();
            view.pid = Some(pid);
            view.started_at = Some(rfc3339(unix_ms()));
            view.status = Status::Running;
        }
        self.publish(Status::Running);
    }

    /// The one end.
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
        }
        self.publish(conclusion.status);
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
        self.publish(Status::Queued);
    }
}

/// Bytes of an inline standard input, at most.
pub const MAX_INLINE_STDIN: usize = 1 << 20;

/// Whether inline input is small enough.
pub fn inline_stdin_fits(bytes: &Bytes) -> bool {
    bytes.len() <= MAX_INLINE_STDIN
}
