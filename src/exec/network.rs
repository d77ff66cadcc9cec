//! An execution's traffic as the daemon sees it: which domains it may reach, its proxy, and one account of what gate and proxy say.

use super::execution::Execution;
use super::request::StartError;
use crate::agent_type::{AgentType, OnLimit};
use crate::limits::{Enforcement, Mechanism, Strength};
use crate::network::egress::{DESTINATIONS_MAX, Destination, Egress, Observer, Rules, Verdict};
use crate::network::pinned::Pinned;
use crate::network::policy::{Policy, RuleList};
use crate::network::proxy::Proxy;
use crate::supervisor::protocol::{self, Contact, NetworkUsage};
use crate::supervisor::strings::Strings;
use crate::telemetry::{Dropped, Telemetry};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// What of the daemon and its machine matters to the network of executions; found once, when the daemon starts.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// where the daemon listens
    pub control_ports: Vec<u16>,
    /// a token guards that
    pub control_guarded: bool,
    /// name servers
    pub resolvers: Vec<IpAddr>,
    /// what decides what names mean
    pub pinned: Arc<Pinned>,
}

/// Name of the request's member.
const FIELD: &str = "allowed_domains";

/// What an execution may reach; `None` without any list, which means without a proxy.
///
/// # Errors
/// [`StartError::BadValue`] for an entry that is none, [`StartError::DomainNotAllowed`] for one that the type does not allow.
pub(super) fn policy(agent_type: &AgentType, asked: Option<&[String]>) -> Result<Option<Policy>, StartError> {
    let bad = |problem| StartError::BadValue { field: FIELD, problem };
    let list = |entries: &[String], fallback| RuleList::parse(entries.iter().map(String::as_str), fallback);
    let own = agent_type.allowed_domains.as_deref().map(|own| list(own, agent_type.domains_default));
    let own = own.transpose().map_err(|problem| StartError::Internal(format!("{}: {problem}", agent_type.name)))?;
    let asked = asked.map(|asked| list(asked, Default::default())).transpose().map_err(bad)?;
    if let (Some(own), Some(asked)) = (&own, &asked) {
        match own.first_loosening(asked) {
            Some(_) if agent_type.may_loosen_domains => return Ok(Some(Policy::new([asked.clone()]))),
            Some(rule) => {
                return Err(StartError::DomainNotAllowed {
                    agent_type: agent_type.name.clone(),
                    asked: rule.to_string(),
                });
            }
            None => {}
        }
    }
    let lists: Vec<RuleList> = own.into_iter().chain(asked).collect();
    Ok((!lists.is_empty()).then(|| Policy::new(lists)))
}

/// What holds a list of domains, and the number of requests that go through the proxy, beside this gate.
pub fn enforcement(gate: Enforcement) -> Enforcement {
    let (strength, detail) = match gate.strength {
        Strength::Unavailable => {
            (Strength::Advisory, "the egress proxy counts; without the gate a program can go around it")
        }
        strength => {
            (strength, "the egress proxy counts each request and CONNECT; the gate refuses every other way out")
        }
    };
    Enforcement { mechanism: Some(Mechanism::Proxy), strength, detail: detail.to_owned() }
}

/// The proxy of one attempt, with the listener that its clients connect to. Ends with this.
pub(super) struct Proxied {
    proxy: Arc<Proxy>,
    listener: Option<TcpListener>,
    port: u16,
    telemetry: Arc<Telemetry>,
}

fn serve(proxy: &Arc<Proxy>, socket: OwnedFd, telemetry: &Telemetry) {
    if proxy.serve(socket).is_err() {
        telemetry.dropped(Dropped::ProxyConnections).inc();
    }
}

impl Proxied {
    /// A listener of its own and an empty account, which the execution shows from now on.
    pub(super) fn begin(
        execution: &Arc<Execution>,
        telemetry: &Arc<Telemetry>,
        rules: Rules,
        on_limit: OnLimit,
    ) -> io::Result<Proxied> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let reporter = Reporter {
            execution: Arc::downgrade(execution),
            telemetry: telemetry.clone(),
            kills: on_limit == OnLimit::Kill,
        };
        let egress = Arc::new(Egress::new(rules, Box::new(reporter)));
        execution.set_egress(egress.clone());
        Ok(Proxied { proxy: Proxy::new(egress), listener: Some(listener), port, telemetry: telemetry.clone() })
    }

    /// The environment with the proxy in it. A variable that the request sets itself stays as it is.
    pub(super) fn environment(&self, env: &Strings, asked: &[String]) -> io::Result<Strings> {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut env: Vec<Vec<u8>> = env.iter().map(|pair| pair.to_bytes().to_vec()).collect();
        for name in VARIABLES {
            if !asked.iter().any(|asked| asked == name) {
                let value = if name.eq_ignore_ascii_case("no_proxy") { NO_PROXY } else { &url };
                env.retain(|pair| !pair.starts_with(format!("{name}=").as_bytes()));
                env.push(format!("{name}={value}").into_bytes());
            }
        }
        Strings::new(&env).map_err(io::Error::other)
    }

    /// The listener, for the supervisor.
    pub(super) fn listener(&self) -> Option<&TcpListener> {
        self.listener.as_ref()
    }

    /// The supervisor has the listener, and says whose each connection is.
    pub(super) fn handed_over(&mut self) {
        self.listener = None;
    }

    /// Nobody else can say whose a connection is: whoever comes is served.
    pub(super) fn serve_all(&mut self) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (proxy, telemetry) = (self.proxy.clone(), self.telemetry.clone());
        self.proxy.run(Box::pin(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(client) = client.into_std() {
                    serve(&proxy, client.into(), &telemetry);
                }
            }
        }));
        Ok(())
    }

    /// Serves a connection that the supervisor has found to be the execution's. One too many is closed and counted.
    pub(super) fn serve(&self, socket: OwnedFd) {
        serve(&self.proxy, socket, &self.telemetry);
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        self.proxy.close();
    }
}

/// Both cases, because programs read one or the other.
pub(super) const VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];
/// Loopback is free and needs no proxy.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Tells log and listeners what the proxy refuses.
struct Reporter {
    execution: Weak<Execution>,
    telemetry: Arc<Telemetry>,
    kills: bool,
}

impl Observer for Reporter {
    fn refused(&self, destination: &Destination) {
        if let Some(execution) = self.execution.upgrade() {
            execution.note_refused(destination, &self.telemetry);
        }
    }

    fn over_limit(&self, used: u64) {
        if let Some(execution) = self.execution.upgrade().filter(|_| self.kills) {
            execution.asks().breach_network(used);
        }
    }
}

/// What is known of an execution's traffic, from gate and proxy.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) gate: Option<NetworkUsage>,
    pub(super) egress: Option<Arc<Egress>>,
    told: Told,
}

/// One sum over both. Unknown is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// by verdict, as in [`Verdict::ALL`]
    pub(super) requests: [u64; 3],
    /// out and in; only the proxy sees them
    pub(super) bytes: Option<[u64; 2]>,
    /// oldest first
    pub(super) last: Vec<Destination>,
}

impl Account {
    /// Everything so far; `None` where nobody counts.
    pub(super) fn sum(&self) -> Option<Sum> {
        let proxy = self.egress.as_ref().map(|egress| egress.figures());
        if self.gate.is_none() && proxy.is_none() {
            return None;
        }
        let bytes = proxy.as_ref().map(|figures| [figures.bytes_out, figures.bytes_in]);
        let mut sum = Sum { bytes, ..Sum::default() };
        if let Some(figures) = proxy {
            sum.requests = figures.requests;
            sum.last = figures.last;
        }
        if let Some(gate) = &self.gate {
            let own = [gate.requests, gate.denied_by_limit, gate.denied_by_policy];
            for (all, own) in sum.requests.iter_mut().zip(own) {
                *all += own;
            }
            // Few, and both in order.
            for contact in &gate.last {
                let at = sum.last.partition_point(|known| known.at_ms <= contact.at_ms);
                sum.last.insert(at, destination(contact));
            }
            let over = sum.last.len().saturating_sub(DESTINATIONS_MAX);
            sum.last.drain(..over);
        }
        Some(sum)
    }

    /// Whether one more refusal may be told.
    pub(super) fn may_tell(&mut self, now_ms: u64) -> bool {
        self.told.may(now_ms)
    }
}

/// A contact of the gate in the words of the proxy.
pub(super) fn destination(contact: &Contact) -> Destination {
    let verdict = match contact.verdict {
        protocol::Verdict::Allowed => Verdict::Allowed,
        protocol::Verdict::Limit => Verdict::Limit,
        protocol::Verdict::Policy => Verdict::Domain,
    };
    Destination { to: contact.address.to_string(), verdict, at_ms: contact.at_ms }
}

/// Refusals that are told one by one: a few at once, then one a second. All are counted.
#[derive(Debug)]
struct Told {
    left: u64,
    since_ms: u64,
}

const TOLD_AT_ONCE: u64 = 16;

impl Default for Told {
    fn default() -> Told {
        Told { left: TOLD_AT_ONCE, since_ms: 0 }
    }
}

impl Told {
    fn may(&mut self, now_ms: u64) -> bool {
        let seconds = now_ms.saturating_sub(self.since_ms) / 1000;
        if seconds > 0 {
            self.left = self.left.saturating_add(seconds).min(TOLD_AT_ONCE);
            self.since_ms = now_ms;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentTypes;
    use crate::network::host::authority;
    use crate::network::policy::Fallback;

    fn typed(domains: Option<&[&str]>) -> AgentType {
        let mut kind = AgentTypes::builtin().ok().and_then(|types| types.get("VALIDATION").cloned()).expect("built in");
        kind.allowed_domains = domains.map(|list| list.iter().map(|each| (*each).to_owned()).collect());
        kind
    }

    fn allows(kind: &AgentType, asked: Option<&[&str]>, to: &str) -> Result<Option<bool>, StartError> {
        let asked: Option<Vec<String>> = asked.map(|list| list.iter().map(|each| (*each).to_owned()).collect());
        let (host, port) = authority(to).expect(to);
        Ok(policy(kind, asked.as_deref())?.map(|policy| policy.admits(&host, port)))
    }

    #[test]
    fn a_request_may_tighten_and_not_loosen() {
        let open = typed(None);
        assert_eq!(allows(&open, None, "a.example:80"), Ok(None));
        assert_eq!(allows(&open, Some(&["a.example"]), "a.example:80"), Ok(Some(true)));
        assert_eq!(allows(&open, Some(&[]), "a.example:80"), Ok(Some(false)));
        let listed = typed(Some(&["*.example"]));
        assert_eq!(allows(&listed, None, "a.example:80"), Ok(Some(true)));
        assert_eq!(allows(&listed, Some(&["a.example:443"]), "a.example:80"), Ok(Some(false)));
        let loosened = allows(&listed, Some(&["a.example", "b.net"]), "b.net:80");
        assert!(
            matches!(&loosened, Err(StartError::DomainNotAllowed { asked, .. }) if asked == "b.net"),
            "{loosened:?}"
        );
        assert!(matches!(
            allows(&listed, Some(&["127.1"]), "b.net:80"),
            Err(StartError::BadValue { field: FIELD, .. })
        ));
        let mut loose = typed(Some(&["*.example"]));
        loose.may_loosen_domains = true;
        assert_eq!(allows(&loose, Some(&["b.net"]), "b.net:80"), Ok(Some(true)));
        let mut default = typed(Some(&["!bad.net"]));
        default.domains_default = Fallback::Allow;
        assert_eq!(allows(&default, Some(&["bad.net", "b.net"]), "bad.net:80"), Ok(Some(false)));
    }

    #[test]
    fn gate_and_proxy_are_one_sum() {
        assert_eq!(Account::default().sum(), None);
        let contact = |at_ms, verdict| Contact { address: ([192, 0, 2, 1], 80).into(), udp: false, verdict, at_ms };
        let gate = NetworkUsage {
            requests: 3,
            denied_by_limit: 2,
            denied_by_policy: 1,
            dropped_connections: 0,
            last: (0..20).map(|at| contact(at, protocol::Verdict::Policy)).collect(),
        };
        let account = Account { gate: Some(gate), ..Account::default() };
        let sum = account.sum().expect("counted");
        assert_eq!((sum.requests, sum.bytes, sum.last.len()), ([3, 2, 1], None, DESTINATIONS_MAX));
        assert_eq!((sum.last[15].to.as_str(), sum.last[15].verdict), ("192.0.2.1:80", Verdict::Domain));
    }

    #[test]
    fn refusals_are_told_a_few_at_once_and_then_slowly() {
        let mut told = Told::default();
        let count = |told: &mut Told, now| (0..100).filter(|_| told.may(now)).count();
        assert_eq!(count(&mut told, 500), 16);
        assert_eq!(count(&mut told, 1400), 1);
        assert_eq!(count(&mut told, 2500), 1);
        assert_eq!(count(&mut told, 5500), 3);
        assert_eq!(count(&mut told, 1 << 40), 16);
    }
}
