//! One thread calls while another changes what the call points to.
//!
//! `net flip-address WAY FREE ELSEWHERE ROUNDS`, `net flip-name FREE ELSEWHERE ROUNDS`, `net unmap ADDRESS ROUNDS`. Whoever decides
//! on memory that the caller can change lets some of these through to ELSEWHERE; the peer counts.

use super::addr::Addr;
use super::{contact, socket};
use crate::json::{Object, errno_of};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Counts the changes that were made, so that calls are made among them and not before the first.
#[derive(Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// Waits for the next change; the call that follows meets the one after it.
    pub(crate) fn wait(&self) {
        let seen = self.0.load(Ordering::Relaxed);
        while self.0.load(Ordering::Relaxed) == seen {
            std::thread::yield_now();
        }
    }
}

/// Makes `rounds` calls while `change` runs again and again in another thread.
pub(crate) fn against(rounds: usize, change: impl FnMut() + Send, mut call: impl FnMut(usize) -> i32) -> Vec<i32> {
    let (done, pace) = (AtomicBool::new(false), Pace::default());
    let (done, pace) = (&done, &pace);
    std::thread::scope(|scope| {
        let mut change = change;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                change();
                pace.0.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut paced = |round| {
            pace.wait();
            call(round)
        };
        let errnos = (0..rounds).map(&mut paced).collect();
        done.store(true, Ordering::Relaxed);
        errnos
    })
}

/// An address of sixteen bytes whose second half (the part that matters of IPv4 lies in the first) flips as one word.
struct Flipping {
    words: [AtomicU64; 4],
}

impl Flipping {
    fn new(addr: &Addr) -> Flipping {
        let flipping = Flipping { words: Default::default() };
        flipping.write(addr);
        flipping
    }

    fn write(&self, addr: &Addr) {
        for (word, bytes) in self.words.iter().zip(addr.bytes().chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
    }

    fn pointer(&self) -> *const libc::c_void {
        self.words.as_ptr().cast()
    }
}

pub(crate) fn flip_address(args: &crate::Args) {
    let (free, elsewhere) = (Addr::parse(args.text(1)), Addr::parse(args.text(2)));
    let rounds = args.number(3) as usize;
    let memory = Flipping::new(&free);
    let (at, length) = (memory.pointer() as usize, free.length);
    let call = move |kind: i32, flags: i32| {
        let fd = socket::open(free.family(), kind | libc::SOCK_NONBLOCK, 0).unwrap_or(-1);
        let errno = if flags < 0 {
            socket::connect_raw(fd, at as *const _, length)
        } else {
            // SAFETY: the address lives as long as the threads
            errno_of(unsafe { libc::sendto(fd, b"x".as_ptr().cast(), 1, flags, at as *const _, length) } as i64)
        };
        let port = socket::peer_port(fd);
        socket::close(fd);
        if port == 0 { errno } else { 0 }
    };
    let way: &(dyn Fn() -> i32 + Sync) = match args.text(0) {
        "connect" => &move || call(libc::SOCK_STREAM, -1),
        "udp-connect" => &move || call(libc::SOCK_DGRAM, -1),
        "sendto" => &move || call(libc::SOCK_DGRAM, libc::MSG_NOSIGNAL),
        "fast-open" => &move || call(libc::SOCK_STREAM, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL),
        other => crate::fail(&format!("unknown way {other}")),
    };
    let mut turn = false;
    let flip = || {
        turn = !turn;
        memory.write(if turn { &elsewhere } else { &free });
    };
    let errnos = against(rounds, flip, |_| way());
    Object::new().raw("errnos", &contact::tally(&errnos)).print();
}

/// The name of a message flips between nothing, a free address and one elsewhere; a stream socket asks for fast open.
pub(crate) fn flip_name(args: &crate::Args) {
    let (free, elsewhere) = (Addr::parse(args.text(0)), Addr::parse(args.text(1)));
    let rounds = args.number(2) as usize;
    let mut data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let header = Box::leak(Box::new(socket::message(Some(&free), &mut data)));
    let at = std::ptr::from_mut(header) as usize;
    // SAFETY: the header is leaked, so both threads may use its words for ever; atomics as the caller would flip them
    let (name, length) =
        unsafe { (AtomicPtr::from_ptr(&raw mut header.msg_name), AtomicUsize::from_ptr((at + 8) as *mut usize)) };
    let names = [std::ptr::null_mut::<libc::c_void>() as usize, free.pointer() as usize, elsewhere.pointer() as usize];
    let mut turn = 0;
    let flip = || {
        turn = (turn + 1) % 3;
        name.store(names[turn] as *mut _, Ordering::Relaxed);
        length.store(if turn == 0 { 0 } else { free.length as usize }, Ordering::Relaxed);
    };
    let call = |round: usize| {
        let (kind, flags) =
            if round.is_multiple_of(2) { (libc::SOCK_DGRAM, 0) } else { (libc::SOCK_STREAM, libc::MSG_FASTOPEN) };
        let fd = socket::open(free.family(), kind | libc::SOCK_NONBLOCK, 0).unwrap_or(-1);
        // SAFETY: whatever the header says at the moment is memory of ours or nothing
        let sent = unsafe { libc::syscall(libc::SYS_sendmsg, fd, at, flags | libc::MSG_NOSIGNAL) };
        socket::close(fd);
        errno_of(sent)
    };
    Object::new().raw("errnos", &contact::tally(&against(rounds, flip, call))).print();
}

/// The page that holds the address comes and goes.
pub(crate) fn unmap(args: &crate::Args) {
    const PAGE: usize = 4096;
    let (addr, rounds) = (Addr::parse(args.text(0)), args.number(1) as usize);
    let map = |at: *mut libc::c_void, flags: i32| {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: only ever the one page that we reserved below
        unsafe { libc::mmap(at, PAGE, protection, flags, -1, 0) }
    };
    let page = map(std::ptr::null_mut(), 0) as usize;
    let change = move || {
        // SAFETY: the page is ours; nothing of Rust lies in it
        unsafe { libc::munmap(page as *mut _, PAGE) };
        let again = map(page as *mut _, libc::MAP_FIXED_NOREPLACE);
        if again as usize == page {
            // SAFETY: just mapped, only this thread unmaps
            unsafe { (page as *mut u8).copy_from(addr.bytes().as_ptr(), addr.bytes().len()) };
        }
    };
    let call = |_| match socket::open(addr.family(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) {
        Ok(fd) => {
            let errno = socket::connect_raw(fd, page as *const _, addr.length);
            socket::close(fd);
            errno
        }
        Err(errno) => errno,
    };
    let errnos = against(rounds, change, call);
    Object::new().raw("errnos", &contact::tally(&errnos)).print();
}
