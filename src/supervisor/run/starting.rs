//! The start: a stub is made ahead of time, gets a specification and becomes the command. What it says on the way is heard here.

use super::{Source, Supervisor};
use crate::cgroup::group::Group;
use crate::supervisor::context::{Confinement, Context};
use crate::supervisor::gate::Gate;
use crate::supervisor::parcel::Parcel;
use crate::supervisor::protocol::{self, Report, Shape, StartFailure, StubOrder, StubReport};
use crate::supervisor::state::Run;
use crate::supervisor::stub::{self, Making};
use crate::supervisor::watch::{Sources, Watch};
use crate::supervisor::{confine, kill};
use crate::sys::{fdpass, process, time};
use nix::poll::PollFlags;
use nix::sys::socket::MsgFlags;
use nix::unistd::{ForkResult, getpid, getppid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors that go on to the stub. One more, for executions with a proxy, is its listener.
pub(in crate::supervisor) const STREAMS: usize = 3;

/// The stub, later the main process.
pub(super) struct Child {
    pub(super) pid: i32,
    /// Open until the stub has become the command.
    socket: Option<OwnedFd>,
    confinement: Confinement,
    /// It waits for a specification.
    prepared: bool,
    /// Its filter's, until the gate has it.
    listener: Option<OwnedFd>,
    /// Its mount namespace. Taking one down waits for RCU; while we hold it, that does not hold up the main process's end.
    mounts: Option<OwnedFd>,
}

impl Child {
    /// Forks the stub.
    pub(super) fn make(context: &Context, group: Option<&Group>, shape: &Shape) -> io::Result<Child> {
        let confinement = context.confinement(shape, group.is_some_and(Group::limits_pids));
        let (ours, theirs) = fdpass::packet_pair()?;
        let protected = [context.daemon, getppid().as_raw(), getpid().as_raw()];
        let pid = match process::fork_single_threaded()? {
            ForkResult::Parent { child } => child.as_raw(),
            ForkResult::Child => {
                process::exit_now(stub::run(theirs, Making { context, group, confinement, protected }))
            }
        };
        Ok(Child { pid, socket: Some(ours), confinement, prepared: false, listener: None, mounts: None })
    }

    /// Where its words come in, unless nobody listens.
    pub(super) fn source(&self, run: Option<&Run>) -> Option<(Source, BorrowedFd<'_>, PollFlags)> {
        let quiet = run.is_some_and(|run| run.quiet_until.is_some());
        let socket = self.socket.as_ref().filter(|_| !quiet)?;
        Some((Source::Stub, socket.as_fd(), PollFlags::POLLIN))
    }

    /// It ends by itself, and nothing it says counts any more.
    pub(super) fn let_go(&mut self) {
        self.socket = None;
        self.prepared = false;
    }

    fn counts_tasks(&self) -> bool {
        matches!(self.confinement, Confinement::Filter { count_tasks: true, .. })
    }

    fn tell(&self, order: &StubOrder, fds: &[BorrowedFd<'_>]) {
        if let Some(socket) = &self.socket {
            // A dead stub is seen as the end of its stream and by its wait status.
            let _ = protocol::send(socket.as_fd(), order, fds);
        }
    }
}

/// What a start was asked with, while the stub is not prepared yet.
pub(super) struct Asked {
    parcel: Parcel,
    fds: Vec<OwnedFd>,
}

impl Supervisor<'_> {
    pub(super) fn ask_for(&mut self, parcel: Parcel, fds: Vec<OwnedFd>) {
        self.asked = Some(Asked { parcel, fds });
        self.start_when_prepared();
    }

    fn start_when_prepared(&mut self) {
        if let Some(Asked { parcel, fds }) = self.asked.take_if(|_| self.child.prepared) {
            self.start(parcel, fds);
        }
    }

    /// Writes all limits and hands the specification on, so the command never runs one instruction unlimited.
    fn start(&mut self, parcel: Parcel, mut fds: Vec<OwnedFd>) {
        let (spec, count) = match parcel.open(&fds) {
            Ok(opened) => opened,
            Err(error) => return self.refuse(confine::failure("read the specification", error)),
        };
        // Without a gate to use it, the proxy's listener stays with the daemon.
        let has_door =
            self.child.confinement.has_listener() && spec.network.as_ref().is_some_and(|rules| rules.proxied);
        if count != STREAMS + usize::from(has_door) {
            return self.refuse(confine::failure("take over the command's streams", confine::NO_DESCRIPTORS));
        }
        if let Some(Err(error)) = self.group.as_ref().map(|group| group.apply(&spec.limits)) {
            return self.refuse(confine::failure("set the limits of the execution's groups", error));
        }
        let door = has_door.then(|| fds.remove(STREAMS));
        let sources =
            Sources { context: self.context, group: self.group.as_ref(), gate: None, root: getpid().as_raw() };
        let watch = Watch::begin(&spec, &sources);
        let mut run = Run::new(spec, watch, door);
        let network = run.network(self.context);
        let limit = run.spec.limits.pids.filter(|_| self.child.counts_tasks());
        run.gate = self.child.listener.take().map(|fd| Gate::new(fd, getpid().as_raw(), limit, network));
        run.listening = run.gate.is_some();
        if !run.spec.hold {
            run.be_quiet(time::monotonic());
        }
        self.run = Some(run);
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        self.child.tell(&StubOrder::Start(parcel), &borrowed);
    }

    fn refuse(&mut self, failed: StartFailure) {
        self.asked = None;
        self.report(&Report::StartFailed(failed));
        self.end_now();
    }

    /// Lets a held command go.
    pub(super) fn release(&mut self) {
        if let Some(run) = &mut self.run {
            run.be_quiet(time::monotonic());
        }
        self.child.tell(&StubOrder::Release, &[]);
    }

    pub(super) fn hear_stub(&mut self) {
        // Several words may be waiting, and the last of them decides what the end of the stream means.
        while let Some(socket) = &self.child.socket {
            match protocol::receive::<StubReport>(socket.as_fd(), MsgFlags::MSG_DONTWAIT) {
                Ok(Some((report, fds))) => self.note_stub(report, fds),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    self.child.socket = None;
                    self.note_started();
                }
            }
        }
    }

    fn note_stub(&mut self, report: StubReport, fds: Vec<OwnedFd>) {
        match report {
            StubReport::Mounted => self.child.mounts = fds.into_iter().next(),
            // Out of descriptors, one of ours is lost on its way.
            StubReport::Prepared if self.child.confinement.has_listener() && fds.is_empty() => {
                self.refuse(confine::failure("take over the seccomp filter", confine::NO_DESCRIPTORS));
            }
            StubReport::Prepared => {
                self.child.listener = fds.into_iter().next();
                self.child.prepared = true;
                self.start_when_prepared();
            }
            StubReport::Held => self.report(&Report::Held { pid: self.child.pid }),
            StubReport::Executing { at } => {
                if let Some(run) = &mut self.run {
                    run.executing = Some(at);
                }
            }
            StubReport::Failed(failed) => match &mut self.run {
                Some(run) => run.failed = Some(failed),
                None => {
                    self.asked = None;
                    self.report(&Report::StartFailed(failed));
                }
            },
        }
    }

    /// The stub's end of the socket closed: at its exec, if it had said so, else by its death.
    fn note_started(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(at) = run.executing.filter(|_| run.failed.is_none() && !run.started) else { return };
        run.started = true;
        run.watch.start_clock(at);
        for signal in std::mem::take(&mut self.early_signals) {
            kill::signal(getpid().as_raw(), self.group.as_ref(), signal);
        }
    }

    /// From now on the stub is listened to, and the daemon told of the start.
    pub(super) fn end_quiet(&mut self) {
        if let Some(run) = &mut self.run {
            run.quiet_until = None;
            self.hear_stub();
        }
        self.announce();
    }

    /// Tells the daemon of the start, once; never ahead of time, and not when the end tells of it.
    pub(super) fn announce(&mut self) {
        let Some(run) = &mut self.run else { return };
        if run.started && !run.announced && run.quiet_until.is_none() && run.main.is_none() {
            run.announced = true;
            self.report(&Report::Started { pid: self.child.pid });
        }
    }

    /// A start that was asked for and will not be: its stub ended before it could take it.
    pub(super) fn report_unstarted(&mut self) {
        if self.asked.take().is_some() {
            let failed = confine::failure(
                "prepare the command",
                "its process was killed, perhaps for lack of memory; start it again",
            );
            self.report(&Report::StartFailed(failed));
        }
    }
}
