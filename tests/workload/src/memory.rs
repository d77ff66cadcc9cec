//! Programs that take memory in every way that a limit has to see, and one (page cache) that it must not mind.

use crate::json::Object;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const CHUNK: usize = 4 << 20;

fn map(bytes: usize, flags: i32, fd: RawFd) -> *mut u8 {
    // SAFETY: a fresh mapping at an address of the kernel's choice
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    if at == libc::MAP_FAILED {
        Object::new().text("refused", "mmap").value("errno", crate::json::errno_of(-1)).print();
        std::process::exit(3);
    }
    at.cast()
}

fn touch(at: *mut u8, bytes: usize, rate: Option<u64>) {
    let start = Instant::now();
    for offset in (0..bytes).step_by(PAGE) {
        // SAFETY: inside the mapping
        unsafe { at.add(offset).write_volatile(1) };
        if let Some(rate) = rate
            && offset % (1 << 20) == 0
        {
            let due = Duration::from_secs_f64(offset as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
}

fn hold(what: &str, bytes: u64) -> ! {
    Object::new().text("held", what).value("bytes", bytes).print();
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Touches `bytes` of anonymous memory, at `rate` bytes a second if given, and holds it.
pub(crate) fn alloc(bytes: u64, rate: Option<u64>) {
    touch(map(bytes as usize, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1), bytes as usize, rate);
    hold("anonymous", bytes)
}

/// `count` children that hold `bytes` each: none is large by itself.
pub(crate) fn alloc_many(count: u64, bytes: u64) {
    for _ in 0..count {
        // SAFETY: single-threaded
        if unsafe { libc::fork() } == 0 {
            alloc(bytes, None);
        }
    }
    hold("children", count * bytes)
}

/// Shared anonymous memory (shmem in the kernel's books).
pub(crate) fn mmap_shared(bytes: u64) {
    touch(map(bytes as usize, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1), bytes as usize, None);
    hold("shared", bytes)
}

/// A memfd that is mapped.
pub(crate) fn memfd(bytes: u64) {
    // SAFETY: a valid name
    let fd = unsafe { libc::memfd_create(c"workload".as_ptr(), 0) };
    // SAFETY: fd was just made
    unsafe { libc::ftruncate(fd, bytes as i64) };
    touch(map(bytes as usize, libc::MAP_SHARED, fd), bytes as usize, None);
    hold("memfd", bytes)
}

/// Fills a file (on tmpfs or /dev/shm this is memory that no process maps).
pub(crate) fn fill_file(path: &str, bytes: u64) {
    let written = write_zeros(&mut create(path), bytes);
    hold("file", written)
}

/// Fills a file through a shared mapping.
pub(crate) fn map_file(path: &str, bytes: u64) {
    use std::os::fd::AsRawFd;
    let file = create(path);
    // SAFETY: an open file
    unsafe { libc::ftruncate(file.as_raw_fd(), bytes as i64) };
    touch(map(bytes as usize, libc::MAP_SHARED, file.as_raw_fd()), bytes as usize, None);
    hold("mapped file", bytes)
}

/// Writes and reads back a file much larger than any limit; the kernel can drop those pages at will, so nobody may be killed.
pub(crate) fn page_cache(path: &str, bytes: u64) {
    let written = write_zeros(&mut create(path), bytes);
    let mut buffer = vec![0u8; CHUNK];
    let mut read = 0u64;
    for _ in 0..2 {
        let Ok(mut file) = File::open(path) else {
            break;
        };
        while let Ok(n) = file.read(&mut buffer) {
            if n == 0 {
                break;
            }
            read += n as u64;
        }
    }
    let _ = std::fs::remove_file(path);
    Object::new().value("written", written).value("read", read).print();
}

/// `children` forks share `bytes` of touched memory: it exists once and must count once.
pub(crate) fn share_after_fork(bytes: u64, children: u64) {
    touch(map(bytes as usize, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1), bytes as usize, None);
    let mut pids = Vec::new();
    for _ in 0..children {
        // SAFETY: single-threaded; the child sleeps and exits
        match unsafe { libc::fork() } {
            0 => {
                std::thread::sleep(Duration::from_millis(1500));
                // SAFETY: ends the child
                unsafe { libc::_exit(0) }
            }
            pid => pids.push(pid),
        }
    }
    for pid in pids {
        // SAFETY: our own child
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
    Object::new().value("bytes", bytes).value("children", children).print();
}

fn create(path: &str) -> File {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).unwrap_or_else(|error| {
        Object::new().text("refused", "open").value("errno", error.raw_os_error().unwrap_or(0)).print();
        std::process::exit(3)
    })
}

/// Writes up to `bytes`; says how many went in.
pub(crate) fn write_zeros(file: &mut File, bytes: u64) -> u64 {
    let buffer = vec![0x5au8; CHUNK];
    let mut written = 0u64;
    while written < bytes {
        let want = buffer.len().min((bytes - written) as usize);
        match file.write(&buffer[..want]) {
            Ok(0) | Err(_) => break,
            Ok(n) => written += n as u64,
        }
    }
    written
}

/// An owned stdout that does not buffer.
pub(crate) fn raw_stdout() -> std::mem::ManuallyDrop<File> {
    // SAFETY: fd 1 stays open for the life of the process, and ManuallyDrop never closes it
    std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(1) })
}
