//! Random bytes of the kernel.

/// Fills `buffer` from the kernel's generator (getrandom(2)) without waiting for it to be seeded. `false` where it cannot: nothing was
/// promised about the content then.
pub fn fill(buffer: &mut [u8]) -> bool {
    // SAFETY: `buffer` is writable for its length, and the kernel writes no more than that.
    let filled = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), libc::GRND_NONBLOCK) };
    usize::try_from(filled) == Ok(buffer.len())
}
