//! What the supervisor does for its gate: turns, messages to the daemon, the end for too many requests.

use super::Supervisor;
use crate::limits::{LimitKey, Mechanism};
use crate::supervisor::gate::Gate;
use crate::supervisor::network::{Broker, Post};
use crate::supervisor::protocol::{self, Breach, Report};
use crate::sys::time;
use std::os::fd::{AsFd, BorrowedFd};

impl Supervisor<'_> {
    pub(super) fn serve_gate(&mut self) {
        let Some(run) = &mut self.run else { return };
        if let Some(gate) = &mut run.gate {
            run.listening = gate.serve();
        }
        self.check_denied_tasks();
        self.post_network();
    }

    pub(super) fn advance_network(&mut self) {
        if let Some(gate) = self.run.as_mut().and_then(|run| run.gate.as_mut()) {
            gate.advance();
        }
        self.post_network();
    }

    pub(super) fn network_due(&self) -> bool {
        let next = self.run.as_ref().and_then(|run| run.gate.as_ref()).and_then(Gate::next_at);
        next.is_some_and(|at| time::monotonic() >= at)
    }

    pub(super) fn network(&mut self) -> Option<&mut Broker> {
        self.run.as_mut()?.gate.as_mut()?.network.as_mut()
    }

    /// What the gate has for the daemon: connections to the proxy, refusals, the end.
    pub(super) fn post_network(&mut self) {
        let Some(network) = self.network() else { return };
        let (posts, breach) = (network.post(), network.breach());
        if !posts.is_empty() {
            // The daemon must know of the start first.
            self.end_quiet();
        }
        for post in posts {
            match post {
                Post::Connection(fd) => {
                    if !self.offer(&Report::ProxyConnection, &[fd.as_fd()])
                        && let Some(network) = self.network()
                    {
                        network.note_dropped_connection();
                    }
                }
                // Counted among the refused ones, told or not.
                Post::Denied(contact) => drop(self.offer(&Report::NetworkDenied(contact), &[])),
            }
        }
        if let Some(used) = breach {
            self.end_for_network(used, Mechanism::Seccomp);
        }
    }

    /// Figures of the network gate, ahead of every report that carries usage.
    pub(super) fn report_network(&mut self) {
        if let Some(news) = self.network().and_then(Broker::news) {
            self.report(&Report::Network(news));
        }
    }

    /// Without waiting: false when there was no room for it. A dropped connection ends for the program.
    pub(super) fn offer(&self, report: &Report, fds: &[BorrowedFd<'_>]) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| protocol::offer(daemon.as_fd(), report, fds).is_ok())
    }

    pub(super) fn end_for_network(&mut self, used: u64, mechanism: Mechanism) {
        let Some(allowed) = self.run.as_ref().and_then(|run| run.spec.limits.network_requests) else { return };
        self.end_for(Breach { limit: LimitKey::NetworkRequests, allowed, used, mechanism });
    }
}
