//! The program's own code in memory.

use std::ffi::c_void;

unsafe extern "C" {
    /// Where the mapping of code and constants begins and ends (ld(1), predefined symbols). Only their addresses mean anything.
    static __executable_start: u8;
    static etext: u8;
}

/// Unmaps every page of code, for the kernel to map again what is still executed: a start needs much that is never needed afterwards, and it
/// counts as ours for as long as it is mapped. Costs some faults and no reading, because the pages stay in the page cache.
pub fn forget() {
    let page = 4096;
    let (start, end) = (&raw const __executable_start as usize, &raw const etext as usize);
    let (start, end) = (start.next_multiple_of(page), end / page * page);
    if start < end {
        // SAFETY: a private mapping of a file that nobody writes to: what is dropped comes back from the file as it was (madvise(2)).
        unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
    }
}
