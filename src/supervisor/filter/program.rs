//! Classic BPF (linux/filter.h): instructions, and how blocks of them become one program.
//!
//! When a filter is installed the kernel compiles it, and runs it once for every system call number to learn which are always allowed
//! (Linux 5.11). So it is short, a block that several calls need being there once, and finds a number by halves.

use crate::sys::seccomp::Instruction;

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const GO: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

pub(super) const OFFSET_NR: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;
pub(super) const OFFSET_ARGS: u32 = 16;
pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// The x32 ABI sets this bit in the call number (asm/unistd.h).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// The low half of an argument, which is all of an int or a pid.
pub(super) const fn load_arg(index: u8) -> Instruction {
    op(LOAD, OFFSET_ARGS + 8 * index as u32)
}

/// The upper half.
pub(super) const fn load_arg_upper(index: u8) -> Instruction {
    op(LOAD, OFFSET_ARGS + 8 * index as u32 + 4)
}

pub(super) const fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

pub(super) const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

pub(super) const fn allow() -> Instruction {
    op(RETURN, libc::SECCOMP_RET_ALLOW)
}

pub(super) const fn notify() -> Instruction {
    op(RETURN, libc::SECCOMP_RET_USER_NOTIF)
}

pub(super) const fn deny(errno: i32) -> Instruction {
    op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// A program that leads each call number of `entries` to the block that starts there in `blocks`, and allows the others.
pub(super) fn link(mut entries: Vec<(u32, usize)>, blocks: &[Instruction]) -> Vec<Instruction> {
    entries.sort_unstable();
    let mut code = Vec::with_capacity(4 * entries.len() + 16 + blocks.len());
    code.extend([
        op(LOAD, OFFSET_ARCH),
        jump(EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        op(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        op(LOAD, OFFSET_NR),
        jump(AT_LEAST, X32_BIT, 0, 1),
        op(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
    ]);
    branch(&mut code, &entries);
    let start = code.len();
    for (at, instruction) in code.iter_mut().enumerate().filter(|(_, instruction)| instruction.code == GO) {
        // Until here `k` is the place within the blocks.
        instruction.k += (start - at - 1) as u32;
    }
    code.extend_from_slice(blocks);
    code
}

fn branch(code: &mut Vec<Instruction>, entries: &[(u32, usize)]) {
    if entries.len() > 2 {
        let (lower, upper) = entries.split_at(entries.len() / 2);
        let at = code.len();
        code.push(jump(AT_LEAST, upper[0].0, 0, 0));
        branch(code, lower);
        // At most three instructions an entry, so there is room for 170 of them.
        code[at].jt = (code.len() - at - 1) as u8;
        return branch(code, upper);
    }
    for (number, start) in entries {
        code.extend([jump(EQUAL, *number, 0, 1), op(GO, *start as u32)]);
    }
    code.push(allow());
}
