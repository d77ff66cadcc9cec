//! A thousand dashboards.

use crate::support::{Daemon, proc};
use crate::table::Table;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub fn thousand(table: &mut Table) {
    const CLIENTS: usize = 1000;
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 8192, 8192);
    let daemon = Daemon::own(&[]);
    let addr = daemon.client.addr;
    let before = proc::pss(daemon.pid).unwrap_or(0);
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).expect("connect");
            write!(stream, "GET /metrics/watch HTTP/1.1\r\nHost: {addr}\r\n\r\n").expect("request");
            stream.set_nonblocking(true).expect("nonblocking");
            stream
        })
        .collect();
    let mut drain = |seconds: u64| {
        let mut buffer = [0u8; 16 << 10];
        let mut bytes = 0;
        for _ in 0..seconds * 2 {
            std::thread::sleep(Duration::from_millis(500));
            for client in &mut clients {
                bytes += client.read(&mut buffer).unwrap_or(0);
            }
        }
        bytes
    };
    drain(3);
    let cpu = proc::cpu_ms(daemon.pid).unwrap_or(0);
    let bytes = drain(20);
    let spent = proc::cpu_ms(daemon.pid).unwrap_or(0) - cpu;
    let grown = proc::pss(daemon.pid).unwrap_or(0).saturating_sub(before);
    assert!(bytes > CLIENTS * 15 * 50, "the watchers got only {bytes} bytes");
    table.at_most("1,000 SSE watchers at 1/s, CPU of one core", spent as f64 / 20_000.0 * 100.0, 2.0, "%");
    table.at_most("1,000 SSE watchers, memory each", grown as f64 / 1024.0 / CLIENTS as f64, 30.0, "KiB");
}
