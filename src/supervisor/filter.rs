//! The seccomp program that every typed execution starts under. Policy as data: the tables below, then an assembler.
//!
//! It protects the daemon, the zygote and every supervisor from executions of the same uid, and counts new tasks where no
//! pids controller does. Decisions use registers only, never memory that the target could change afterwards.

use crate::sys::seccomp::Instruction;

/// Inputs that differ between executions.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The main process of the execution: signals to itself stay free of a decision.
    pub(crate) main: i32,
    /// Processes that must not be touched: daemon, zygote, own supervisor. pid 1 and −1 are always in.
    pub(crate) protected: Vec<i32>,
    /// A listener is there to decide on other targets; without one they are left to the kernel's own rules.
    pub(crate) notify: bool,
    /// clone, fork and vfork go to the listener to be counted.
    pub(crate) count_tasks: bool,
    /// Calls that reach the network go to the listener.
    pub(crate) network: Option<NetworkCalls>,
}

/// What the network gate needs to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkCalls {
    /// Sockets are made by the listener's side, which must know when they are bound or listen.
    pub(crate) makes_sockets: bool,
    /// The stub's own socket, over which the listener leaves. The number is at the hard `RLIMIT_NOFILE`, so the command can
    /// never open anything there.
    pub(crate) own_socket: u32,
}

/// What to do with a call.
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
    /// it can be a contact
    Contact,
    /// it can be a contact if it has an address (argument 4) or `MSG_FASTOPEN` (argument 3)
    AddressedSend,
    /// it can be a contact, and the stub needs it once
    MessageSend,
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
    (libc::SYS_ioctl, Check::DenyRequest(&[FIOSETOWN, SIOCSPGRP])),
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
    (libc::SYS_clone, Check::NewTask { has_flags: true }),
    (libc::SYS_fork, Check::NewTask { has_flags: false }),
    (libc::SYS_vfork, Check::NewTask { has_flags: false }),
    (libc::SYS_rt_sigaction, Check::ChildAction),
    // A page whose faults the program answers itself would hold up whoever reads its memory.
    (libc::SYS_userfaultfd, Check::Deny(libc::ENOSYS)),
    (libc::SYS_connect, Check::Contact),
    (libc::SYS_sendto, Check::AddressedSend),
    (libc::SYS_sendmsg, Check::MessageSend),
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
        | Check::Contact
        | Check::AddressedSend
        | Check::MessageSend
        | Check::Socket
        | Check::SocketPair
        | Check::SocketOption
        | Check::SocketUse => return None,
    };
    args.get(argument).map(|value| *value as u32 as i32)
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// The x32 ABI sets this bit in the call number (asm/unistd.h).
const X32_BIT: u32 = 0x4000_0000;

/// Assembles the program.
///
/// Calls that no rule names are allowed by constant paths, which the kernel caches in a bitmap (Linux 5.11): they cost
/// nothing measurable.
pub(crate) fn assemble(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD, OFFSET_ARCH),
        jump(EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        op(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        op(LOAD, OFFSET_NR),
        jump(AT_LEAST, X32_BIT, 0, 1),
        op(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    for (nr, check) in TABLE {
        let block = block(check, rules);
        program.push(jump(EQUAL, *nr as u32, 0, block.len() as u8));
        program.extend(block);
    }
    program.push(op(RETURN, libc::SECCOMP_RET_ALLOW));
    program
}

fn block(check: &Check, rules: &Rules) -> Vec<Instruction> {
    match check {
        Check::Deny(errno) => vec![deny(*errno)],
        Check::Target(argument) => target(*argument, rules),
        Check::TargetWhen(argument, values) => {
            let mut code = vec![load_arg(0)];
            for (index, value) in values.iter().enumerate() {
                code.push(jump(EQUAL, *value, (values.len() - index) as u8, 0));
            }
            code.push(allow());
            code.extend(target(*argument, rules));
            code
        }
        Check::Which { process, group } => which(*process, *group, rules),
        Check::Fcntl => {
            let mut code = vec![
                load_arg(1),
                jump(EQUAL, libc::F_SETOWN as u32, 3, 0),
                jump(EQUAL, F_SETOWN_EX, 0, 1),
                deny(libc::EPERM),
                allow(),
            ];
            code.extend(target(2, rules));
            code
        }
        Check::DenyRequest(requests) => {
            let mut code = vec![load_arg(1)];
            for request in *requests {
                code.extend([jump(EQUAL, *request, 0, 1), deny(libc::EPERM)]);
            }
            code.push(allow());
            code
        }
        Check::Unshare => {
            // With a table of descriptors for each thread nobody could say what a thread has open.
            let files = if rules.network.is_some() { libc::CLONE_FILES } else { 0 };
            let flags = (libc::CLONE_NEWUSER | files) as u32;
            vec![load_arg(0), jump(ANY_BIT, flags, 0, 1), deny(libc::EPERM), allow()]
        }
        Check::NewTask { has_flags } => {
            let mut code = Vec::new();
            if *has_flags {
                let user_namespace = libc::CLONE_NEWUSER as u32;
                code.extend([load_arg(0), jump(ANY_BIT, user_namespace, 0, 1), deny(libc::EPERM)]);
                if rules.network.is_some() {
                    code.extend(shared_descriptors());
                }
            }
            code.push(if rules.count_tasks { op(RETURN, libc::SECCOMP_RET_USER_NOTIF) } else { allow() });
            code
        }
        // Argument 1 is the new action; a null pointer only asks for the present one.
        Check::ChildAction if rules.notify => vec![
            load_arg(0),
            jump(EQUAL, libc::SIGCHLD as u32, 0, 4),
            load_arg(1),
            jump(EQUAL, 0, 0, 1),
            allow(),
            op(RETURN, libc::SECCOMP_RET_USER_NOTIF),
            allow(),
        ],
        Check::ChildAction => vec![allow()],
        Check::Contact
        | Check::AddressedSend
        | Check::MessageSend
        | Check::Socket
        | Check::SocketPair
        | Check::SocketOption
        | Check::SocketUse => match &rules.network {
            Some(calls) => network(check, *calls),
            None => vec![allow()],
        },
    }
}

/// Threads share their descriptors and processes do not: so "the only thread of its process" means that nobody else can change them.
fn shared_descriptors() -> Vec<Instruction> {
    let (thread, files) = (libc::CLONE_THREAD as u32, libc::CLONE_FILES as u32);
    vec![
        load_arg(0),
        jump(ANY_BIT, thread, 0, 2),
        jump(ANY_BIT, files, 3, 0),
        deny(libc::EINVAL),
        jump(ANY_BIT, files, 0, 1),
        deny(libc::EINVAL),
    ]
}

fn network(check: &Check, calls: NetworkCalls) -> Vec<Instruction> {
    let notify = op(RETURN, libc::SECCOMP_RET_USER_NOTIF);
    match check {
        Check::AddressedSend => vec![
            load_arg(3),
            jump(ANY_BIT, libc::MSG_FASTOPEN as u32, 4, 0),
            load_arg(4),
            jump(EQUAL, 0, 0, 2),
            op(LOAD, OFFSET_ARGS + 8 * 4 + 4),
            jump(EQUAL, 0, 1, 0),
            notify,
            allow(),
        ],
        Check::MessageSend => vec![load_arg(0), jump(EQUAL, calls.own_socket, 0, 1), allow(), notify],
        Check::Socket => socket(if calls.makes_sockets { notify } else { allow() }),
        Check::SocketPair => {
            vec![load_arg(0), jump(EQUAL, libc::AF_UNIX as u32, 1, 0), deny(libc::EOPNOTSUPP), allow()]
        }
        Check::SocketOption => vec![
            load_arg(1),
            jump(EQUAL, libc::IPPROTO_IPV6 as u32, 3, 0),
            jump(EQUAL, libc::IPPROTO_IP as u32, 0, 6),
            load_arg(2),
            jump(EQUAL, libc::IP_OPTIONS as u32, 5, 4),
            load_arg(2),
            jump(EQUAL, libc::IPV6_RTHDR as u32, 3, 0),
            jump(EQUAL, libc::IPV6_2292RTHDR as u32, 2, 0),
            jump(EQUAL, libc::IPV6_2292PKTOPTIONS as u32, 1, 0),
            allow(),
            deny(libc::EPERM),
        ],
        Check::SocketUse if !calls.makes_sockets => vec![allow()],
        _ => vec![notify],
    }
}

/// socket(2): the errno is what the kernel says to a program without rights.
fn socket(permit: Instruction) -> Vec<Instruction> {
    /// `SOCK_TYPE_MASK` (linux/net.h).
    const KIND: u32 = 0xf;
    let tcp_or_default = [0, libc::IPPROTO_TCP as u32];
    let udp_or_default = [0, libc::IPPROTO_UDP as u32];
    vec![
        load_arg(0),
        jump(EQUAL, libc::AF_UNIX as u32, 17, 0),
        jump(EQUAL, libc::AF_NETLINK as u32, 16, 0),
        jump(EQUAL, libc::AF_INET as u32, 4, 0),
        jump(EQUAL, libc::AF_INET6 as u32, 3, 0),
        jump(EQUAL, libc::AF_PACKET as u32, 0, 1),
        deny(libc::EPERM),
        deny(libc::EAFNOSUPPORT),
        load_arg(1), // 8
        op(AND, KIND),
        jump(EQUAL, libc::SOCK_STREAM as u32, 2, 0),
        jump(EQUAL, libc::SOCK_DGRAM as u32, 5, 0),
        deny(libc::EPERM),
        load_arg(2), // 13
        jump(EQUAL, tcp_or_default[0], 4, 0),
        jump(EQUAL, tcp_or_default[1], 3, 0),
        deny(libc::EPROTONOSUPPORT),
        load_arg(2), // 17
        jump(EQUAL, udp_or_default[0], 0, 1),
        permit, // 19
        jump(EQUAL, udp_or_default[1], 0, 1),
        permit,
        deny(libc::EACCES),
    ]
}

const F_SETOWN_EX: u32 = 15;

/// setpriority and ioprio_set: one process is a target; our own group (0) is fine; other groups and whole users are not.
fn which(process: u32, group: u32, rules: &Rules) -> Vec<Instruction> {
    let mut code = vec![
        load_arg(0),
        jump(EQUAL, process, 5, 0),
        jump(EQUAL, group, 0, 2),
        load_arg(1),
        jump(EQUAL, 0, 1, 0),
        deny(libc::EPERM),
        allow(),
    ];
    // The jump for `process` lands here.
    code[1] = jump(EQUAL, process, (code.len() - 2) as u8, 0);
    code.extend(target(1, rules));
    code
}

fn target(argument: u8, rules: &Rules) -> Vec<Instruction> {
    let mut forbidden: Vec<u32> = vec![1, u32::MAX];
    for pid in &rules.protected {
        forbidden.extend([*pid as u32, pid.wrapping_neg() as u32]);
    }
    let mut code =
        vec![load_arg(argument), jump(EQUAL, 0, 0, 1), allow(), jump(EQUAL, rules.main as u32, 0, 1), allow()];
    for value in forbidden {
        code.extend([jump(EQUAL, value, 0, 1), deny(libc::EPERM)]);
    }
    code.push(if rules.notify { op(RETURN, libc::SECCOMP_RET_USER_NOTIF) } else { allow() });
    code
}

const fn load_arg(index: u8) -> Instruction {
    op(LOAD, OFFSET_ARGS + 8 * index as u32)
}

const fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

const fn allow() -> Instruction {
    op(RETURN, libc::SECCOMP_RET_ALLOW)
}

const fn deny(errno: i32) -> Instruction {
    op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A classic-BPF interpreter: enough to see what the kernel would answer.
    fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let mut accumulator = 0;
        let mut pc = 0;
        loop {
            let Instruction { code, jt, jf, k } = program[pc];
            pc += 1;
            match code {
                LOAD => {
                    accumulator = match k {
                        OFFSET_NR => nr,
                        OFFSET_ARCH => arch,
                        offset => {
                            let word = args[((offset - OFFSET_ARGS) / 8) as usize];
                            (word >> (8 * (offset % 8))) as u32
                        }
                    }
                }
                RETURN => return k,
                EQUAL => pc += usize::from(if accumulator == k { jt } else { jf }),
                AT_LEAST => pc += usize::from(if accumulator >= k { jt } else { jf }),
                AND => accumulator &= k,
                ANY_BIT => pc += usize::from(if accumulator & k != 0 { jt } else { jf }),
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    fn rules() -> Rules {
        Rules { main: 100, protected: vec![10, 11, 12], notify: true, count_tasks: true, network: None }
    }

    fn network_rules(makes_sockets: bool) -> Rules {
        let network = Some(NetworkCalls { makes_sockets, own_socket: 1024 });
        Rules { network, count_tasks: false, ..rules() }
    }

    fn answer6(rules: &Rules, nr: i64, args: [u64; 6]) -> u32 {
        run(&assemble(rules), AUDIT_ARCH_X86_64, nr as u32, args)
    }

    const fn errno(number: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | number as u32
    }

    #[test]
    fn contacts_go_to_the_gate_and_connected_sends_do_not() {
        let fastopen = libc::MSG_FASTOPEN as u64;
        let cases = [
            (libc::SYS_connect, [3, 0x7fff, 16, 0, 0, 0], NOTIFY),
            (libc::SYS_sendto, [3, 0x7fff, 9, 0, 0, 0], ALLOW),
            (libc::SYS_sendto, [3, 0x7fff, 9, 0x4000, 0, 16], ALLOW),
            (libc::SYS_sendto, [3, 0x7fff, 9, 0, 0x7fff, 16], NOTIFY),
            (libc::SYS_sendto, [3, 0x7fff, 9, 0, 0x7f_0000_0000, 16], NOTIFY), // only the upper half is set
            (libc::SYS_sendto, [3, 0x7fff, 9, fastopen, 0, 0], NOTIFY),
            (libc::SYS_sendmsg, [3, 0x7fff, 0, 0, 0, 0], NOTIFY),
            (libc::SYS_sendmsg, [1024, 0x7fff, 0, 0, 0, 0], ALLOW),
            (libc::SYS_sendmmsg, [3, 0x7fff, 1, 0, 0, 0], NOTIFY),
            (libc::SYS_sendmmsg, [1024, 0x7fff, 1, 0, 0, 0], NOTIFY),
            (libc::SYS_write, [3, 0x7fff, 1, 0, 0, 0], ALLOW),
            (libc::SYS_io_uring_setup, [8, 0, 0, 0, 0, 0], ENOSYS),
            (libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0], ENOSYS),
            (libc::SYS_unshare, [libc::CLONE_FILES as u64, 0, 0, 0, 0, 0], EPERM),
        ];
        for (nr, args, expected) in cases {
            assert_eq!(answer6(&network_rules(false), nr, args), expected, "call {nr} {args:x?}");
            if expected == NOTIFY {
                assert_eq!(answer6(&rules(), nr, args), ALLOW, "no gate: call {nr} {args:x?}");
            }
        }
    }

    #[test]
    fn only_sockets_that_can_be_judged_are_made() {
        let (stream, dgram) = (libc::SOCK_STREAM, libc::SOCK_DGRAM);
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let cases = [
            (libc::AF_UNIX, stream, 0, ALLOW),
            (libc::AF_NETLINK, libc::SOCK_RAW, 0, ALLOW),
            (libc::AF_INET, stream | flags, 0, ALLOW),
            (libc::AF_INET6, stream, libc::IPPROTO_TCP, ALLOW),
            (libc::AF_INET, dgram | flags, libc::IPPROTO_UDP, ALLOW),
            (libc::AF_INET6, dgram, 0, ALLOW),
            (libc::AF_INET, stream, libc::IPPROTO_MPTCP, errno(libc::EPROTONOSUPPORT)),
            (libc::AF_INET, stream, libc::IPPROTO_SCTP, errno(libc::EPROTONOSUPPORT)),
            (libc::AF_INET, dgram, libc::IPPROTO_ICMP, errno(libc::EACCES)),
            (libc::AF_INET6, dgram, 58, errno(libc::EACCES)),
            (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP, EPERM),
            (libc::AF_INET6, libc::SOCK_RAW, 58, EPERM),
            (libc::AF_INET, libc::SOCK_SEQPACKET, 0, EPERM),
            (libc::AF_INET, 10, 0, EPERM),
            (libc::AF_PACKET, libc::SOCK_RAW, 3, EPERM),
            (libc::AF_VSOCK, stream, 0, errno(libc::EAFNOSUPPORT)),
            (libc::AF_ALG, libc::SOCK_SEQPACKET, 0, errno(libc::EAFNOSUPPORT)),
            (43, stream, 0, errno(libc::EAFNOSUPPORT)),         // AF_SMC
            (44, libc::SOCK_RAW, 0, errno(libc::EAFNOSUPPORT)), // AF_XDP
        ];
        for (domain, kind, protocol, expected) in cases {
            let args = [domain as u64, kind as u64, protocol as u64, 0, 0, 0];
            let nr = libc::SYS_socket;
            assert_eq!(answer6(&network_rules(false), nr, args), expected, "{domain} {kind} {protocol}");
            let made = if expected == ALLOW { NOTIFY } else { expected };
            assert_eq!(answer6(&network_rules(true), nr, args), made, "made: {domain} {kind} {protocol}");
        }
        for nr in [libc::SYS_bind, libc::SYS_listen] {
            assert_eq!(answer6(&network_rules(false), nr, [3, 0, 0, 0, 0, 0]), ALLOW);
            assert_eq!(answer6(&network_rules(true), nr, [3, 0, 0, 0, 0, 0]), NOTIFY);
        }
        let pair = |domain: i32| answer6(&network_rules(false), libc::SYS_socketpair, [domain as u64, 1, 0, 0, 0, 0]);
        assert_eq!((pair(libc::AF_UNIX), pair(libc::AF_TIPC)), (ALLOW, errno(libc::EOPNOTSUPP)));
    }

    #[test]
    fn source_routes_cannot_be_set() {
        let cases = [
            (libc::IPPROTO_IP, libc::IP_OPTIONS, EPERM),
            (libc::IPPROTO_IP, libc::IP_TOS, ALLOW),
            (libc::IPPROTO_IPV6, libc::IPV6_RTHDR, EPERM),
            (libc::IPPROTO_IPV6, libc::IPV6_2292RTHDR, EPERM),
            (libc::IPPROTO_IPV6, libc::IPV6_2292PKTOPTIONS, EPERM),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, ALLOW),
            (libc::SOL_SOCKET, libc::IP_OPTIONS, ALLOW),
            (libc::IPPROTO_TCP, libc::IPV6_RTHDR, ALLOW),
        ];
        for (level, name, expected) in cases {
            let args = [3, level as u64, name as u64, 0, 0, 0];
            assert_eq!(answer6(&network_rules(false), libc::SYS_setsockopt, args), expected, "{level} {name}");
        }
    }

    #[test]
    fn threads_share_descriptors_and_processes_do_not() {
        let (thread, files, vfork) = (libc::CLONE_THREAD, libc::CLONE_FILES, libc::CLONE_VM | libc::CLONE_VFORK);
        let invalid = errno(libc::EINVAL);
        for (flags, expected) in [
            (17, ALLOW),
            (vfork | 17, ALLOW),
            (thread | files, ALLOW),
            (thread, invalid),
            (files | 17, invalid),
            (files | vfork, invalid),
        ] {
            let args = [flags as u64, 0, 0, 0, 0, 0];
            assert_eq!(answer6(&network_rules(false), libc::SYS_clone, args), expected, "{flags:#x}");
            assert_eq!(answer6(&rules(), libc::SYS_clone, args), NOTIFY, "{flags:#x} without a gate is counted");
        }
    }

    fn answer(rules: &Rules, nr: i64, args: [i64; 3]) -> u32 {
        let [a, b, c] = args.map(|v| v as u64);
        run(&assemble(rules), AUDIT_ARCH_X86_64, nr as u32, [a, b, c, 0, 0, 0])
    }

    #[test]
    fn targets_are_judged_by_pid() {
        let cases = [
            (0, ALLOW),
            (100, ALLOW),
            (1, EPERM),
            (-1, EPERM),
            (10, EPERM),
            (-10, EPERM),
            (12, EPERM),
            (55, NOTIFY),
            (-55, NOTIFY),
            (0x1_0000_000a, EPERM), // upper half is ignored by the kernel
        ];
        for (pid, expected) in cases {
            for nr in
                [libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_prlimit64, libc::SYS_sched_setscheduler]
            {
                assert_eq!(answer(&rules(), nr, [pid, 9, 0]), expected, "call {nr} at {pid}");
            }
        }
    }

    #[test]
    fn selectors_lead_to_the_right_argument() {
        let cases = [
            (libc::SYS_ptrace, [0, 10, 0], ALLOW), // PTRACE_TRACEME
            (libc::SYS_ptrace, [16, 10, 0], EPERM),
            (libc::SYS_ptrace, [0x4206, 77, 0], NOTIFY),
            (libc::SYS_ptrace, [7, 10, 0], ALLOW), // PTRACE_CONT needs an attached tracee
            (libc::SYS_setpriority, [0, 10, 5], EPERM),
            (libc::SYS_setpriority, [0, 0, 5], ALLOW),
            (libc::SYS_setpriority, [0, 77, 5], NOTIFY),
            (libc::SYS_setpriority, [1, 0, 5], ALLOW),
            (libc::SYS_setpriority, [1, 77, 5], EPERM),
            (libc::SYS_setpriority, [2, 0, 5], EPERM),
            (libc::SYS_ioprio_set, [1, 11, 0], EPERM),
            (libc::SYS_ioprio_set, [2, 0, 0], ALLOW),
            (libc::SYS_ioprio_set, [3, 0, 0], EPERM),
            (libc::SYS_fcntl, [3, 2, 1], ALLOW), // F_SETFD
            (libc::SYS_fcntl, [3, 8, 10], EPERM),
            (libc::SYS_fcntl, [3, 8, -10], EPERM),
            (libc::SYS_fcntl, [3, 8, 77], NOTIFY),
            (libc::SYS_fcntl, [3, 15, 0], EPERM),
            (libc::SYS_ioctl, [3, 0x8901, 0], EPERM),
            (libc::SYS_ioctl, [3, 0x5401, 0], ALLOW),
            (libc::SYS_unshare, [0x1000_0000, 0, 0], EPERM),
            (libc::SYS_unshare, [0x0002_0000, 0, 0], ALLOW),
            (libc::SYS_clone, [0x1000_0011, 0, 0], EPERM),
            (libc::SYS_clone, [17, 0, 0], NOTIFY),
            (libc::SYS_vfork, [0, 0, 0], NOTIFY),
            (libc::SYS_clone3, [0, 0, 0], ENOSYS),
            (libc::SYS_io_uring_setup, [0, 0, 0], ENOSYS),
            (libc::SYS_pidfd_open, [10, 0, 0], ENOSYS),
            (libc::SYS_read, [0, 0, 0], ALLOW),
            (libc::SYS_rt_sigaction, [17, 4096, 0], NOTIFY),
            (libc::SYS_rt_sigaction, [17, 0, 4096], ALLOW),
            (libc::SYS_rt_sigaction, [2, 4096, 0], ALLOW),
        ];
        for (nr, args, expected) in cases {
            assert_eq!(answer(&rules(), nr, args), expected, "call {nr} {args:?}");
        }
    }

    #[test]
    fn without_a_listener_nothing_is_notified() {
        let rules = Rules { notify: false, count_tasks: false, ..rules() };
        assert_eq!(answer(&rules, libc::SYS_kill, [55, 9, 0]), ALLOW);
        assert_eq!(answer(&rules, libc::SYS_kill, [10, 9, 0]), EPERM);
        assert_eq!(answer(&rules, libc::SYS_fork, [0, 0, 0]), ALLOW);
    }

    #[test]
    fn foreign_abis_end_the_process() {
        let program = assemble(&rules());
        assert_eq!(run(&program, 0x4000_0003, 11, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, X32_BIT | 39, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn targets_are_read_from_the_register_that_the_table_names() {
        let args = [5, 6, 7, 0, 0, 0];
        assert_eq!(target_of(libc::SYS_kill as i32, &args), Some(5));
        assert_eq!(target_of(libc::SYS_ptrace as i32, &args), Some(6));
        assert_eq!(target_of(libc::SYS_fcntl as i32, &args), Some(7));
        assert_eq!(target_of(libc::SYS_read as i32, &args), None);
    }
}
