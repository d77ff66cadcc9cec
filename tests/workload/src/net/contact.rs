//! `net contact WAY COUNT MODE ADDRESS:PORT [STEP]`: reaches out COUNT times by one way, and prints how often which errno came.
//!
//! MODE is `seq`, `forks` or `threads` (sixteen at once, all started together). With STEP 1 every contact has another address.

use super::addr::Addr;
use super::{crooked_ways, datagram_ways, stream_ways};
use crate::json::Object;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};

/// One contact; 0 or the errno.
pub(crate) type Way = fn(&Addr) -> i32;

const AT_ONCE: usize = 16;

pub(crate) fn run(args: &crate::Args) {
    let name = args.text(0);
    let all = stream_ways::WAYS.iter().chain(datagram_ways::WAYS).chain(crooked_ways::WAYS);
    let way = all.clone().find(|(known, _)| *known == name).map(|(_, way)| *way);
    let way = way.unwrap_or_else(|| crate::fail(&format!("unknown way {name}")));
    let (count, base) = (args.number(1) as usize, Addr::parse(args.text(3)));
    let step = args.maybe_number(4).unwrap_or(0) as usize;
    let contact = |index: usize| way(&base.plus(index * step));
    let errnos: Vec<i32> = match args.text(2) {
        "seq" => (0..count).map(contact).collect(),
        "threads" => by_threads(count, &contact),
        "forks" => by_forks(count, &contact),
        other => crate::fail(&format!("unknown mode {other}")),
    };
    Object::new().raw("errnos", &tally(&errnos)).print();
}

/// `{"0":5,"1":4}`
pub(crate) fn tally(errnos: &[i32]) -> String {
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    errnos.iter().for_each(|errno| *counts.entry(*errno).or_default() += 1);
    counts.iter().fold(Object::new(), |object, (errno, count)| object.value(&errno.to_string(), count)).render()
}

fn by_threads(count: usize, contact: &(impl Fn(usize) -> i32 + Sync)) -> Vec<i32> {
    let start = std::sync::Barrier::new(AT_ONCE);
    let start = &start;
    let share = move |worker: usize| {
        start.wait();
        (worker..count).step_by(AT_ONCE).map(contact).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|worker| scope.spawn(move || share(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

/// Results come back in shared memory: index 0 counts who is ready.
fn by_forks(count: usize, contact: &impl Fn(usize) -> i32) -> Vec<i32> {
    let shared = shared_numbers(count + 1);
    for worker in 0..AT_ONCE {
        // SAFETY: the child only makes system calls and ends by _exit
        if unsafe { libc::fork() } == 0 {
            shared[0].fetch_add(1, Ordering::SeqCst);
            while shared[0].load(Ordering::SeqCst) < AT_ONCE as i32 {
                std::hint::spin_loop();
            }
            (worker..count).step_by(AT_ONCE).for_each(|i| shared[i + 1].store(contact(i), Ordering::SeqCst));
            // SAFETY: no destructors of the parent
            unsafe { libc::_exit(0) };
        }
    }
    for _ in 0..AT_ONCE {
        // SAFETY: waits for a child of ours
        unsafe { libc::wait(std::ptr::null_mut()) };
    }
    shared[1..].iter().map(|errno| errno.load(Ordering::SeqCst)).collect()
}

/// Zeroed numbers that forks share.
pub(crate) fn shared_numbers(count: usize) -> &'static [AtomicI32] {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping of that size that is never unmapped; zero is a valid AtomicI32
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), count * 4, protection, flags, -1, 0);
        assert!(at != libc::MAP_FAILED, "no shared memory");
        std::slice::from_raw_parts(at.cast(), count)
    }
}
