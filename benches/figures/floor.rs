//! The cheapest thing that could possibly answer: an epoll loop that sends a fixed string.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Starts the loop in a thread of its own, which ends with the process; its address and the thread's id. Every read is answered with the
/// same bytes.
pub fn serve(answer: Vec<u8>) -> (SocketAddr, i32) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).expect("the other end waits");
        run(&listener, &answer);
    });
    (addr, told.recv().expect("the thread's id"))
}

fn run(listener: &TcpListener, answer: &[u8]) {
    const LISTENER: u64 = u64::MAX;
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).expect("epoll");
    let mut clients: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = [0u8; 4096];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..ready] {
            if event.data() == LISTENER {
                let (stream, _) = listener.accept().expect("accept");
                let _ = stream.set_nodelay(true);
                let key = u64::try_from(stream.as_raw_fd()).expect("a descriptor");
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key)).expect("epoll");
                clients.insert(key, stream);
                continue;
            }
            let alive = clients.get_mut(&event.data()).is_some_and(|stream| {
                matches!(stream.read(&mut buffer), Ok(n) if n > 0) && stream.write_all(answer).is_ok()
            });
            if !alive {
                clients.remove(&event.data());
            }
        }
    }
}
