//! System calls by the other two entries of an x86-64 kernel; a filter that only reads numbers is blind to them.

use crate::json::Object;

/// `getpid` by `int 0x80` (number 20 there).
pub(crate) fn i386() {
    let result: i32;
    // SAFETY: getpid takes nothing and changes nothing; int 0x80 may clobber r8–r11
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    report("i386", i64::from(result));
}

/// `getpid` with the x32 bit set.
pub(crate) fn x32() {
    const X32_BIT: i64 = 0x4000_0000;
    // SAFETY: getpid takes nothing and changes nothing
    let result = unsafe { libc::syscall(X32_BIT | libc::SYS_getpid) };
    report("x32", if result < 0 { -i64::from(crate::json::errno_of(result)) } else { result });
}

fn report(entry: &str, result: i64) {
    // SAFETY: no arguments
    let pid = i64::from(unsafe { libc::getpid() });
    Object::new().text("entry", entry).value("result", result).value("let_through", result == pid).print();
}
