//! The other entries of the kernel: 32-bit calls and x32. Arguments have to lie in the lowest 4 GiB.

use super::addr::Addr;
use crate::json::errno_of;
use libc::c_long;

/// i386's own numbers (arch/x86/entry/syscalls/syscall_32.tbl).
const SOCKETCALL: u32 = 102;
const CONNECT: u32 = 362;
const SENDTO: u32 = 369;
/// The selector of socketcall (linux/net.h).
const SYS_CONNECT: u32 = 3;
const X32_BIT: c_long = 0x4000_0000;

/// A page below 4 GiB; the process ends soon, so it is never given back.
fn low_page() -> *mut u8 {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
    // SAFETY: a fresh mapping
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert!(at != libc::MAP_FAILED, "no low memory");
    at.cast()
}

fn low_copy(addr: &Addr) -> u32 {
    let page = low_page();
    // SAFETY: the address is shorter than a page
    unsafe { page.copy_from(addr.bytes().as_ptr(), addr.bytes().len()) };
    page as usize as u32
}

/// `int 0x80`; 0 or the errno.
fn int80(number: u32, a: [u32; 6]) -> i32 {
    let result: i32;
    // SAFETY: the numbers below only read memory; rbx and rbp are put back
    unsafe {
        std::arch::asm!(
            "push rbx", "push rbp", "mov ebx, {b:e}", "mov ebp, {f:e}", "int 0x80", "pop rbp", "pop rbx",
            b = in(reg) a[0], f = in(reg) a[5],
            inlateout("eax") number => result,
            in("ecx") a[1], in("edx") a[2], in("esi") a[3], in("edi") a[4],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 { -result } else { 0 }
}

pub(crate) fn i386_connect(fd: i32, addr: &Addr) -> i32 {
    int80(CONNECT, [fd as u32, low_copy(addr), addr.length, 0, 0, 0])
}

pub(crate) fn i386_socketcall(fd: i32, addr: &Addr) -> i32 {
    let arguments = low_page().cast::<u32>();
    // SAFETY: three numbers in a page of our own
    unsafe { arguments.cast::<[u32; 3]>().write([fd as u32, low_copy(addr), addr.length]) };
    int80(SOCKETCALL, [SYS_CONNECT, arguments as usize as u32, 0, 0, 0, 0])
}

pub(crate) fn i386_sendto(fd: i32, addr: &Addr) -> i32 {
    let data = low_page();
    int80(SENDTO, [fd as u32, data as usize as u32, 1, 0, low_copy(addr), addr.length])
}

pub(crate) fn x32_connect(fd: i32, addr: &Addr) -> i32 {
    // SAFETY: the address lives through the call
    errno_of(unsafe { libc::syscall(X32_BIT | libc::SYS_connect, fd as c_long, addr.pointer(), addr.length as c_long) })
}

pub(crate) fn x32_sendto(fd: i32, addr: &Addr) -> i32 {
    let (data, one, none) = (b"x".as_ptr(), 1 as c_long, 0 as c_long);
    let length = addr.length as c_long;
    // SAFETY: data and address live through the call
    let sent =
        unsafe { libc::syscall(X32_BIT | libc::SYS_sendto, fd as c_long, data, one, none, addr.pointer(), length) };
    errno_of(sent)
}
