//! Removing a secret from what `/proc/PID/cmdline` and `/proc/PID/environ` show.

use std::fs;

/// Overwrites every occurrence of `secret` in this process's argument and environment strings with `x`.
///
/// The kernel shows that memory to whoever may read those files (proc_pid_cmdline(5) is open to everybody). Must run before
/// threads exist that could read the environment. Secrets shorter than four bytes are left: they would match by chance.
pub fn hide(secret: &[u8]) {
    if secret.len() < 4 {
        return;
    }
    let Some((start, end)) = string_area() else { return };
    // SAFETY: the kernel placed argument and environment strings in this range of our own writable stack area, it stays mapped
    // for the life of the process, and no other thread exists yet.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    let mut at = 0;
    while at + secret.len() <= area.len() {
        if area[at..].starts_with(secret) {
            area[at..at + secret.len()].fill(b'x');
            at += secret.len();
        } else {
            at += 1;
        }
    }
}

/// Removes a variable from the environment that children would inherit.
pub fn forget_variable(name: &str) {
    // SAFETY: the caller has one thread only; nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
}

/// `arg_start` and `env_end`, fields 48 and 51 of `/proc/self/stat`.
fn string_area() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
    let arg_start: usize = fields.next()?.parse().ok()?;
    let env_end: usize = fields.nth(2)?.parse().ok()?;
    // Bounded by the kernel's own MAX_ARG_STRLEN times count; a sane range is below 16 MiB.
    (arg_start != 0 && env_end > arg_start && env_end - arg_start < 16 << 20).then_some((arg_start, env_end))
}
