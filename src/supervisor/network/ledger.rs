//! What was counted, what was refused, and what is paid already. Pure.

use crate::supervisor::protocol::{Contact, MAX_CONTACTS, NetworkUsage, Verdict};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Addresses whose datagrams are paid for; more than that are counted again each time.
const MAX_PAID: usize = 4096;
/// Refusals told one by one in a second; all of them are counted.
const MAX_TOLD: u64 = 8;

/// The account of one execution.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    limit: Option<u64>,
    usage: NetworkUsage,
    /// Addresses that got datagrams; `true` while the next stream there is paid by the first of them.
    paid: HashMap<IpAddr, bool>,
    told: Vec<Contact>,
    /// the second of the last refusal, and how many were told in it
    telling: (u64, u64),
    changed: bool,
}

impl Ledger {
    pub(super) fn new(limit: Option<u64>) -> Ledger {
        // That nothing was asked for is news too: it is known to be 0.
        Ledger { limit, changed: true, ..Ledger::default() }
    }

    /// One attempt to connect a stream.
    pub(super) fn stream(&mut self, to: SocketAddr, at_ms: u64) -> Verdict {
        if let Some(credit) = self.paid.get_mut(&to.ip().to_canonical())
            && std::mem::take(credit)
        {
            return Verdict::Allowed;
        }
        self.count(to, false, at_ms)
    }

    /// A datagram, or an association for datagrams. Only the first contact with an address counts (getaddrinfo(3) probes
    /// routes that way), and it pays for the next stream there.
    pub(super) fn datagram(&mut self, to: SocketAddr, at_ms: u64) -> Verdict {
        let ip = to.ip().to_canonical();
        if self.paid.contains_key(&ip) {
            return Verdict::Allowed;
        }
        let verdict = self.count(to, true, at_ms);
        if verdict == Verdict::Allowed && self.paid.len() < MAX_PAID {
            self.paid.insert(ip, true);
        }
        verdict
    }

    /// A call that might be a contact and that nobody can tell from one.
    pub(super) fn unknown(&mut self) -> Verdict {
        self.changed = true;
        if self.is_spent() {
            self.usage.denied_by_limit += 1;
            return Verdict::Limit;
        }
        self.usage.requests += 1;
        Verdict::Allowed
    }

    /// A destination that a rule forbids.
    pub(super) fn forbid(&mut self, to: SocketAddr, udp: bool, at_ms: u64) {
        self.usage.denied_by_policy += 1;
        self.note(Contact { address: to, udp, verdict: Verdict::Policy, at_ms });
    }

    /// A socket from outside the execution.
    pub(super) fn forbid_stranger(&mut self) {
        self.changed = true;
        self.usage.denied_by_policy += 1;
    }

    fn is_spent(&self) -> bool {
        self.limit.is_some_and(|limit| self.usage.requests >= limit)
    }

    fn count(&mut self, to: SocketAddr, udp: bool, at_ms: u64) -> Verdict {
        let verdict = if self.is_spent() { Verdict::Limit } else { Verdict::Allowed };
        match verdict {
            Verdict::Allowed => self.usage.requests += 1,
            Verdict::Limit | Verdict::Policy => self.usage.denied_by_limit += 1,
        }
        self.note(Contact { address: to, udp, verdict, at_ms });
        verdict
    }

    fn note(&mut self, contact: Contact) {
        self.changed = true;
        if self.usage.last.len() >= MAX_CONTACTS {
            self.usage.last.remove(0);
        }
        self.usage.last.push(contact);
        if contact.verdict == Verdict::Allowed {
            return;
        }
        let second = contact.at_ms / 1000;
        let told = if self.telling.0 == second { self.telling.1 } else { 0 };
        if told < MAX_TOLD {
            self.telling = (second, told + 1);
            self.told.push(contact);
        }
    }

    /// Requests that were let through and the ones that the limit refused.
    pub(super) fn asked(&self) -> u64 {
        self.usage.requests + self.usage.denied_by_limit
    }

    /// Some request was refused because of the limit.
    pub(super) fn is_over(&self) -> bool {
        self.usage.denied_by_limit > 0
    }

    /// Figures, if they changed since they were asked for last.
    pub(super) fn news(&mut self) -> Option<NetworkUsage> {
        std::mem::take(&mut self.changed).then(|| self.usage.clone())
    }

    pub(super) fn note_dropped_connection(&mut self) {
        self.usage.dropped_connections += 1;
        self.changed = true;
    }

    /// Refusals to be told.
    pub(super) fn refusals(&mut self) -> Vec<Contact> {
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, last], 443))
    }

    #[test]
    fn exactly_the_limit_is_let_through() {
        let mut ledger = Ledger::new(Some(3));
        let verdicts: Vec<_> = (0..5).map(|_| ledger.stream(at(1), 0)).collect();
        assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Allowed).count(), 3);
        let usage = ledger.news().unwrap();
        assert_eq!((usage.requests, usage.denied_by_limit, usage.denied_by_policy), (3, 2, 0));
        assert_eq!((ledger.news(), ledger.asked(), ledger.is_over()), (None, 5, true));
    }

    #[test]
    fn the_first_datagram_pays_for_the_next_stream_there() {
        let mut ledger = Ledger::new(Some(2));
        assert_eq!(ledger.datagram(at(1), 0), Verdict::Allowed);
        assert_eq!(ledger.datagram(SocketAddr::from(([203, 0, 113, 1], 80)), 0), Verdict::Allowed, "same address");
        assert_eq!(ledger.stream(at(1), 0), Verdict::Allowed, "paid");
        assert_eq!(ledger.stream(at(1), 0), Verdict::Allowed, "second of two");
        assert_eq!(ledger.stream(at(1), 0), Verdict::Limit);
        assert_eq!(ledger.datagram(at(2), 0), Verdict::Limit);
        assert_eq!(ledger.datagram(at(1), 0), Verdict::Allowed, "still paid");
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_out_and_none_counts_only() {
        assert_eq!(Ledger::new(Some(0)).datagram(at(1), 0), Verdict::Limit);
        let mut open = Ledger::new(None);
        for _ in 0..100 {
            assert_eq!(open.stream(at(1), 0), Verdict::Allowed);
        }
        assert_eq!(open.news().unwrap().requests, 100);
    }

    #[test]
    fn refusals_by_rule_cost_nothing_and_lists_stay_short() {
        let mut ledger = Ledger::new(Some(1));
        for _ in 0..100 {
            ledger.forbid(at(9), false, 7);
        }
        assert_eq!(ledger.stream(at(1), 0), Verdict::Allowed);
        assert!(!ledger.is_over());
        let usage = ledger.news().unwrap();
        assert_eq!((usage.denied_by_policy, usage.last.len()), (100, MAX_CONTACTS));
        assert_eq!(ledger.refusals().len() as u64, MAX_TOLD);
        ledger.forbid(at(9), false, 999);
        assert!(ledger.refusals().is_empty(), "enough was told in this second");
        ledger.forbid(at(9), false, 1000);
        assert_eq!(ledger.refusals().len(), 1);
    }

    proptest! {
        /// Whatever the order, no more streams and new datagram addresses than the limit, plus one paid stream per datagram address.
        #[test]
        fn nothing_gets_past_the_limit(limit in 0u64..6, steps in proptest::collection::vec((any::<bool>(), 0u8..4), 0..60)) {
            let mut ledger = Ledger::new(Some(limit));
            let (mut streams, mut addresses) = (0, std::collections::HashSet::new());
            for (udp, host) in steps {
                if udp {
                    if ledger.datagram(at(host), 0) == Verdict::Allowed { addresses.insert(host); }
                } else if ledger.stream(at(host), 0) == Verdict::Allowed {
                    streams += 1;
                }
            }
            prop_assert!(addresses.len() as u64 <= limit);
            prop_assert!(streams <= limit);
            prop_assert!(ledger.usage.requests <= limit);
        }
    }
}
