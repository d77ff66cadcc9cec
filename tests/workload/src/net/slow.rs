//! Attempts that nobody answers, beside ones that are; and how long a connect takes.

use super::addr::Addr;
use super::{contact, socket};
use crate::json::Object;
use std::time::{Duration, Instant};

/// `net beside SILENT ADDRESS:PORT BLOCKED COUNT`: BLOCKED threads wait for SILENT for ever while COUNT connections are made.
///
/// Prints the errnos and the longest time of one, then waits to be ended.
pub(crate) fn beside(args: &crate::Args) {
    let (silent, addr) = (Addr::parse(args.text(0)), Addr::parse(args.text(1)));
    for _ in 0..args.number(2) {
        std::thread::spawn(move || {
            let fd = socket::open(silent.family(), libc::SOCK_STREAM, 0).unwrap_or(-1);
            socket::connect(fd, &silent);
        });
    }
    wait_until_sent(args.number(2) as usize);
    let mut longest = Duration::ZERO;
    let errnos: Vec<i32> = (0..args.number(3))
        .map(|_| {
            let fd = socket::open(addr.family(), libc::SOCK_STREAM, 0).unwrap_or(-1);
            let begun = Instant::now();
            let errno = socket::connect(fd, &addr);
            longest = longest.max(begun.elapsed());
            let errno = if errno == 0 { socket::echo(fd) } else { errno };
            socket::close(fd);
            errno
        })
        .collect();
    Object::new().raw("errnos", &contact::tally(&errnos)).value("longest_us", longest.as_micros()).print();
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Waits until that many sockets of this network are in SYN_SENT (state 02 in /proc/net/tcp and tcp6), for at most five seconds.
fn wait_until_sent(count: usize) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let table =
            ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default());
        let table = table.concat();
        if table.lines().filter(|line| line.split_whitespace().nth(3) == Some("02")).count() >= count {
            return;
        }
        std::thread::yield_now();
    }
}

/// `net knock ADDRESS:PORT THREADS`: connects again and again from many threads until it is ended; says so once first.
pub(crate) fn knock(args: &crate::Args) {
    let addr = Addr::parse(args.text(0));
    let knock = move || {
        let fd = socket::open(addr.family(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).unwrap_or(-1);
        socket::connect(fd, &addr);
        socket::close(fd);
    };
    knock();
    crate::json::print_line("{\"knocking\":true}");
    let threads: Vec<_> = (0..args.number(1))
        .map(|_| {
            std::thread::spawn(move || {
                loop {
                    knock()
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// `net latency ADDRESS:PORT COUNT`: times of connect() alone in nanoseconds, each on a fresh socket.
pub(crate) fn latency(args: &crate::Args) {
    let addr = Addr::parse(args.text(0));
    let times: Vec<String> = (0..args.number(1))
        .filter_map(|_| {
            let fd = socket::open(addr.family(), libc::SOCK_STREAM, 0).ok()?;
            let begun = Instant::now();
            let errno = socket::connect(fd, &addr);
            let took = begun.elapsed();
            socket::close(fd);
            (errno == 0).then(|| took.as_nanos().to_string())
        })
        .collect();
    Object::new().raw("nanoseconds", &format!("[{}]", times.join(","))).print();
}
