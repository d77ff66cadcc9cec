//! `net flip-blocking`: threads connect without blocking to a listener that takes nobody, while others switch blocking on and off under
//! the very same descriptors.
//!
//! Whoever makes the call for them and trusts the flag sleeps in it. The program itself never ends: its calls may block as well.

use super::socket;
use std::io::Error;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicI32, Ordering};

const CALLERS: usize = 16;
static FDS: [AtomicI32; CALLERS] = [const { AtomicI32::new(-1) }; CALLERS];

pub(crate) fn flip() {
    let fail = |what: &str, error: &Error| -> ! { crate::fail(&format!("{what}: {error}")) };
    let name = format!("flip-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap_or_else(|error| fail("name", &error));
    let listener = UnixListener::bind_addr(&address).unwrap_or_else(|error| fail("bind", &error));
    // SAFETY: no pointers
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    while connect(open(), &name) != libc::EAGAIN {}
    println!("full");
    for slot in &FDS {
        let name = name.clone();
        std::thread::spawn(move || {
            loop {
                let fd = open();
                slot.store(fd, Ordering::Relaxed);
                connect(fd, &name);
                socket::close(fd);
            }
        });
    }
    for flags in [0, libc::O_NONBLOCK] {
        std::thread::spawn(move || {
            loop {
                for slot in &FDS {
                    // SAFETY: no pointers; a number that is closed by now fails
                    unsafe { libc::fcntl(slot.load(Ordering::Relaxed), libc::F_SETFL, flags) };
                }
            }
        });
    }
    loop {
        std::thread::park();
    }
}

fn open() -> i32 {
    socket::open(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)
        .unwrap_or_else(|errno| crate::fail(&format!("socket: {}", Error::from_raw_os_error(errno))))
}

/// connect(2) to an abstract name; its errno.
fn connect(fd: i32, name: &str) -> i32 {
    // SAFETY: an all-zero sockaddr_un is valid
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    for (to, from) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    socket::connect_raw(fd, (&raw const address).cast(), (3 + name.len()) as u32)
}
