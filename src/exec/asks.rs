//! What callers ask of an execution's driver, kept until its supervisor takes it: bounded, and an end that was asked for is never lost.
//!
//! Stops and releases that were asked for twice are one, all who want figures share one order, and signals have a bound. So nothing
//! grows while a supervisor is slow or stopped, and nothing that matters is refused.

use super::execution::Refused;
use super::status::Stop;
use crate::supervisor::protocol::{Order, Usage};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Signals that may wait for the supervisor.
const MAX_SIGNALS: usize = 64;
/// Callers that may wait for figures; one more gets the last known ones.
const MAX_USAGE_WAITS: usize = 256;

/// The asks of one execution. Many ask, its driver alone takes.
#[derive(Debug, Default)]
pub(super) struct Asks {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// who was the first to ask for the end
    stop: Option<Stop>,
    kill: bool,
    cancel: bool,
    /// requests that the proxy counted, when that is one too many for a type that kills
    breach: Option<u64>,
    release: bool,
    drained: bool,
    signals: VecDeque<i32>,
    usage: Vec<oneshot::Sender<Usage>>,
    /// An order for figures was sent and not answered.
    usage_sent: bool,
}

impl Asks {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// TERM, grace, KILL.
    pub(super) fn stop(&self, stop: Stop) {
        let mut waiting = self.lock();
        waiting.stop.get_or_insert(stop);
        waiting.cancel = true;
        drop(waiting);
        self.came.notify_one();
    }

    /// The end, now.
    pub(super) fn kill(&self, stop: Stop) {
        let mut waiting = self.lock();
        waiting.stop.get_or_insert(stop);
        waiting.kill = true;
        drop(waiting);
        self.came.notify_one();
    }

    /// The proxy refused a request over the limit, and the type kills.
    pub(super) fn breach_network(&self, used: u64) {
        self.lock().breach = Some(used);
        self.came.notify_one();
    }

    /// Lets a held command go.
    pub(super) fn release(&self) {
        self.lock().release = true;
        self.came.notify_one();
    }

    /// The output is in: what outlives the main process may go, unless it is kept.
    pub(super) fn drained(&self) {
        self.lock().drained = true;
        self.came.notify_one();
    }

    /// A signal to every process; refused when too many wait already.
    pub(super) fn signal(&self, signal: i32) -> Result<(), Refused> {
        let mut waiting = self.lock();
        if waiting.signals.len() >= MAX_SIGNALS {
            return Err(Refused::Busy);
        }
        waiting.signals.push_back(signal);
        drop(waiting);
        self.came.notify_one();
        Ok(())
    }

    /// Fresh figures; `None` when too many wait for them already.
    pub(super) fn usage(&self) -> Option<oneshot::Receiver<Usage>> {
        let mut waiting = self.lock();
        waiting.usage.retain(|reply| !reply.is_closed());
        if waiting.usage.len() >= MAX_USAGE_WAITS {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        waiting.usage.push(reply);
        drop(waiting);
        self.came.notify_one();
        Some(answer)
    }

    /// Who asked for the end, if anybody did.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.lock().stop
    }

    /// Returns when somebody has asked for the end.
    pub(super) async fn stop_came(&self) {
        while self.stopped().is_none() {
            self.came.notified().await;
        }
    }

    /// Returns when there is something to send.
    pub(super) async fn order_came(&self) {
        while self.first().is_none() {
            self.came.notified().await;
        }
    }

    /// What is to be sent next; it stays until it is [`Asks::sent`].
    pub(super) fn first(&self) -> Option<Order> {
        self.lock().first()
    }

    /// The supervisor has this one in its socket.
    pub(super) fn sent(&self, order: &Order) {
        self.lock().sent(order);
    }

    /// Figures came: they are for everybody who waits.
    pub(super) fn answer(&self, usage: Usage) {
        let waits = {
            let mut waiting = self.lock();
            waiting.usage_sent = false;
            std::mem::take(&mut waiting.usage)
        };
        for reply in waits {
            let _ = reply.send(usage);
        }
    }

    /// The supervisor is gone, and what was asked of it; who wants figures learns that none will come. A stop stays known.
    pub(super) fn forget(&self) {
        let mut waiting = self.lock();
        let stop = waiting.stop;
        *waiting = Waiting { stop, ..Waiting::default() };
    }
}

impl Waiting {
    /// The end comes before everything else, in the order of its force.
    fn first(&self) -> Option<Order> {
        if self.kill {
            return Some(Order::Kill);
        }
        if let Some(used) = self.breach {
            return Some(Order::NetworkBreach { used });
        }
        if self.cancel {
            return Some(Order::Cancel);
        }
        if self.release {
            return Some(Order::Release);
        }
        if self.drained {
            return Some(Order::Drained);
        }
        if let Some(signal) = self.signals.front() {
            return Some(Order::Signal(*signal));
        }
        let wanted = !self.usage_sent && self.usage.iter().any(|reply| !reply.is_closed());
        wanted.then_some(Order::Usage)
    }

    fn sent(&mut self, order: &Order) {
        match order {
            Order::Kill => self.kill = false,
            Order::Cancel => self.cancel = false,
            Order::Release => self.release = false,
            Order::Drained => self.drained = false,
            Order::Signal(_) => drop(self.signals.pop_front()),
            Order::Usage => self.usage_sent = true,
            Order::NetworkBreach { .. } => self.breach = None,
            Order::Start(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_all(asks: &Asks) -> Vec<Order> {
        std::iter::from_fn(|| asks.first().inspect(|order| asks.sent(order))).collect()
    }

    #[test]
    fn an_end_overtakes_and_is_asked_for_once() {
        let asks = Asks::default();
        asks.signal(10).unwrap();
        asks.release();
        asks.drained();
        let _answer = asks.usage();
        for _ in 0..1000 {
            asks.stop(Stop::Cancelled);
            asks.kill(Stop::Shutdown);
        }
        let order = [Order::Kill, Order::Cancel, Order::Release, Order::Drained, Order::Signal(10), Order::Usage];
        assert_eq!(send_all(&asks), order);
        assert_eq!(asks.stopped(), Some(Stop::Cancelled));
        assert_eq!(asks.first(), None);
    }

    #[test]
    fn signals_are_bounded_and_an_end_goes_through_all_the_same() {
        let asks = Asks::default();
        for n in 0..MAX_SIGNALS {
            asks.signal(n as i32).unwrap();
        }
        assert_eq!(asks.signal(1), Err(Refused::Busy));
        asks.kill(Stop::Cancelled);
        assert_eq!(asks.first(), Some(Order::Kill));
        asks.sent(&Order::Kill);
        asks.sent(&Order::Signal(0));
        assert_eq!(asks.signal(1), Ok(()));
    }

    #[test]
    fn one_order_for_figures_serves_all_who_wait() {
        let asks = Asks::default();
        let mut answers: Vec<_> = (0..MAX_USAGE_WAITS).map(|_| asks.usage().unwrap()).collect();
        assert!(asks.usage().is_none());
        assert_eq!(send_all(&asks), [Order::Usage]);
        // Who gave up makes room; the order that is under way is not sent again.
        answers.pop();
        answers.push(asks.usage().unwrap());
        assert_eq!(asks.first(), None);
        asks.answer(Usage { wall_us: 7, ..Usage::default() });
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok_and(|usage| usage.wall_us == 7)));
        let mut late = asks.usage().unwrap();
        assert_eq!(asks.first(), Some(Order::Usage));
        asks.forget();
        assert!(late.try_recv().is_err());
        assert_eq!(asks.first(), None);
    }
}
