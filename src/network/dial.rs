//! From a judged request to a connection: looks the name up, checks every address, connects to one that was checked.
//!
//! There is no second lookup behind the check, so the answer cannot change in between (DNS rebinding).

use super::egress::Egress;
use super::host::Host;
use super::refusal::Refusal;
use super::stream;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Waiting for one address while there are others, in milliseconds; and for the last one.
const CONNECT_MS: u32 = 3_000;
const LAST_CONNECT_MS: u32 = 30_000;

const CHANGED: &str = "/etc/hosts or /etc/resolv.conf was changed since the daemon started, and the execution's user may do that; \
                       restart the daemon, or send it a SIGHUP, if that is right";

/// Connects to where an allowed request goes.
///
/// # Errors
/// [`Refusal::Domain`] when no address may be connected to, which also takes the request off the allowed ones.
pub(super) async fn dial(
    egress: &Egress,
    lookups: &Arc<Semaphore>,
    host: &Host,
    port: u16,
) -> Result<TcpStream, Refusal> {
    let addresses = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => look_up(egress, lookups, name, port).await?,
    };
    let may = |address: &IpAddr| may_connect(egress, host, *address, port);
    let allowed: Vec<IpAddr> = addresses.into_iter().filter(may).take(ADDRESSES_MAX).collect();
    if allowed.is_empty() {
        egress.take_back(host, port);
        let why = match host {
            Host::Name(_) => ": the name leads to addresses that need an entry of their own",
            Host::Address(_) => ": it is the daemon's own",
        };
        return Err(Refusal::Domain { to: format!("{host}:{port}"), why });
    }
    connect(host, port, &allowed).await
}

fn may_connect(egress: &Egress, host: &Host, address: IpAddr, port: u16) -> bool {
    let listed = match host {
        Host::Name(_) => egress.admits_answer(address, port),
        // Judged already, and not by a name.
        Host::Address(_) => true,
    };
    listed && !(egress.is_control_port(port) && is_local(address))
}

/// Whether this machine has the address: the route to it then starts at itself. Sends nothing. When in doubt it has.
fn is_local(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let own = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    address.is_loopback() || address.is_unspecified() || own().map_or(true, |own| own == address)
}

/// Asks the system's resolver in a thread of its own, a few at a time. Who has given up keeps the place until the resolver answers.
async fn look_up(egress: &Egress, lookups: &Arc<Semaphore>, name: &str, port: u16) -> Result<Vec<IpAddr>, Refusal> {
    let unknown = |error: io::Error| Refusal::Unreachable(format!("look up {name}: {error}"));
    let place = lookups.clone().acquire_owned().await.map_err(io::Error::other).map_err(unknown)?;
    let asked = name.to_owned();
    let names_hold = egress.names_hold();
    let answer = tokio::task::spawn_blocking(move || {
        let answer = (asked.as_str(), port).to_socket_addrs().map(|all| all.map(|each| each.ip()).collect());
        drop(place);
        // Behind the lookup: a change before it is seen as well.
        if names_hold() { answer } else { Err(io::Error::other(CHANGED)) }
    });
    answer.await.map_err(io::Error::from).flatten().map_err(unknown)
}

async fn connect(host: &Host, port: u16, addresses: &[IpAddr]) -> Result<TcpStream, Refusal> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (n, address) in addresses.iter().enumerate() {
        let patience = if n + 1 == addresses.len() { LAST_CONNECT_MS } else { CONNECT_MS };
        match connect_to(SocketAddr::new(*address, port), patience).await {
            Ok(connected) => {
                stream::tune(&connected);
                return Ok(connected);
            }
            Err(error) => last = error,
        }
    }
    let text = format!("connect to {host}:{port}: {last}");
    Err(if last.kind() == io::ErrorKind::TimedOut { Refusal::TooSlow(text) } else { Refusal::Unreachable(text) })
}

async fn connect_to(address: SocketAddr, patience_ms: u32) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it an address that does not answer takes all the time.
    let _ = setsockopt(&socket, sockopt::TcpUserTimeout, &patience_ms);
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::super::egress::tests::egress;
    use super::*;

    #[test]
    fn own_addresses_are_local() {
        for (address, expected) in [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("0.0.0.0", true)] {
            assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_needs_a_rule_for_that() {
        let lookups = Arc::new(Semaphore::new(1));
        let host = Host::Name("localhost".to_owned());
        let (strict, _) = egress(&["localhost"], None);
        strict.judge(&host, 80);
        let refused = dial(&strict, &lookups, &host, 80).await.unwrap_err();
        assert!(matches!(refused, Refusal::Domain { .. }), "{refused}");
        assert_eq!(strict.figures().requests, [0, 0, 1]);

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, _) = egress(&["localhost", "127.0.0.0/8", "::1"], None);
        assert!(dial(&open, &lookups, &host, port).await.is_ok());
    }
}
