//! What an execution may reach through the proxy: the lists of its type and of its request, and what they say. Pure.

use super::address::{Class, class};
use super::host::Host;
use super::rule::Rule;
use std::net::IpAddr;

/// Entries of one list, at most.
pub const RULES_MAX: usize = 1024;

/// What happens to what no entry is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// it is refused
    #[default]
    Deny,
    /// names and public addresses are let through
    Allow,
}

/// One list of entries with its fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleList {
    rules: Vec<Rule>,
    fallback: Fallback,
}

impl RuleList {
    /// Reads a list.
    ///
    /// # Errors
    /// What is wrong with the first bad entry, or that there are too many.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, fallback: Fallback) -> Result<RuleList, String> {
        let rules: Vec<Rule> = texts.into_iter().take(RULES_MAX + 1).map(Rule::parse).collect::<Result<_, _>>()?;
        if rules.len() > RULES_MAX {
            return Err(format!("has more than {RULES_MAX} entries"));
        }
        Ok(RuleList { rules, fallback })
    }

    /// The first entry of `asked` that allows something that this list does not.
    pub fn first_loosening<'a>(&self, asked: &'a RuleList) -> Option<&'a Rule> {
        if self.fallback == Fallback::Allow {
            return None;
        }
        let covered = |rule: &Rule| self.rules.iter().any(|own| !own.denies && own.covers(rule));
        asked.rules.iter().find(|rule| !rule.denies && !covered(rule))
    }

    fn decide(&self, about: impl Fn(&Rule) -> bool) -> Option<bool> {
        let mut hits = self.rules.iter().filter(|rule| about(rule)).peekable();
        hits.peek()?;
        Some(hits.all(|rule| !rule.denies))
    }

    /// Nothing is looked up for a name that is refused.
    fn admits_name(&self, name: &str, port: u16) -> bool {
        self.decide(|rule| rule.names(name, port)).unwrap_or(self.fallback == Fallback::Allow)
    }

    /// What no entry is about is let through where it is public, and where somebody asked for it by a name on the list or the fallback
    /// lets everything through.
    fn admits_address(&self, address: IpAddr, port: u16, by_name: bool) -> bool {
        let open = by_name || self.fallback == Fallback::Allow;
        self.decide(|rule| rule.holds(address, port)).unwrap_or(open && class(address) == Class::Public)
    }
}

/// Everything that is to be asked for one execution: each list must let a request through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    lists: Vec<RuleList>,
}

impl Policy {
    /// Of the type's list and the request's, whichever there are.
    pub fn new(lists: impl IntoIterator<Item = RuleList>) -> Policy {
        Policy { lists: lists.into_iter().collect() }
    }

    /// Whether a request for this host may go on: a name to be looked up, an address to be connected to.
    pub fn admits(&self, host: &Host, port: u16) -> bool {
        match host {
            Host::Name(name) => self.lists.iter().all(|list| list.admits_name(name, port)),
            Host::Address(address) => self.admits_address(*address, port, false),
        }
    }

    /// Whether an address that a name on the lists resolved to may be connected to.
    pub fn admits_answer(&self, address: IpAddr, port: u16) -> bool {
        self.admits_address(address, port, true)
    }

    fn admits_address(&self, address: IpAddr, port: u16, by_name: bool) -> bool {
        let address = address.to_canonical();
        class(address) != Class::Never && self.lists.iter().all(|list| list.admits_address(address, port, by_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str], fallback: Fallback) -> RuleList {
        RuleList::parse(entries.iter().copied(), fallback).expect("right")
    }

    fn admits(policy: &Policy, host: &str) -> bool {
        let (host, port) = super::super::host::authority(host).expect(host);
        policy.admits(&host, port)
    }

    #[test]
    fn decisions() {
        use Fallback::{Allow, Deny};
        let listed = ["example.com", "*.example.org:443", "!bad.example.org", "10.1.0.0/16", "!10.1.9.0/24"];
        for (fallback, host, expected) in [
            (Deny, "example.com:80", true),
            (Deny, "EXAMPLE.com.:80", true),
            (Deny, "www.example.com:80", false),
            (Deny, "www.example.org:443", true),
            (Deny, "www.example.org:80", false),
            (Deny, "example.org:443", false),
            (Deny, "bad.example.org:443", false),
            (Deny, "other.net:80", false),
            (Deny, "10.1.2.3:80", true),
            (Deny, "[::ffff:10.1.2.3]:80", true),
            (Deny, "10.1.9.1:80", false),
            (Deny, "10.2.0.1:80", false),
            (Deny, "8.8.8.8:80", false),
            (Deny, "0.0.0.0:80", false),
            (Allow, "other.net:80", true),
            (Allow, "bad.example.org:443", false),
            (Allow, "8.8.8.8:80", true),
            (Allow, "10.1.2.3:80", true),
            (Allow, "10.1.9.1:80", false),
            (Allow, "10.2.0.1:80", false),
            (Allow, "169.254.169.254:80", false),
            (Allow, "127.0.0.1:80", false),
            (Allow, "[::1]:80", false),
        ] {
            let policy = Policy::new([list(&listed, fallback)]);
            assert_eq!(admits(&policy, host), expected, "{fallback:?} {host}");
        }
    }

    #[test]
    fn answers_in_private_ranges_need_a_rule_on_addresses() {
        let policy = Policy::new([list(&["example.com", "10.1.0.0/16", "0.0.0.0/1:53"], Fallback::Deny)]);
        for (address, expected) in [
            ("93.184.216.34", true),
            ("10.1.0.9", true),
            ("::ffff:10.1.0.9", true),
            ("10.2.0.9", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("fd00:ec2::254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b::808:808", true),
        ] {
            assert_eq!(policy.admits_answer(address.parse().expect(address), 80), expected, "{address}");
        }
        // Nobody can connect to what is no destination.
        assert!(!policy.admits_answer("0.0.0.0".parse().expect("any"), 53));
    }

    #[test]
    fn every_list_must_agree() {
        let of_type = list(&["*.example.com", "10.0.0.0/8"], Fallback::Deny);
        let of_request = list(&["www.example.com", "*.net", "10.1.0.0/16"], Fallback::Deny);
        assert_eq!(of_type.first_loosening(&of_request).map(ToString::to_string).as_deref(), Some("*.net"));
        assert_eq!(list(&[], Fallback::Allow).first_loosening(&of_request), None);
        let both = Policy::new([of_type, of_request]);
        for (host, expected) in [
            ("www.example.com:80", true),
            ("api.example.com:80", false),
            ("a.net:80", false),
            ("10.1.0.1:80", true),
            ("10.2.0.1:80", false),
        ] {
            assert_eq!(admits(&both, host), expected, "{host}");
        }
    }

    #[test]
    fn an_empty_list_lets_nothing_through() {
        let none = Policy::new([list(&[], Fallback::Deny)]);
        assert!(!admits(&none, "example.com:80") && !admits(&none, "8.8.8.8:80"));
    }
}
