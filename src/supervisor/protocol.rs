//! What daemon, zygote, supervisor and stub say to each other: one packet per message, encoded by postcard.

use super::parcel::Parcel;
use super::strings::Strings;
use crate::agent_type::{OnLimit, Survivors};
use crate::limits::{LimitKey, Limits, Mechanism};
use crate::sys::fdpass;
use nix::sys::socket::MsgFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Longest encoded message: one with a short specification.
pub const MAX_MESSAGE: usize = 8 << 10;

/// One execution, fully resolved: what the supervisor and its stub need to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Program and arguments.
    pub argv: Strings,
    /// `KEY=VALUE` strings, complete.
    pub env: Strings,
    /// Working directory.
    pub cwd: PathBuf,
    /// Directory whose growth counts as storage.
    pub storage_root: PathBuf,
    /// `storage_root` was made for this execution and is empty, so nothing needs to be subtracted.
    pub storage_fresh: bool,
    /// User to become, if another one.
    pub uid: Option<u32>,
    /// Group to become, if another one.
    pub gid: Option<u32>,
    /// The numbers.
    pub limits: Limits,
    /// TERM to KILL, in milliseconds.
    pub grace_ms: u64,
    /// Processes that outlive the main one.
    pub survivors: Survivors,
    /// On reaching `pids`.
    pub on_pids: OnLimit,
    /// Set no_new_privs and install the protecting filter.
    pub confined: bool,
    /// Capabilities kept, as a bit mask; `u64::MAX` keeps everything.
    pub keep_capabilities: u64,
    /// Hold in `ready` until released.
    pub hold: bool,
    /// How its network is judged; `None` leaves it alone.
    pub network: Option<NetworkRules>,
}

impl Spec {
    /// What the stub must have been made for.
    pub fn shape(&self) -> Shape {
        if !self.confined {
            return Shape::OPEN;
        }
        Shape {
            confined: true,
            counted: self.limits.pids.is_some(),
            gated: self.network.is_some(),
            other_uid: self.uid.is_some_and(|uid| uid != nix::unistd::getuid().as_raw()),
        }
    }
}

/// What of a specification decides on the filter. A sandbox sees one or two shapes again and again, so a stub in reserve puts its filter
/// on ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// See [`Spec::confined`].
    pub confined: bool,
    /// Tasks are limited.
    pub counted: bool,
    /// Its network is judged.
    pub gated: bool,
    /// It becomes another user than the daemon's.
    pub other_uid: bool,
}

impl Shape {
    /// Of everything that is not confined.
    pub const OPEN: Shape = Shape { confined: false, counted: false, gated: false, other_uid: false };
}

/// How the network traffic of one execution is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRules {
    /// Requests that may go out; `None` counts only.
    pub limit: Option<u64>,
    /// On reaching the limit.
    pub on_limit: OnLimit,
    /// The daemon's egress proxy is the only way out; its listener comes with [`Order::Start`].
    pub proxied: bool,
    /// Where the daemon listens: on local addresses refused, or never free where a token guards it.
    pub control_ports: Vec<u16>,
    /// A token guards the control ports.
    pub control_guarded: bool,
    /// Resolvers that were configured when the daemon started: their port 53 is free.
    pub resolvers: Vec<IpAddr>,
}

/// What a supervisor is forked with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fork {
    /// Number of the execution's groups; unique while the daemon lives.
    pub slot: u32,
    /// Of what it will be asked for.
    pub shape: Shape,
}

/// Daemon to zygote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Errand {
    /// One more supervisor. Descriptor: its end of its socket.
    Fork(Fork),
    /// A new work directory is in reserve: whoever outlives the daemon removes it, if it is empty still.
    Spare(PathBuf),
    /// The supervisor does not answer any more: end it, and with it its tree.
    Kill {
        /// number of its groups
        slot: u32,
    },
}

/// Daemon to supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Start. Descriptors: stdin, stdout, stderr, what else the specification names, and the parcel's own.
    Start(Parcel),
    /// Let a held command go.
    Release,
    /// Send a signal to every process.
    Signal(i32),
    /// End everything: TERM, grace, KILL.
    Cancel,
    /// Kill everything now.
    Kill,
    /// The output is drained: what outlives the main process may go now, if its type says so.
    Drained,
    /// Report usage.
    Usage,
    /// The proxy counted requests up to the limit and refused one more, and the type kills.
    NetworkBreach {
        /// requests, the refused one included
        used: u64,
    },
}

/// Supervisor to daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// Limits are set; the command waits for its release.
    Held {
        /// pid of the process that will become the command
        pid: i32,
    },
    /// The command runs. A short one is told of by its end alone.
    Started {
        /// its pid
        pid: i32,
    },
    /// The command could not be started.
    StartFailed(StartFailure),
    /// Everything is being ended.
    Terminating,
    /// The main process ended.
    MainEnded(MainEnd),
    /// No process is left, and [`Report::MainEnded`] did not say so; last message.
    Gone(Usage),
    /// Answer to [`Order::Usage`].
    Usage(Usage),
    /// Network figures; precede the reports that carry usage whenever they changed.
    Network(NetworkUsage),
    /// An attempt was refused. Not every one is told: [`NetworkUsage`] counts them all.
    NetworkDenied(Contact),
    /// A process of the execution connected to the proxy. Descriptor: the proxy's end of the connection.
    ProxyConnection,
}

/// What an execution did on the network by itself, the proxy apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUsage {
    /// counted requests that were let through
    pub requests: u64,
    /// refused because of the limit
    pub denied_by_limit: u64,
    /// refused by policy: around the proxy, or to the daemon
    pub denied_by_policy: u64,
    /// connections to the proxy that the daemon was too busy to take
    pub dropped_connections: u64,
    /// the last destinations, oldest first, at most [`MAX_CONTACTS`]
    pub last: Vec<Contact>,
}

/// Destinations remembered per execution.
pub const MAX_CONTACTS: usize = 16;

/// One destination and what was said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// where to
    pub address: SocketAddr,
    /// datagrams rather than a stream
    pub udp: bool,
    /// the verdict
    pub verdict: Verdict,
    /// when, ms since the Unix epoch
    pub at_ms: u64,
}

/// What the gate says to a network request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// counted and let through
    Allowed,
    /// the limit is reached
    Limit,
    /// a rule forbids it, whatever the limit
    Policy,
}

/// Why a command could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// 127 not found, 126 not executable, 125 anything of ours
    pub exit_code: u8,
    /// One sentence.
    pub message: String,
}

/// How the main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// exit code
    Code(i32),
    /// signal number
    Signal(i32),
}

/// End of the main process, with the evidence for its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MainEnd {
    /// pid of the command, if [`Report::Started`] did not tell
    pub started: Option<i32>,
    /// wait status
    pub exit: Exit,
    /// the limit that ended it, if one did
    pub breach: Option<Breach>,
    /// it was asked to end before it did
    pub cancelled: bool,
    /// others live on and are kept, until they are [`Report::Gone`]
    pub survivors: bool,
    /// no process is left: this is the last message
    pub alone: bool,
    /// network figures, if they changed: one message wakes the daemon once, and then it answers before we tidy up
    pub network: Option<NetworkUsage>,
    /// figures up to now
    pub usage: Usage,
}

/// A limit that was reached and ended the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// which limit
    pub limit: LimitKey,
    /// its value, in the unit of its key
    pub allowed: u64,
    /// what was used when it was noticed, in the same unit
    pub used: u64,
    /// what noticed or stopped it
    pub mechanism: Mechanism,
}

/// Figures of one execution. Unknown is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// unreclaimable memory now, bytes
    pub memory_bytes: Option<u64>,
    /// highest unreclaimable memory seen, bytes
    pub memory_peak_bytes: Option<u64>,
    /// the group's own peak, page cache included, bytes
    pub memory_charge_peak_bytes: Option<u64>,
    /// user CPU time, µs
    pub cpu_user_us: u64,
    /// system CPU time, µs
    pub cpu_system_us: u64,
    /// wall time since the start, µs
    pub wall_us: u64,
    /// bytes added below the work directory
    pub storage_bytes: Option<u64>,
    /// tasks now
    pub pids: Option<u64>,
    /// most tasks seen
    pub pids_peak: Option<u64>,
    /// refused new tasks
    pub pids_denied: u64,
}

/// Stub to supervisor, before its exec. The end of the stream after `Executing` means that exec succeeded; before it, that the stub died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StubReport {
    /// has a mount namespace of its own; descriptor: that
    Mounted,
    /// is in its groups, behind its filter, and waits for the specification; descriptor: the filter's listener, if there is one
    Prepared,
    /// all is set, waits for the release
    Held,
    /// last word before the exec
    Executing {
        /// monotonic time
        at: Duration,
    },
    /// could not start the command
    Failed(StartFailure),
}

/// Supervisor to stub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StubOrder {
    /// become the command, for which all limits are set; descriptors: stdin, stdout, stderr, and the parcel's own
    Start(Parcel),
    /// execute
    Release,
}

/// Sends one message; waits while the socket is full. For zygote, supervisor and stub.
pub fn send<M: Serialize>(socket: BorrowedFd<'_>, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, message, fds, MsgFlags::empty())
}

/// Sends one message if there is room for it, else `WouldBlock`. For the daemon, which must not wait for who may be stopped.
pub fn offer<M: Serialize>(socket: BorrowedFd<'_>, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, message, fds, MsgFlags::MSG_DONTWAIT)
}

fn send_with<M: Serialize>(
    socket: BorrowedFd<'_>,
    message: &M,
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> io::Result<()> {
    let mut buffer = [0; MAX_MESSAGE];
    let bytes = postcard::to_slice(message, &mut buffer).map_err(invalid)?;
    fdpass::send(socket, bytes, fds, flags)
}

/// Receives one message. `Ok(None)`: the other side is gone.
pub fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>, flags: MsgFlags) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut buffer = [0; MAX_MESSAGE];
    let Some((length, fds)) = fdpass::receive(socket, &mut buffer, flags)? else { return Ok(None) };
    Ok(Some((postcard::from_bytes(&buffer[..length]).map_err(invalid)?, fds)))
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
