//! The account of one execution at the proxy: what it may, what it did, where it went last.
//!
//! Every plain request and every `CONNECT` is judged here, alone and before anything goes out.

use super::host::Host;
use super::pinned::Pinned;
use super::policy::Policy;
use crate::sys::time::unix_ms;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Destinations that are remembered.
pub const DESTINATIONS_MAX: usize = 16;

/// What is said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// counted and let through
    Allowed,
    /// the limit is reached
    Limit,
    /// the list of domains, or another rule that holds whatever the limit
    Domain,
}

impl Verdict {
    /// Every verdict, in the order of their numbers.
    pub const ALL: [Verdict; 3] = [Verdict::Allowed, Verdict::Limit, Verdict::Domain];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Allowed => "allowed",
            Verdict::Limit => "limit",
            Verdict::Domain => "domain",
        }
    }
}

/// One request: where to, and what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `host:port`
    pub to: String,
    /// what was said
    pub verdict: Verdict,
    /// when, ms since the Unix epoch
    pub at_ms: u64,
}

/// Who is told what happens; is called from the runtime's thread and must not block.
pub trait Observer: Send + Sync {
    /// A request was refused.
    fn refused(&self, destination: &Destination);
    /// The limit was reached for the first time with one request more, which makes `used`.
    fn over_limit(&self, used: u64);
}

/// What is to be held.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// which destinations
    pub policy: Policy,
    /// how many requests; `None` counts only
    pub limit: Option<u64>,
    /// where the daemon listens: on a local address never a destination
    pub control_ports: Vec<u16>,
    /// the files that decide what names mean
    pub pinned: Arc<Pinned>,
    /// who could change them: the user of the execution
    pub uid: u32,
}

/// Figures of one execution at its proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// requests by verdict, as in [`Verdict::ALL`]
    pub requests: [u64; 3],
    /// bytes sent to and received from destinations
    pub bytes_out: u64,
    /// see above
    pub bytes_in: u64,
    /// the last destinations, oldest first
    pub last: Vec<Destination>,
}

impl Figures {
    /// Requests with this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.requests[verdict as usize]
    }
}

/// The account.
pub struct Egress {
    rules: Rules,
    observer: Box<dyn Observer>,
    book: Mutex<Book>,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

#[derive(Default)]
struct Book {
    requests: [u64; 3],
    last: VecDeque<Destination>,
}

impl Egress {
    /// An empty account.
    pub fn new(rules: Rules, observer: Box<dyn Observer>) -> Egress {
        Egress { rules, observer, book: Mutex::default(), bytes_out: AtomicU64::new(0), bytes_in: AtomicU64::new(0) }
    }

    /// Judges one request and counts it. A name that is refused is not looked up.
    pub(super) fn judge(&self, host: &Host, port: u16) -> Verdict {
        let verdict = {
            let mut book = self.book();
            let allowed = &mut book.requests[Verdict::Allowed as usize];
            if !self.rules.policy.admits(host, port) {
                Verdict::Domain
            } else if self.rules.limit.is_some_and(|limit| *allowed >= limit) {
                Verdict::Limit
            } else {
                *allowed += 1;
                Verdict::Allowed
            }
        };
        match verdict {
            Verdict::Allowed => drop(self.note(host, port, verdict)),
            Verdict::Domain => self.refuse(host, port, verdict),
            Verdict::Limit => {
                let first = self.book().requests[Verdict::Limit as usize] == 0;
                self.refuse(host, port, verdict);
                if let Some(limit) = self.rules.limit.filter(|_| first) {
                    self.observer.over_limit(limit.saturating_add(1));
                }
            }
        }
        verdict
    }

    /// A request that was let through by its name turns out to lead where it may not: it is denied, and not one of the allowed.
    pub(super) fn take_back(&self, host: &Host, port: u16) {
        {
            let allowed = &mut self.book().requests[Verdict::Allowed as usize];
            *allowed = allowed.saturating_sub(1);
        }
        self.refuse(host, port, Verdict::Domain);
    }

    /// What goes on inside of an allowed connection is refused; the connection stays counted.
    pub(super) fn refuse_inside(&self, host: &Host, port: u16) {
        self.refuse(host, port, Verdict::Domain);
    }

    /// Whether an address that an allowed name resolved to may be connected to.
    pub(super) fn admits_answer(&self, address: IpAddr, port: u16) -> bool {
        self.rules.policy.admits_answer(address, port)
    }

    /// Whether a name inside of a connection may be spoken to.
    pub(super) fn admits(&self, host: &Host, port: u16) -> bool {
        self.rules.policy.admits(host, port)
    }

    /// Whether the daemon itself listens there, if the address is one of this machine.
    pub(super) fn is_control_port(&self, port: u16) -> bool {
        self.rules.control_ports.contains(&port)
    }

    /// Says whether names mean what they meant when the daemon started.
    pub(super) fn names_hold(&self) -> impl Fn() -> bool + Send + 'static {
        let (pinned, uid) = (self.rules.pinned.clone(), self.rules.uid);
        move || pinned.holds_for(uid)
    }

    /// The limit and how much of it is used.
    pub(super) fn budget(&self) -> (Option<u64>, u64) {
        (self.rules.limit, self.book().requests[Verdict::Allowed as usize])
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// The figures of this moment.
    pub fn figures(&self) -> Figures {
        let book = self.book();
        Figures {
            requests: book.requests,
            bytes_out: self.bytes_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            last: book.last.iter().cloned().collect(),
        }
    }

    fn refuse(&self, host: &Host, port: u16, verdict: Verdict) {
        self.book().requests[verdict as usize] += 1;
        let destination = self.note(host, port, verdict);
        self.observer.refused(&destination);
    }

    fn note(&self, host: &Host, port: u16, verdict: Verdict) -> Destination {
        let destination = Destination { to: format!("{host}:{port}"), verdict, at_ms: unix_ms() };
        let last = &mut self.book().last;
        if last.len() == DESTINATIONS_MAX {
            last.pop_front();
        }
        last.push_back(destination.clone());
        destination
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("rules", &self.rules).field("figures", &self.figures()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::policy::{Fallback, RuleList};
    use super::*;

    #[derive(Default)]
    pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

    impl Observer for Arc<Heard> {
        fn refused(&self, destination: &Destination) {
            self.0.lock().unwrap().push(format!("{} {}", destination.verdict.as_str(), destination.to));
        }

        fn over_limit(&self, used: u64) {
            self.0.lock().unwrap().push(format!("over {used}"));
        }
    }

    pub(crate) fn egress(entries: &[&str], limit: Option<u64>) -> (Arc<Egress>, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let policy = Policy::new([RuleList::parse(entries.iter().copied(), Fallback::Deny).unwrap()]);
        let rules = Rules { policy, limit, ..Rules::default() };
        (Arc::new(Egress::new(rules, Box::new(heard.clone()))), heard)
    }

    fn name(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn requests_are_counted_by_verdict_and_the_limit_is_told_once() {
        let (egress, heard) = egress(&["a.example"], Some(2));
        let said: Vec<_> = ["a.example", "b.example", "a.example", "a.example", "a.example"]
            .map(|host| egress.judge(&name(host), 80).as_str())
            .into();
        assert_eq!(said, ["allowed", "domain", "allowed", "limit", "limit"]);
        let told = ["domain b.example:80", "limit a.example:80", "over 3", "limit a.example:80"];
        assert_eq!(*heard.0.lock().unwrap(), told);
        assert_eq!(egress.figures().requests, [2, 2, 1]);
        assert_eq!(egress.budget(), (Some(2), 2));
    }

    #[test]
    fn a_name_that_leads_astray_costs_nothing_and_is_denied() {
        let (egress, _) = egress(&["a.example"], Some(1));
        assert_eq!(egress.judge(&name("a.example"), 80), Verdict::Allowed);
        egress.take_back(&name("a.example"), 80);
        assert_eq!(egress.figures().requests, [0, 0, 1]);
        assert_eq!(egress.judge(&name("a.example"), 80), Verdict::Allowed);
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through() {
        let (egress, _) = egress(&["a.example"], Some(0));
        assert_eq!(egress.judge(&name("a.example"), 80), Verdict::Limit);
    }

    #[test]
    fn the_last_destinations_are_few() {
        let (egress, _) = egress(&[], None);
        for n in 0..100 {
            egress.judge(&name("a.example"), 1 + n);
        }
        let last = egress.figures().last;
        assert_eq!(last.len(), DESTINATIONS_MAX);
        assert_eq!(last.last().map(|d| d.to.as_str()), Some("a.example:100"));
    }
}
