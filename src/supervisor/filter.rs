//! The seccomp program that every typed execution starts under. Policy as data: the tables below, then an assembler.
//!
//! It protects the daemon, the zygote and every supervisor from executions of the same uid, and counts new tasks where no
//! pids controller does. Decisions use registers only, never memory that the target could change afterwards.

mod blocks;
mod program;
#[cfg(test)]
mod tests;

use crate::sys::seccomp::Instruction;
use blocks::Blocks;

/// Inputs that differ between executions.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The main process of the execution: signals to itself stay free of a decision.
    pub(crate) main: i32,
    /// Processes that must not be touched: daemon, zygote, own supervisor. pid 1 and −1 are always in.
    pub(crate) protected: [i32; 3],
    /// A listener is there to decide on other targets; without one they are left to the kernel's own rules.
    pub(crate) notify: bool,
    /// clone, fork and vfork go to the listener to be counted.
    pub(crate) count_tasks: bool,
    /// Calls that reach the network go to the listener.
    pub(crate) network: Option<NetworkCalls>,
}

/// What the network gate needs to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkCalls {
    /// Sockets are made by the listener's side, which must know when they are bound or listen.
    pub(crate) makes_sockets: bool,
}

/// What to do with a call.
#[derive(PartialEq)]
enum Check {
    /// fail with this errno
    Deny(i32),
    /// the argument is a pid (or −pgid): protected ones fail, strangers are decided on
    Target(u8),
    /// like `Target(1)`, but only for these values of argument 0, else allowed
    TargetWhen(u8, &'static [u32]),
    /// argument 0 selects process (value), anything but our own group or process otherwise fails
    Which { process: u32, group: u32 },
    /// fcntl: F_SETOWN names a process, F_SETOWN_EX hides it behind a pointer
    Fcntl,
    /// argument 1 is one of these requests: fail
    DenyRequest(&'static [u32]),
    /// clone: flags first, then counting
    NewTask { has_flags: bool },
    /// a new SIGCHLD action is worth knowing: only then can children end without anybody waiting for them
    ChildAction,
    /// unshare: never a new user namespace, nor descriptors that only one thread sees
    Unshare,
    /// close_range: never with descriptors that only one thread sees
    CloseRange,
    /// it can be a contact
    Contact,
    /// it can be a contact if it has an address (argument 4) or `MSG_FASTOPEN` (argument 3)
    AddressedSend,
    /// Unix and netlink, and TCP and UDP over IPv4 and IPv6; nothing that sends anything else
    Socket,
    /// only Unix
    SocketPair,
    /// source routes would send a packet elsewhere than its address says
    SocketOption,
    /// of interest where we make the sockets
    SocketUse,
}

const PTRACE_ATTACH: u32 = 16;
const PTRACE_SEIZE: u32 = 0x4206;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
/// `USERFAULTFD_IOC_NEW`, asked of /dev/userfaultfd.
const USERFAULTFD_NEW: u32 = 0xaa00;
const IOPRIO_WHO_PROCESS: u32 = 1;
const IOPRIO_WHO_PGRP: u32 = 2;

/// Calls that can reach another process, or get around the filter. ENOSYS is used where programs fall back by themselves.
const TABLE: &[(i64, Check)] = &[
    (libc::SYS_kill, Check::Target(0)),
    (libc::SYS_tkill, Check::Target(0)),
    (libc::SYS_tgkill, Check::Target(0)),
    (libc::SYS_rt_sigqueueinfo, Check::Target(0)),
    (libc::SYS_rt_tgsigqueueinfo, Check::Target(0)),
    (libc::SYS_prlimit64, Check::Target(0)),
    (libc::SYS_ptrace, Check::TargetWhen(1, &[PTRACE_ATTACH, PTRACE_SEIZE])),
    (libc::SYS_process_vm_readv, Check::Target(0)),
    (libc::SYS_process_vm_writev, Check::Target(0)),
    (libc::SYS_migrate_pages, Check::Target(0)),
    (libc::SYS_move_pages, Check::Target(0)),
    (libc::SYS_sched_setaffinity, Check::Target(0)),
    (libc::SYS_sched_setscheduler, Check::Target(0)),
    (libc::SYS_sched_setparam, Check::Target(0)),
    (libc::SYS_sched_setattr, Check::Target(0)),
    (libc::SYS_setpriority, Check::Which { process: libc::PRIO_PROCESS as u32, group: libc::PRIO_PGRP as u32 }),
    (libc::SYS_ioprio_set, Check::Which { process: IOPRIO_WHO_PROCESS, group: IOPRIO_WHO_PGRP }),
    (libc::SYS_fcntl, Check::Fcntl),
    (libc::SYS_ioctl, Check::DenyRequest(&[FIOSETOWN, SIOCSPGRP, USERFAULTFD_NEW])),
    // A pidfd hides its process from a register; every runtime falls back to plain pids.
    (libc::SYS_pidfd_open, Check::Deny(libc::ENOSYS)),
    (libc::SYS_pidfd_send_signal, Check::Deny(libc::ENOSYS)),
    (libc::SYS_pidfd_getfd, Check::Deny(libc::ENOSYS)),
    // Its flags are behind a pointer; glibc, musl and Go fall back to clone.
    (libc::SYS_clone3, Check::Deny(libc::ENOSYS)),
    // Calls submitted through a ring never meet a filter.
    (libc::SYS_io_uring_setup, Check::Deny(libc::ENOSYS)),
    (libc::SYS_io_uring_enter, Check::Deny(libc::ENOSYS)),
    (libc::SYS_io_uring_register, Check::Deny(libc::ENOSYS)),
    // A new user namespace would hand out capabilities inside, and with them mounts of writable cgroup trees.
    (libc::SYS_unshare, Check::Unshare),
    (libc::SYS_close_range, Check::CloseRange),
    (libc::SYS_clone, Check::NewTask { has_flags: true }),
    (libc::SYS_fork, Check::NewTask { has_flags: false }),
    (libc::SYS_vfork, Check::NewTask { has_flags: false }),
    (libc::SYS_rt_sigaction, Check::ChildAction),
    // A page whose faults the program answers itself would hold up whoever reads its memory.
    (libc::SYS_userfaultfd, Check::Deny(libc::ENOSYS)),
    (libc::SYS_connect, Check::Contact),
    (libc::SYS_sendto, Check::AddressedSend),
    (libc::SYS_sendmsg, Check::Contact),
    (libc::SYS_sendmmsg, Check::Contact),
    (libc::SYS_socket, Check::Socket),
    (libc::SYS_socketpair, Check::SocketPair),
    (libc::SYS_setsockopt, Check::SocketOption),
    (libc::SYS_bind, Check::SocketUse),
    (libc::SYS_listen, Check::SocketUse),
];

/// Calls that the network gate answers.
pub(crate) fn is_network(nr: i32) -> bool {
    let network = [
        libc::SYS_connect,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_socket,
        libc::SYS_bind,
        libc::SYS_listen,
    ];
    network.contains(&i64::from(nr))
}

/// Whether a notified call asks for a new task; every other notified call names a target process in a register.
pub(crate) fn is_new_task(nr: i32) -> bool {
    [libc::SYS_clone, libc::SYS_fork, libc::SYS_vfork].contains(&i64::from(nr))
}

/// Whether a notified call sets an action for SIGCHLD.
pub(crate) fn is_child_action(nr: i32) -> bool {
    i64::from(nr) == libc::SYS_rt_sigaction
}

/// The target process of a notified call, as the kernel will read it: the low 32 bits of the register that the table names.
pub(crate) fn target_of(nr: i32, args: &[u64; 6]) -> Option<i32> {
    let check = TABLE.iter().find(|(number, _)| *number == i64::from(nr)).map(|(_, check)| check)?;
    let argument = match check {
        Check::Target(argument) | Check::TargetWhen(argument, _) => usize::from(*argument),
        Check::Which { .. } => 1,
        Check::Fcntl => 2,
        Check::Deny(_)
        | Check::DenyRequest(_)
        | Check::NewTask { .. }
        | Check::ChildAction
        | Check::Unshare
        | Check::CloseRange
        | Check::Contact
        | Check::AddressedSend
        | Check::Socket
        | Check::SocketPair
        | Check::SocketOption
        | Check::SocketUse => return None,
    };
    args.get(argument).map(|value| *value as u32 as i32)
}

/// Assembles the program.
///
/// Calls that no rule names are allowed by constant paths, which the kernel caches in a bitmap (Linux 5.11): they cost
/// nothing measurable.
pub(crate) fn assemble(rules: &Rules) -> Vec<Instruction> {
    let mut blocks = Blocks::new(rules);
    let place = |(number, check): &'static (i64, Check)| Some((*number as u32, blocks.place(check)?));
    let entries = TABLE.iter().filter_map(place).collect();
    program::link(entries, &blocks.finish())
}
