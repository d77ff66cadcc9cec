//! Calls through an io_uring, which no filter sees once the ring is there.

use super::addr::Addr;
use super::socket;
use crate::json::errno_of;
use libc::{c_long, c_void};

/// `struct io_uring_params` (linux/io_uring.h), as far as it is read here.
#[repr(C)]
#[derive(Default)]
struct Params {
    entries: [u32; 2],
    flags: u32,
    other: [u32; 7],
    /// head, tail, ring_mask, ring_entries, flags, dropped, array, resv1, user_addr
    submission: [u32; 10],
    /// head, tail, ring_mask, ring_entries, overflow, cqes, …
    completion: [u32; 10],
}

const OP_SENDMSG: u8 = 9;
const OP_CONNECT: u8 = 16;
const ENTER_GETEVENTS: c_long = 1;
const OFFSET_SUBMISSION: i64 = 0;
const OFFSET_COMPLETION: i64 = 0x0800_0000;
const OFFSET_ENTRIES: i64 = 0x1000_0000;

pub(crate) fn connect(fd: i32, addr: &Addr) -> i32 {
    // IORING_OP_CONNECT: addr is the address, off its length.
    submit(OP_CONNECT, fd, addr.pointer() as u64, u64::from(addr.length), 0)
}

pub(crate) fn send_message(fd: i32, addr: &Addr) -> i32 {
    let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let header = socket::message(Some(addr), &mut data);
    submit(OP_SENDMSG, fd, &raw const header as u64, 0, 1)
}

/// One operation through a ring of its own; 0 or the errno, of the ring or of the operation.
fn submit(operation: u8, fd: i32, addr: u64, offset: u64, length: u32) -> i32 {
    let mut params = Params::default();
    // SAFETY: the structure has the kernel's size (120 bytes)
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1 as c_long, &raw mut params) };
    if ring < 0 {
        return errno_of(ring);
    }
    let [submission, completion, entries] =
        [OFFSET_SUBMISSION, OFFSET_COMPLETION, OFFSET_ENTRIES].map(|offset| map(ring as i32, offset));
    let mut entry = [0u8; 64];
    entry[0] = operation;
    entry[4..8].copy_from_slice(&fd.to_ne_bytes());
    entry[8..16].copy_from_slice(&offset.to_ne_bytes());
    entry[16..24].copy_from_slice(&addr.to_ne_bytes());
    entry[24..28].copy_from_slice(&length.to_ne_bytes());
    // SAFETY: offsets come from the kernel and lie in the mappings; the ring is ours alone and empty
    unsafe {
        entries.cast::<[u8; 64]>().write(entry);
        submission.add(params.submission[6] as usize).cast::<u32>().write(0);
        submission.add(params.submission[1] as usize).cast::<u32>().write_volatile(1);
        let done = libc::syscall(
            libc::SYS_io_uring_enter,
            ring,
            1 as c_long,
            1 as c_long,
            ENTER_GETEVENTS,
            0 as c_long,
            0 as c_long,
        );
        if done < 0 {
            return errno_of(done);
        }
        // struct io_uring_cqe: user_data, then the result.
        let result = completion.add(params.completion[5] as usize + 8).cast::<i32>().read_volatile();
        socket::close(ring as i32);
        if result < 0 { -result } else { 0 }
    }
}

fn map(ring: i32, offset: i64) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a mapping of the ring, large enough for one entry
    let at: *mut c_void = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, ring, offset) };
    assert!(at != libc::MAP_FAILED, "ring memory");
    at.cast()
}
