//! A network of the test's own: a box, where the daemon and its executions live, and a peer that counts what really reaches it.
//!
//! | file | what it is for |
//! |---|---|
//! | `link` | namespaces, the pair of devices between them, addresses, routes, `resolv.conf` |
//! | `peer` | one thread in the other namespace: echo, HTTP, DNS, and the control port by which a row asks for the counts |
//! | `sniff` | every packet that arrives at the peer, whatever listens there |
//! | `dns` | names and answers |
//! | `outer` | the same for a container, from outside |
//! | `certificates` | a certificate authority of our own, for rows with TLS |
//!
//! Everything is anonymous: the namespaces live as long as the threads in them, so nothing is left behind and runs in parallel do not
//! meet. In Docker the peer is made outside by `outer` and found by `EXECD_PEER`; a row does not see the difference.

pub mod certificates;
pub mod dns;
pub mod link;
pub mod outer;
pub mod peer;
pub mod sniff;

use super::world::{self, Scratch, World};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Echoes on TCP and, at this one address, on UDP. Every address of 203.0.113.0/24 and 2001:db8:1::/64 is the peer's, and so is
/// every one of 45.67.89.0/24 and 2a12:3456:789a::/64, which are no documentation's but public by their numbers.
pub const ECHO: &str = "203.0.113.1:7";
pub const ECHO_V6: &str = "[2001:db8:1::1]:7";
pub const ECHO_MAPPED: &str = "[::ffff:203.0.113.1]:7";
/// Nobody listens: the peer's kernel refuses.
pub const REFUSED: &str = "203.0.113.1:1";
/// Nobody answers at all.
pub const BLACKHOLE: &str = "198.51.100.1:7";
pub const BLACKHOLE_V6: &str = "[2001:db8:dead::1]:7";
/// A small web server.
pub const HTTP: &str = "203.0.113.1:80";
/// The one resolver that `/etc/resolv.conf` names.
pub const RESOLVER: &str = "203.0.113.53";
/// The box's own addresses beside loopback.
pub const BOX_V4: &str = "192.0.2.2";
pub const BOX_V6: &str = "2001:db8::2";

/// The peer as a row sees it.
pub struct Network {
    control: SocketAddr,
    /// Ends the peer's thread, where it is ours.
    peer: Option<peer::Peer>,
    pub scratch: Scratch,
}

/// What arrived at the peer since the last `reset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Attempts to open a TCP connection; retransmissions count once.
    pub tcp: u64,
    /// Datagrams, except queries to the resolver.
    pub udp: u64,
    /// Datagrams and connections to the resolver's port 53.
    pub resolver: u64,
    /// Packets of any other protocol, neighbour discovery aside.
    pub other: u64,
    /// Per `tcp ADDRESS:PORT` or `udp ADDRESS:PORT`.
    pub by_destination: Value,
}

impl Seen {
    /// Everything that a sandboxed program could have sent.
    pub fn total(&self) -> u64 {
        self.tcp + self.udp + self.other
    }

    /// What arrived for one destination, e.g. `tcp 203.0.113.1:7`.
    pub fn at(&self, destination: &str) -> u64 {
        self.by_destination[destination].as_u64().unwrap_or(0)
    }
}

/// A server beside the peer; it ends when dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a row in a thread of its own whose network, and that of all it starts, is a fresh box; skipped where none can be made.
pub fn inside(row: impl FnOnce(&Network) + Send) {
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                if let Some(network) = Network::enter() {
                    row(&network);
                }
            })
            .join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Network {
    fn enter() -> Option<Network> {
        let scratch = Scratch::new("network");
        if let Ok(control) = std::env::var("EXECD_PEER") {
            let control = control.parse().expect("EXECD_PEER is ADDRESS:PORT");
            let network = Network { control, peer: None, scratch };
            network.reset();
            return Some(network);
        }
        if matches!(World::current(), World::Docker | World::DockerLocked) {
            world::skip("nobody made a peer for this container");
            return None;
        }
        if !world::needs_root() || !world::needs_tools(&["ip"]) {
            return None;
        }
        let peer = peer::Peer::start();
        link::enter_box(&peer, scratch.path());
        let network = Network { control: peer::CONTROL.parse().expect("constant"), peer: Some(peer), scratch };
        network.reset();
        Some(network)
    }

    /// What arrived since the last `reset`.
    pub fn seen(&self) -> Seen {
        let counts = self.ask("counts");
        let number = |key: &str| counts[key].as_u64().expect("a count");
        assert_eq!(number("lost"), 0, "the peer lost count: {counts}");
        Seen {
            tcp: number("tcp"),
            udp: number("udp"),
            resolver: number("resolver"),
            other: number("other"),
            by_destination: counts["by_destination"].clone(),
        }
    }

    /// Forgets what arrived so far.
    pub fn reset(&self) {
        self.ask("reset");
    }

    /// Runs `job` in the peer's namespace; threads that it starts stay there. `None` where the peer is not ours.
    pub fn beside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Option<T> {
        Some(self.peer.as_ref()?.beside(job))
    }

    /// Starts a server in the peer's namespace and waits for its first line; `None` where the peer is not ours.
    pub fn serve(&self, command: &mut Command) -> Option<Server> {
        let mut child = self.beside(|| command.stdout(Stdio::piped()).spawn().expect("a server"))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a server");
        assert!(!line.is_empty(), "{command:?} did not start");
        Some(Server(child))
    }

    fn ask(&self, word: &str) -> Value {
        let mut stream =
            TcpStream::connect_timeout(&self.control, Duration::from_secs(10)).expect("the peer's control port");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        stream.write_all(format!("{word}\n").as_bytes()).expect("the peer");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the peer");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }
}
