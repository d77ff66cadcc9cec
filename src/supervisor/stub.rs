//! The stub: forked ahead of time, already in its groups and behind its filter, it waits for a specification and becomes the command.
//!
//! Joining a group can take 8 ms, and a fork or a filter 100 µs; all that is over before anybody asks for a start. All limits are set
//! before the command's first instruction.

use super::confine::{self, OWN_FAILURE, failure};
use super::context::{Confinement, Context};
use super::filter::{self, Rules};
use super::probe;
use super::protocol::{self, Spec, StartFailure, StubOrder, StubReport};
use super::run::STREAMS;
use crate::cgroup::group::Group;
use crate::sys::listener::Courier;
use crate::sys::{process, seccomp, time};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::socket::MsgFlags;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, getpid, getppid, setsid};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What a stub is made with.
pub(crate) struct Making<'a> {
    pub(crate) context: &'a Context,
    pub(crate) group: Option<&'a Group>,
    pub(crate) confinement: Confinement,
    /// The daemon, the zygote and the supervisor.
    pub(crate) protected: [i32; 3],
}

/// Runs the stub; returns the exit code of a failure.
pub(crate) fn run(socket: OwnedFd, making: Making<'_>) -> i32 {
    let stub = Stub { socket, making, outside: None, bounding: 0 };
    match stub.start() {
        Ok(never) => match never {},
        Err(_) => i32::from(OWN_FAILURE),
    }
}

enum Never {}

const OWN_MOUNTS: &str = "/proc/self/ns/mnt";

struct Stub<'a> {
    socket: OwnedFd,
    making: Making<'a>,
    /// The mount namespace that we left, for commands that keep the daemon's view.
    outside: Option<File>,
    /// The capability bounding set that we were started with.
    bounding: u64,
}

impl Stub<'_> {
    fn start(mut self) -> Result<Never, StartFailure> {
        let result = self.prepare().and_then(|()| self.become_command());
        if let Err(failed) = &result {
            let _ = self.report(&StubReport::Failed(failed.clone()));
        }
        result
    }

    fn report(&self, report: &StubReport) -> Result<(), StartFailure> {
        self.report_with(report, &[]).map_err(|error| failure("report to the supervisor", error))
    }

    fn report_with(&self, report: &StubReport, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        protocol::send(self.socket.as_fd(), report, fds)
    }

    /// Everything that does not depend on the command.
    fn prepare(&mut self) -> Result<(), StartFailure> {
        process::set_name(c"execd-stub");
        process::close_from(3, &[self.socket.as_raw_fd()]);
        setsid().map_err(|error| failure("start a session", error))?;
        // The mask stays full until the exec: nothing may interrupt the preparation.
        process::default_dispositions();
        self.bounding = confine::bounding_set();
        // Ahead of the group, which is not to count it.
        let courier = self.courier()?;
        if let Some(group) = self.making.group {
            group.join().map_err(|error| failure("join the execution's groups", error))?;
        }
        if self.making.context.world.private_mounts {
            self.shield().map_err(|error| failure("make kernel files read-only", error))?;
        }
        self.confine(courier)
    }

    /// Who is going to deliver the filter's listener, together with the word that all is prepared.
    fn courier(&self) -> Result<Option<Courier>, StartFailure> {
        if !self.making.confinement.has_listener() {
            return Ok(None);
        }
        let courier = Courier::fork(|listener| self.report_with(&StubReport::Prepared, &[listener]));
        courier.map(Some).map_err(|error| failure("fork a helper for the seccomp filter", error))
    }

    /// uid 0 owns the files of the cgroup tree and of /proc/sys whatever its capabilities: only a read-only view keeps it out.
    fn shield(&mut self) -> io::Result<()> {
        let context = self.making.context;
        self.outside = Some(File::open(OWN_MOUNTS)?);
        probe::shield(&context.shielded, context.world.private_proc)?;
        let own = File::open(OWN_MOUNTS)?;
        self.report_with(&StubReport::Mounted, &[own.as_fd()])
    }

    fn become_command(&mut self) -> Result<Never, StartFailure> {
        let (spec, streams) = self.receive_spec()?;
        if !spec.confined
            && let Some(outside) = &self.outside
        {
            setns(outside, CloneFlags::CLONE_NEWNS)
                .map_err(|error| failure("return to the sandbox's mounts", error))?;
        }
        for (target, stream) in streams.iter().enumerate() {
            process::dup_onto(stream, target as i32).map_err(|error| failure("connect the standard streams", error))?;
        }
        drop(streams);
        let grouped_memory = self.making.group.is_some_and(Group::limits_memory);
        confine::limit_resources(&spec.limits, self.making.context, grouped_memory)?;
        if spec.confined {
            let _ = process::lower_rlimit(libc::RLIMIT_CORE as u32, 0);
        }
        confine::become_subject(&spec, self.bounding)?;
        umask(Mode::from_bits_truncate(0o022));
        let program = Program::of(&spec)?;
        self.die_with_supervisor()?;
        chdir(&spec.cwd).map_err(|error| failure(&format!("change to directory {}", spec.cwd.display()), error))?;
        if spec.hold {
            self.report(&StubReport::Held)?;
            self.wait_for_release();
        }
        self.report(&StubReport::Executing { at: time::monotonic() })?;
        process::restore_signals();
        Err(program.exec())
    }

    fn receive_spec(&self) -> Result<(Spec, Vec<OwnedFd>), StartFailure> {
        let received = protocol::receive::<StubOrder>(self.socket.as_fd(), MsgFlags::empty());
        match received.map_err(|error| failure("receive the specification", error))? {
            Some((StubOrder::Start(parcel), mut fds)) => {
                let (spec, streams) = parcel.open(&fds).map_err(|error| failure("read the specification", error))?;
                if streams != STREAMS {
                    return Err(failure("take over the standard streams", confine::NO_DESCRIPTORS));
                }
                fds.truncate(streams);
                Ok((spec, fds))
            }
            // Not needed after all: the supervisor is gone or was told to end.
            _ => process::exit_now(0),
        }
    }

    /// Ends here when anything else comes: the supervisor is gone or was told to end.
    fn wait_for_release(&self) {
        match protocol::receive::<StubOrder>(self.socket.as_fd(), MsgFlags::empty()) {
            Ok(Some((StubOrder::Release, _))) => {}
            _ => process::exit_now(0),
        }
    }

    /// Cleared by the kernel at a change of user, so it comes after that. The program can undo it; the zygote is the net below.
    fn die_with_supervisor(&self) -> Result<(), StartFailure> {
        let supervisor = getppid();
        prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
            .map_err(|error| failure("set the parent-death signal", error))?;
        if getppid() != supervisor {
            process::exit_now(0);
        }
        Ok(())
    }

    /// From here on only calls that the filter lets pass.
    fn confine(&self, courier: Option<Courier>) -> Result<(), StartFailure> {
        if self.making.confinement != Confinement::None {
            prctl::set_no_new_privs().map_err(|error| failure("set no_new_privs", error))?;
        }
        let Confinement::Filter { notify, count_tasks, network } = self.making.confinement else {
            return self.report(&StubReport::Prepared);
        };
        let rules = Rules { main: getpid().as_raw(), protected: self.making.protected, notify, count_tasks, network };
        let program = filter::assemble(&rules);
        let installed = match courier {
            Some(courier) => courier.install(&program),
            None => seccomp::install(&program, false).and_then(|_| self.report_with(&StubReport::Prepared, &[])),
        };
        installed.map_err(|error| failure("install the seccomp filter", error))
    }
}

/// A resolved program: what execvp(3) would try, in order.
struct Program<'a> {
    candidates: Vec<CString>,
    argv: Vec<&'a CStr>,
    env: Vec<&'a CStr>,
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Program<'_> {
    fn of(spec: &Spec) -> Result<Program<'_>, StartFailure> {
        let argv: Vec<&CStr> = spec.argv.iter().collect();
        let env: Vec<&CStr> = spec.env.iter().collect();
        let Some(name) = argv.first().copied() else { return Err(failure("command", "is empty")) };
        let candidates = if name.to_bytes().contains(&b'/') {
            vec![name.to_owned()]
        } else {
            let path = env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
            let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
            let join = |dir: &[u8]| [if dir.is_empty() { b"." } else { dir }, b"/", name.to_bytes()].concat();
            // Neither holds a NUL, so none is left out.
            path.split(|byte| *byte == b':').filter_map(|dir| CString::new(join(dir)).ok()).collect()
        };
        Ok(Program { candidates, argv, env })
    }

    fn exec(&self) -> StartFailure {
        let mut refused = None;
        for candidate in &self.candidates {
            let error = process::exec(candidate, &self.argv, &self.env);
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENOTDIR) => {}
                Some(Errno::ENOEXEC) => return self.exec_as_script(candidate),
                Some(Errno::EACCES) => refused = Some(error),
                _ => return self.failed(126, &error),
            }
        }
        match refused {
            Some(error) => self.failed(126, &error),
            None => self.failed(127, &"not found; is it installed in this image, and is PATH right?"),
        }
    }

    /// A text file without `#!`: the shell runs it, as execvp(3) does.
    fn exec_as_script(&self, path: &CStr) -> StartFailure {
        let mut argv = vec![c"/bin/sh", path];
        argv.extend(self.argv.iter().skip(1));
        let error = process::exec(c"/bin/sh", &argv, &self.env);
        self.failed(126, &error)
    }

    fn failed(&self, exit_code: u8, why: &dyn std::fmt::Display) -> StartFailure {
        let shown = self.argv.first().copied().unwrap_or_default().to_string_lossy();
        StartFailure { exit_code, message: format!("{shown}: {why}") }
    }
}
