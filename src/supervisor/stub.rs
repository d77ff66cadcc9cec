//! The stub: forked ahead of time, already in its groups, it waits for a specification and becomes the command.
//!
//! Joining a group can take 8 ms and a fork 100 µs; both are over before anybody asks for a start. All limits are set
//! before the command's first instruction.

use super::confine::{self, OWN_FAILURE, failure};
use super::context::Context;
use super::filter::{self, NetworkCalls, Rules};
use super::network::Reach;
use super::probe;
use super::protocol::{self, Spec, StartFailure, StubOrder, StubReport};
use crate::cgroup::group::Group;
use crate::sys::{process, seccomp};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::MsgFlags;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, getpid, getppid, setsid};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Runs the stub; returns the exit code of a failure.
///
/// `protected` are the daemon, the zygote and the supervisor.
pub(crate) fn run(socket: OwnedFd, context: &Context, group: Option<&Group>, protected: [i32; 3]) -> i32 {
    let stub = Stub { socket, context, group, protected, outside: None, bounding: 0 };
    match stub.start() {
        Ok(never) => match never {},
        Err(_) => i32::from(OWN_FAILURE),
    }
}

enum Never {}

/// Open files under the network gate where the type sets no limit: its filter needs a number that can never be opened.
const GATED_OPEN_FILES: u64 = 65_535;
const OWN_MOUNTS: &str = "/proc/self/ns/mnt";

struct Stub<'a> {
    socket: OwnedFd,
    context: &'a Context,
    group: Option<&'a Group>,
    protected: [i32; 3],
    /// The mount namespace that we left, for commands that keep the daemon's view.
    outside: Option<File>,
    /// The capability bounding set that we were started with.
    bounding: u64,
}

impl Stub<'_> {
    fn start(mut self) -> Result<Never, StartFailure> {
        let result = self.prepare().and_then(|()| self.become_command());
        if let Err(failed) = &result {
            let _ = self.report(&StubReport::Failed(failed.clone()), &[]);
        }
        result
    }

    fn report(&self, report: &StubReport, fds: &[BorrowedFd<'_>]) -> Result<(), StartFailure> {
        protocol::send(self.socket.as_fd(), report, fds).map_err(|error| failure("report to the supervisor", error))
    }

    /// Everything that does not depend on the command.
    fn prepare(&mut self) -> Result<(), StartFailure> {
        process::set_name(c"execd-stub");
        process::close_from(3, &[self.socket.as_raw_fd()]);
        setsid().map_err(|error| failure("start a session", error))?;
        // The mask stays full until the exec: nothing may interrupt the preparation.
        process::default_dispositions();
        self.bounding = confine::bounding_set();
        if let Some(group) = self.group {
            group.join().map_err(|error| failure("join the execution's groups", error))?;
        }
        if !self.context.world.private_mounts {
            return self.report(&StubReport::Prepared, &[]);
        }
        self.shield().map_err(|error| failure("make kernel files read-only", error))?;
        let own = File::open(OWN_MOUNTS).map_err(|error| failure("open the own mount namespace", error))?;
        self.report(&StubReport::Prepared, &[own.as_fd()])
    }

    /// uid 0 owns the files of the cgroup tree and of /proc/sys whatever its capabilities: only a read-only view keeps it out.
    fn shield(&mut self) -> std::io::Result<()> {
        self.outside = Some(File::open(OWN_MOUNTS)?);
        probe::shield(&self.context.shielded, self.context.world.private_proc)
    }

    fn become_command(&mut self) -> Result<Never, StartFailure> {
        let (mut spec, streams) = self.receive_spec()?;
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
        let grouped_memory = self.group.is_some_and(Group::limits_memory);
        let gated = self.gates(&spec);
        if gated {
            self.put_socket_out_of_reach(&mut spec.limits.open_files)?;
        }
        confine::limit_resources(&spec.limits, self.context, grouped_memory)?;
        if spec.confined {
            let _ = process::lower_rlimit(libc::RLIMIT_CORE as u32, 0);
        }
        confine::become_subject(&spec, self.bounding)?;
        umask(Mode::from_bits_truncate(0o022));
        let program = Program::of(&spec)?;
        self.die_with_supervisor()?;
        if spec.hold {
            self.settle(&spec)?;
            self.report(&StubReport::Held, &[])?;
            self.wait_for(&StubOrder::Release);
        }
        let listener = if spec.confined { self.confine(&spec)? } else { None };
        let fds: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
        self.report(&StubReport::Executing, &fds)?;
        if !spec.hold {
            self.settle(&spec)?;
        }
        process::restore_signals();
        Err(program.exec())
    }

    /// The supervisor has set all limits meanwhile, and looks at the directory from now on.
    fn settle(&self, spec: &Spec) -> Result<(), StartFailure> {
        self.wait_for(&StubOrder::Go);
        chdir(&spec.cwd).map_err(|error| failure(&format!("change to directory {}", spec.cwd.display()), error))
    }

    fn receive_spec(&self) -> Result<(Spec, Vec<OwnedFd>), StartFailure> {
        let received = protocol::receive::<StubOrder>(self.socket.as_fd(), MsgFlags::empty());
        match received.map_err(|error| failure("receive the specification", error))? {
            Some((StubOrder::Start(parcel), mut fds)) => {
                let (spec, streams) = parcel.open(&fds).map_err(|error| failure("read the specification", error))?;
                fds.truncate(streams);
                Ok((spec, fds))
            }
            // Not needed after all: the supervisor is gone or was told to end.
            _ => process::exit_now(0),
        }
    }

    /// Ends here when anything else comes: the supervisor is gone or was told to end.
    fn wait_for(&self, order: &StubOrder) {
        match protocol::receive::<StubOrder>(self.socket.as_fd(), MsgFlags::empty()) {
            Ok(Some((came, _))) if came == *order => {}
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

    /// Whether the network gate goes with this command.
    fn gates(&self, spec: &Spec) -> bool {
        spec.confined && spec.network.is_some() && self.context.world.seccomp && self.context.world.seccomp_notify
    }

    /// Moves our socket to the number that the limit on open files is about to be: messages over it pass the filter unseen, and
    /// the command can open nothing there.
    fn put_socket_out_of_reach(&mut self, open_files: &mut Option<u64>) -> Result<(), StartFailure> {
        let moved = || -> std::io::Result<(OwnedFd, u64)> {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            let number = open_files.unwrap_or(GATED_OPEN_FILES).min(hard.saturating_sub(1));
            let socket = process::move_fd_above(self.socket.try_clone()?, number as i32)?;
            Ok((socket, number))
        };
        let (socket, number) = moved().map_err(|error| failure("move the socket out of reach", error))?;
        self.socket = socket;
        *open_files = Some(number);
        Ok(())
    }

    fn confine(&self, spec: &Spec) -> Result<Option<OwnedFd>, StartFailure> {
        prctl::set_no_new_privs().map_err(|error| failure("set no_new_privs", error))?;
        if !self.context.world.seccomp {
            return Ok(None);
        }
        let notify = self.context.world.seccomp_notify;
        let grouped_tasks = self.group.is_some_and(Group::limits_pids);
        let rules = Rules {
            main: getpid().as_raw(),
            protected: self.protected,
            notify,
            count_tasks: notify && !grouped_tasks && spec.limits.pids.is_some(),
            network: self.gates(spec).then(|| NetworkCalls {
                makes_sockets: self.context.reach(spec.uid) == Reach::Made,
                own_socket: self.socket.as_raw_fd() as u32,
            }),
        };
        seccomp::install(&filter::assemble(&rules), notify)
            .map_err(|error| failure("install the seccomp filter", error))
    }
}

/// A resolved program: what execvp(3) would try, in order, prepared before the filter is on.
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
