//! One attempt of an execution under way: what its supervisor reports and what it is told. Deciding what follows is the driver's.

use super::asks::Asks;
use super::driver::Driver;
use super::network::{self, Proxied};
use super::status::{Outcome, Status, Stop};
use crate::cgroup::group;
use crate::supervisor::protocol::{self, MainEnd, Report};
use crate::telemetry::Dropped;
use nix::sys::socket::MsgFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// After the main process ended, output of others is awaited this long.
const DRAIN: Duration = Duration::from_millis(250);

/// A supervisor is this late at most, on a machine that is very busy; one that is later hangs, and is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// One attempt under way.
pub(super) struct Attempt {
    slot: u32,
    socket: AsyncFd<OwnedFd>,
    pumps: Vec<JoinHandle<()>>,
    /// Its egress proxy, which ends with it.
    proxied: Option<Proxied>,
    main: Option<MainEnd>,
    failed: Option<protocol::StartFailure>,
    drain_until: Option<Instant>,
    /// The supervisor said that no process is left.
    farewell: bool,
    /// The supervisor's stream has ended.
    gone: bool,
    /// A supervisor that has not ended everything by then never will.
    overdue: Option<Instant>,
}

impl Attempt {
    pub(super) fn new(
        slot: u32,
        socket: OwnedFd,
        pumps: Vec<JoinHandle<()>>,
        proxied: Option<Proxied>,
    ) -> io::Result<Attempt> {
        let socket = crate::sys::poll::watch_both(socket)?;
        Ok(Attempt {
            slot,
            socket,
            pumps,
            proxied,
            main: None,
            failed: None,
            drain_until: None,
            farewell: false,
            gone: false,
            overdue: None,
        })
    }

    /// Until the result is known: the main process ended and its output is in, or nobody will ever say.
    pub(super) async fn run_to_result(&mut self, driver: &mut Driver) -> Outcome {
        while !self.has_result() {
            self.step(driver).await;
        }
        if self.main.is_some() && self.pumps_run() && !driver.execution.output().is_held_up() {
            driver.execution.update(|view| view.pipes_held_open = true);
        }
        if self.main.is_some() && !self.farewell {
            driver.execution.asks().drained();
        }
        self.drain_until = None;
        self.outcome(driver.stop())
    }

    /// Until the supervisor has let go of everything.
    pub(super) async fn run_to_the_end(&mut self, driver: &mut Driver) {
        while !self.gone {
            self.step(driver).await;
        }
        // With every writer dead the pipes end by themselves, as soon as who must have all of it has taken it.
        self.pumps.retain(|pump| !pump.is_finished());
        for mut pump in self.pumps.drain(..) {
            while tokio::time::timeout(DRAIN, &mut pump).await.is_err() && driver.execution.output().is_held_up() {}
        }
    }

    fn has_result(&self) -> bool {
        if self.failed.is_some() {
            return true;
        }
        let drained = !self.pumps_run() || self.drain_until.is_some_and(|until| Instant::now() >= until);
        (self.main.is_some() && drained) || (self.gone && self.main.is_none())
    }

    /// No process is left and all of the output is in: nothing in the view changes any more.
    pub(super) fn is_settled(&self) -> bool {
        self.farewell && !self.pumps_run()
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

    /// One report, order, end of a pump, or the end of the draining time.
    async fn step(&mut self, driver: &mut Driver) {
        if driver.stop().is_some() {
            self.expect_the_end(driver.grace());
        }
        let overdue = self.overdue.filter(|_| !self.gone);
        // A handle must not be polled again once it has given its result.
        self.pumps.retain(|pump| !pump.is_finished());
        let draining = self.main.is_some() && self.drain_until.is_some();
        let until = self.drain_until.unwrap_or_else(Instant::now);
        let pump = self.pumps.iter_mut().find(|pump| !pump.is_finished());
        tokio::select! {
            biased;
            report = receive(&self.socket), if !self.gone => {
                let report = report.map(|found| found.map(|(report, sockets)| self.take(report, sockets, driver)));
                self.note(report, driver);
            }
            () = deliver(&self.socket, driver.execution.asks()), if !self.gone => {}
            _ = async { match pump { Some(pump) => { let _ = pump.await; } None => std::future::pending().await } }, if draining => {}
            () = sleep_until(until), if draining => {}
            () = sleep_until(overdue.unwrap_or(until)), if overdue.is_some() => {
                driver.shared.pool.kill(self.slot);
                self.overdue = Some(Instant::now() + PATIENCE);
            }
        }
    }

    /// Everything must be over after `within`. The earliest deadline stands.
    fn expect_the_end(&mut self, within: Duration) {
        let until = Instant::now() + within.saturating_add(PATIENCE);
        self.overdue = Some(self.overdue.map_or(until, |known| known.min(until)));
    }

    /// Descriptors come only with connections to the proxy, and do not arrive when we are out of them.
    fn take(&self, report: Report, sockets: Vec<OwnedFd>, driver: &Driver) -> Report {
        if report == Report::ProxyConnection && sockets.is_empty() {
            driver.shared.telemetry.dropped(Dropped::ProxyConnections).inc();
        }
        if let Some(proxied) = &self.proxied {
            sockets.into_iter().for_each(|socket| proxied.serve(socket));
        }
        report
    }

    fn note(&mut self, report: io::Result<Option<Report>>, driver: &Driver) {
        let execution = &driver.execution;
        match report {
            Ok(Some(Report::Held { pid })) => {
                execution.update(|view| view.pid = Some(pid));
                execution.set_status(Status::Ready);
                driver.shared.refill();
                driver.shared.journal.put(&execution.view());
            }
            Ok(Some(Report::Started { pid })) => {
                self.note_started(pid, Duration::ZERO, driver);
            }
            Ok(Some(Report::StartFailed(failed))) => {
                self.failed = Some(failed);
                driver.shared.refill();
            }
            Ok(Some(Report::Terminating)) => {
                if !execution.status().is_final() {
                    execution.set_status(Status::Terminating);
                }
            }
            Ok(Some(Report::MainEnded(mut end))) => {
                if let Some(pid) = end.started {
                    self.note_started(pid, Duration::from_micros(end.usage.wall_us), driver);
                }
                if let Some(network) = end.network.take() {
                    execution.update_network(network);
                }
                execution.update(|view| {
                    view.usage.update(&end.usage);
                    view.survivors = end.survivors;
                });
                if end.alone {
                    self.farewell = true;
                    execution.asks().answer(end.usage);
                }
                self.drain_until = Some(Instant::now() + DRAIN);
                self.main = Some(end);
            }
            Ok(Some(Report::Usage(usage))) => {
                execution.update(|view| view.usage.update(&usage));
                execution.asks().answer(usage);
            }
            Ok(Some(Report::Network(usage))) => execution.update_network(usage),
            Ok(Some(Report::NetworkDenied(contact))) => {
                execution.note_refused(&network::destination(&contact), &driver.shared.telemetry);
            }
            // Its descriptor was taken already.
            Ok(Some(Report::ProxyConnection)) => {}
            Ok(Some(Report::Gone(usage))) => {
                self.farewell = true;
                execution.update(|view| view.usage.update(&usage));
                execution.asks().answer(usage);
                execution.end_survivors();
            }
            Ok(None) | Err(_) => self.lose(driver),
        }
    }

    fn note_started(&mut self, pid: i32, ago: Duration, driver: &Driver) {
        driver.execution.note_started(pid, ago);
        self.overdue = driver.wall_time().map(|wall| Instant::now() + wall + driver.grace() + PATIENCE);
        driver.started();
    }

    /// The stream ended. A supervisor that did not say that nobody is left died: whatever its groups still hold is killed.
    fn lose(&mut self, driver: &Driver) {
        self.gone = true;
        self.proxied = None;
        driver.execution.asks().forget();
        driver.execution.end_survivors();
        if !self.farewell {
            let (shared, slot) = (driver.shared.clone(), self.slot);
            crate::task::run_blocking(move || group::kill_and_remove_slot(&shared.domain, slot));
        }
    }
}

/// A report, with the descriptors that came with it.
type Received = (Report, Vec<OwnedFd>);

async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<Received>> {
    loop {
        let mut ready = socket.readable().await?;
        let attempt = ready.try_io(|fd| protocol::receive::<Report>(fd.get_ref().as_fd(), MsgFlags::MSG_DONTWAIT));
        match attempt {
            Ok(message) => return message,
            Err(_would_block) => {}
        }
    }
}

/// Sends the next order as soon as there is one and the supervisor has room for it. Nothing is lost when this is dropped halfway.
async fn deliver(socket: &AsyncFd<OwnedFd>, asks: &Asks) {
    loop {
        asks.order_came().await;
        // A socket that cannot be waited for is told by its reading side.
        let Ok(mut ready) = socket.writable().await else { return std::future::pending().await };
        let Some(order) = asks.first() else { continue };
        if let Ok(_sent_or_dead) = ready.try_io(|fd| protocol::offer(fd.get_ref().as_fd(), &order, &[])) {
            // A supervisor that is dead needs no orders, and its stream says so by itself.
            return asks.sent(&order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::protocol::Order;
    use crate::sys::{fdpass, poll};

    /// As many signals as fit into the socket of a supervisor that reads nothing, and a KILL behind them.
    #[tokio::test]
    async fn a_stopped_supervisor_holds_up_nobody_and_gets_its_kill_when_it_goes_on() {
        let (ours, theirs) = fdpass::packet_pair().unwrap();
        let socket = poll::watch_both(ours).unwrap();
        let asks = Asks::default();
        let mut sent = 0;
        let patience = Duration::from_millis(200);
        loop {
            let _ = asks.signal(10);
            match tokio::time::timeout(patience, deliver(&socket, &asks)).await {
                Ok(()) => sent += 1,
                Err(_) => break,
            }
            assert!(sent < 100_000);
        }
        asks.kill(Stop::Cancelled);
        let next = || protocol::receive::<Order>(theirs.as_fd(), MsgFlags::MSG_DONTWAIT).unwrap().unwrap().0;
        let reader = async {
            for _ in 0..sent {
                assert_eq!(next(), Order::Signal(10));
            }
        };
        let ((), ()) = tokio::join!(deliver(&socket, &asks), reader);
        assert_eq!(next(), Order::Kill);
    }
}
