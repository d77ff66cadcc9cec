//! What the kernel would answer, by an interpreter of classic BPF.

use super::program::*;
use super::*;

/// A classic-BPF interpreter: enough to see what the kernel would answer.
fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    walk(program, arch, nr, args, &mut 0)
}

fn walk(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6], steps: &mut usize) -> u32 {
    let mut accumulator = 0;
    let mut pc = 0;
    loop {
        *steps += 1;
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
            GO => pc += k as usize,
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
    Rules { main: 100, protected: [10, 11, 12], notify: true, count_tasks: true, network: None }
}

fn network_rules(makes_sockets: bool) -> Rules {
    let network = Some(NetworkCalls { makes_sockets });
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
        (libc::SYS_sendmmsg, [3, 0x7fff, 1, 0, 0, 0], NOTIFY),
        (libc::SYS_write, [3, 0x7fff, 1, 0, 0, 0], ALLOW),
        (libc::SYS_io_uring_setup, [8, 0, 0, 0, 0, 0], ENOSYS),
        (libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0], ENOSYS),
        (libc::SYS_unshare, [libc::CLONE_FILES as u64, 0, 0, 0, 0, 0], EPERM),
        (libc::SYS_close_range, [3, u64::MAX, 2, 0, 0, 0], EPERM),
        (libc::SYS_close_range, [3, u64::MAX, 4, 0, 0, 0], ALLOW),
        (libc::SYS_ioctl, [3, 0xaa00, 0, 0, 0, 0], EPERM),
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
        for nr in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_prlimit64, libc::SYS_sched_setscheduler]
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

/// The kernel runs the program for every number when it is installed, and what it finds always allowed never meets the program again.
#[test]
fn the_program_is_short_and_calls_that_no_rule_names_are_allowed_on_a_short_way() {
    let all =
        [rules(), network_rules(false), network_rules(true), Rules { notify: false, count_tasks: false, ..rules() }];
    for rules in all {
        let program = assemble(&rules);
        assert!(program.len() < 300, "{} instructions", program.len());
        for nr in (0..500).filter(|nr| TABLE.iter().all(|(number, _)| number != nr)) {
            let mut steps = 0;
            let answer = walk(&program, AUDIT_ARCH_X86_64, nr as u32, [0; 6], &mut steps);
            assert!(answer == ALLOW && steps < 16, "call {nr}: {answer:#x} after {steps} instructions");
        }
    }
}
