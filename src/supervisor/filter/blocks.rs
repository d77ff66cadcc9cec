//! What each kind of check comes to: a block of instructions that ends in an answer, or in the one judgement of targets.

use super::program::{AND, ANY_BIT, EQUAL, GO, allow, deny, jump, load_arg, load_arg_upper, notify, op};
use super::{Check, NetworkCalls, Rules};
use crate::sys::seccomp::Instruction;

/// Room for the blocks of any rules; more would only be allocated anew.
const USUAL: usize = 192;

/// The blocks of one program.
pub(super) struct Blocks<'a> {
    rules: &'a Rules,
    code: Vec<Instruction>,
    /// Every check that has a block, and where it starts; `None` for one that comes to "allowed".
    placed: Vec<(&'static Check, Option<usize>)>,
    /// Instructions that go on to the judgement of the loaded target.
    judged: Vec<usize>,
}

impl Blocks<'_> {
    pub(super) fn new(rules: &Rules) -> Blocks<'_> {
        Blocks { rules, code: Vec::with_capacity(USUAL), placed: Vec::new(), judged: Vec::new() }
    }

    /// Where the block of a check starts; `None` when there is nothing to check.
    pub(super) fn place(&mut self, check: &'static Check) -> Option<usize> {
        if let Some((_, start)) = self.placed.iter().find(|(placed, _)| *placed == check) {
            return *start;
        }
        let start = self.code.len();
        self.emit(check);
        let free = self.code[start..] == [allow()];
        if free {
            self.code.truncate(start);
        }
        let start = (!free).then_some(start);
        self.placed.push((check, start));
        start
    }

    /// All blocks, complete.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        let end = self.code.len();
        for at in &self.judged {
            self.code[*at].k = (end - at - 1) as u32;
        }
        self.judgement();
        self.code
    }

    /// On the target in the accumulator.
    fn judgement(&mut self) {
        let [a, b, c] = self.rules.protected;
        let forbidden = [1, -1, a, -a, b, -b, c, -c];
        let allowed = [0, self.rules.main];
        // Behind all comparisons come: the answer about a stranger, "denied", "allowed".
        let comparisons = (allowed.len() + forbidden.len()) as u8;
        let targets = allowed.iter().map(|pid| (pid, 2)).chain(forbidden.iter().map(|pid| (pid, 1)));
        self.code
            .extend((1..).zip(targets).map(|(n, (pid, answer))| jump(EQUAL, *pid as u32, comparisons - n + answer, 0)));
        self.code.extend([if self.rules.notify { notify() } else { allow() }, deny(libc::EPERM), allow()]);
    }

    fn judge(&mut self, argument: u8) {
        self.code.push(load_arg(argument));
        self.judged.push(self.code.len());
        self.code.push(op(GO, 0));
    }

    fn emit(&mut self, check: &Check) {
        match check {
            Check::Deny(errno) => self.code.push(deny(*errno)),
            Check::Target(argument) => self.judge(*argument),
            Check::TargetWhen(argument, values) => {
                self.code.push(load_arg(0));
                let jumps =
                    values.iter().enumerate().map(|(n, value)| jump(EQUAL, *value, (values.len() - n) as u8, 0));
                self.code.extend(jumps);
                self.code.push(allow());
                self.judge(*argument);
            }
            Check::Which { process, group } => self.which(*process, *group),
            Check::Fcntl => {
                self.code.extend([
                    load_arg(1),
                    jump(EQUAL, libc::F_SETOWN as u32, 3, 0),
                    jump(EQUAL, F_SETOWN_EX, 0, 1),
                    deny(libc::EPERM),
                    allow(),
                ]);
                self.judge(2);
            }
            Check::DenyRequest(requests) => {
                self.code.push(load_arg(1));
                for request in *requests {
                    self.code.extend([jump(EQUAL, *request, 0, 1), deny(libc::EPERM)]);
                }
                self.code.push(allow());
            }
            Check::Unshare => {
                // With a table of descriptors for each thread nobody could say what a thread has open.
                let files = if self.rules.network.is_some() { libc::CLONE_FILES } else { 0 };
                let flags = (libc::CLONE_NEWUSER | files) as u32;
                self.code.extend([load_arg(0), jump(ANY_BIT, flags, 0, 1), deny(libc::EPERM), allow()]);
            }
            Check::CloseRange => {
                const CLOSE_RANGE_UNSHARE: u32 = 2;
                let unshares = if self.rules.network.is_some() { CLOSE_RANGE_UNSHARE } else { 0 };
                self.code.extend([load_arg(2), jump(ANY_BIT, unshares, 0, 1), deny(libc::EPERM), allow()]);
            }
            Check::NewTask { has_flags } => self.new_task(*has_flags),
            Check::ChildAction => self.child_action(),
            Check::Contact
            | Check::AddressedSend
            | Check::Socket
            | Check::SocketPair
            | Check::SocketOption
            | Check::SocketUse => match self.rules.network {
                Some(calls) => self.network(check, calls),
                None => self.code.push(allow()),
            },
        }
    }

    /// setpriority and ioprio_set: one process is a target; our own group (0) is fine; other groups and whole users are not.
    fn which(&mut self, process: u32, group: u32) {
        self.code.extend([
            load_arg(0),
            jump(EQUAL, process, 5, 0),
            jump(EQUAL, group, 0, 2),
            load_arg(1),
            jump(EQUAL, 0, 1, 0),
            deny(libc::EPERM),
            allow(),
        ]);
        // The jump for `process` lands here.
        self.judge(1);
    }

    fn new_task(&mut self, has_flags: bool) {
        if has_flags {
            self.code.extend([load_arg(0), jump(ANY_BIT, libc::CLONE_NEWUSER as u32, 0, 1), deny(libc::EPERM)]);
            if self.rules.network.is_some() {
                self.shared_descriptors();
            }
        }
        self.code.push(if self.rules.count_tasks { notify() } else { allow() });
    }

    /// Threads share their descriptors and processes do not: so "the only thread of its process" means that nobody else can change
    /// them.
    fn shared_descriptors(&mut self) {
        let (thread, files) = (libc::CLONE_THREAD as u32, libc::CLONE_FILES as u32);
        self.code.extend([
            load_arg(0),
            jump(ANY_BIT, thread, 0, 2),
            jump(ANY_BIT, files, 3, 0),
            deny(libc::EINVAL),
            jump(ANY_BIT, files, 0, 1),
            deny(libc::EINVAL),
        ]);
    }

    /// Argument 1 is the new action; a null pointer only asks for the present one.
    fn child_action(&mut self) {
        if !self.rules.notify {
            return self.code.push(allow());
        }
        self.code.extend([
            load_arg(0),
            jump(EQUAL, libc::SIGCHLD as u32, 0, 4),
            load_arg(1),
            jump(EQUAL, 0, 0, 1),
            allow(),
            notify(),
            allow(),
        ]);
    }

    fn network(&mut self, check: &Check, calls: NetworkCalls) {
        match check {
            Check::AddressedSend => self.code.extend([
                load_arg(3),
                jump(ANY_BIT, libc::MSG_FASTOPEN as u32, 4, 0),
                load_arg(4),
                jump(EQUAL, 0, 0, 2),
                load_arg_upper(4),
                jump(EQUAL, 0, 1, 0),
                notify(),
                allow(),
            ]),
            Check::Socket => self.code.extend(socket(if calls.makes_sockets { notify() } else { allow() })),
            Check::SocketPair => {
                let unix = libc::AF_UNIX as u32;
                self.code.extend([load_arg(0), jump(EQUAL, unix, 1, 0), deny(libc::EOPNOTSUPP), allow()]);
            }
            Check::SocketOption => self.code.extend([
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
            ]),
            Check::SocketUse if !calls.makes_sockets => self.code.push(allow()),
            _ => self.code.push(notify()),
        }
    }
}

const F_SETOWN_EX: u32 = 15;

/// socket(2): the errno is what the kernel says to a program without rights.
fn socket(permit: Instruction) -> [Instruction; 23] {
    /// `SOCK_TYPE_MASK` (linux/net.h).
    const KIND: u32 = 0xf;
    let tcp_or_default = [0, libc::IPPROTO_TCP as u32];
    let udp_or_default = [0, libc::IPPROTO_UDP as u32];
    [
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
