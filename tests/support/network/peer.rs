//! The other end: one thread in a namespace of its own that echoes, answers HTTP and DNS, and counts.

use super::sniff::Sniffer;
use super::{RESOLVER, dns, link};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Where a row asks for the counts; its traffic is not counted.
pub const CONTROL: &str = "192.0.2.1:9";
const ECHO_PORT: u16 = 7;
const HTTP_PORT: u16 = 80;
/// A port 53 that is no resolver of the box is any other port.
const DNS_PORT: u16 = 53;

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this is dropped.
pub struct Peer {
    jobs: Option<Sender<(Job, Sender<()>)>>,
    /// The thread whose namespace it is.
    tid: i32,
    /// Closing it wakes the loop.
    _stop: std::io::PipeWriter,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Starts it with nothing but a loopback; `link::wire` gives it a wire, and only then it serves.
    pub fn start() -> Peer {
        let (jobs, queue) = channel();
        let (started, tid) = channel();
        let (stopped, stop) = std::io::pipe().expect("pipe");
        let thread = std::thread::spawn(move || {
            link::new_namespace();
            started.send(nix::unistd::gettid().as_raw()).expect("whoever started us");
            wait_for_the_wire(&queue, &stopped);
        });
        let tid = tid.recv().expect("the peer's namespace");
        Peer { jobs: Some(jobs), tid, _stop: stop, thread: Some(thread) }
    }

    /// Runs `job` in the peer's namespace, beside the server: more servers start there.
    pub fn beside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let namespace =
            std::fs::File::open(format!("/proc/self/task/{}/ns/net", self.tid)).expect("the peer's namespace");
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("the peer's namespace");
                job()
            });
            there.join().expect("a job beside the peer")
        })
    }

    /// Runs `job` in the peer's namespace, then starts serving; returns when it serves.
    pub fn wired(&self, job: impl FnOnce() + Send + 'static) {
        let (done, served) = channel();
        self.jobs.as_ref().expect("not dropped").send((Box::new(job), done)).expect("the peer's thread");
        served.recv().expect("the peer serves");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.jobs = None;
        let (_, unused) = std::io::pipe().expect("pipe");
        drop(std::mem::replace(&mut self._stop, unused));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn wait_for_the_wire(queue: &Receiver<(Job, Sender<()>)>, stop: &std::io::PipeReader) {
    let Ok((job, done)) = queue.recv() else { return };
    job();
    let mut server = Server::open();
    done.send(()).expect("whoever wired us");
    server.run(stop.as_fd());
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Echo,
    Http,
}

struct Connection {
    stream: TcpStream,
    kind: Kind,
    /// The part of a request that has arrived.
    head: Vec<u8>,
}

struct Server {
    sniffer: Sniffer,
    control: TcpListener,
    listeners: Vec<(TcpListener, Kind)>,
    datagrams: Vec<(UdpSocket, u16)>,
    connections: Vec<Connection>,
}

impl Server {
    fn open() -> Server {
        let resolver = SocketAddr::new(RESOLVER.parse().expect("constant"), DNS_PORT);
        let control: SocketAddr = CONTROL.parse().expect("constant");
        let sniffer = Sniffer::open(control, resolver);
        // Dual-stack, on every address that leads here.
        let listen = |port, kind| (TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a port of ours"), kind);
        let control = TcpListener::bind(control).expect("a port of ours");
        // Datagrams are answered from the address they were sent to, so each address needs its own socket.
        let datagram = |addr: SocketAddr| (UdpSocket::bind(addr).expect("a port of ours"), addr.port());
        let echoes = [super::ECHO, super::ECHO_V6].map(|addr| datagram(addr.parse().expect("constant")));
        let server = Server {
            sniffer,
            control,
            listeners: vec![listen(ECHO_PORT, Kind::Echo), listen(DNS_PORT, Kind::Echo), listen(HTTP_PORT, Kind::Http)],
            datagrams: echoes.into_iter().chain([datagram(resolver)]).collect(),
            connections: Vec::new(),
        };
        for (listener, _) in &server.listeners {
            nix::sys::socket::listen(listener, nix::sys::socket::Backlog::MAXALLOWABLE).expect("a longer queue");
            listener.set_nonblocking(true).expect("a socket");
        }
        server.datagrams.iter().for_each(|(socket, _)| socket.set_nonblocking(true).expect("a socket"));
        server
    }

    fn run(&mut self, stop: BorrowedFd<'_>) {
        loop {
            let ready = self.wait(stop);
            if ready[0] {
                return;
            }
            self.sniffer.drain();
            if ready[1] {
                self.answer_control();
            }
            self.accept();
            self.datagrams.iter().for_each(answer_datagrams);
            self.connections.retain_mut(serve);
        }
    }

    /// Blocks until something is to be done; whether that is the end, and whether it is a question for the counts.
    fn wait(&self, stop: BorrowedFd<'_>) -> [bool; 2] {
        let fixed = [stop, self.control.as_fd(), self.sniffer.as_fd()];
        let listeners = self.listeners.iter().map(|(listener, _)| listener.as_fd());
        let datagrams = self.datagrams.iter().map(|(socket, _)| socket.as_fd());
        let connections = self.connections.iter().map(|connection| connection.stream.as_fd());
        let all = fixed.into_iter().chain(listeners).chain(datagrams).chain(connections);
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::NONE).expect("poll");
        [0, 1].map(|index| fds[index].any().unwrap_or(false))
    }

    fn answer_control(&mut self) {
        let Ok((mut stream, _)) = self.control.accept() else { return };
        let mut word = [0u8; 16];
        let length = stream.read(&mut word).unwrap_or(0);
        // What was sent before the question has arrived before it.
        self.sniffer.drain();
        if word[..length].starts_with(b"reset") {
            self.sniffer.reset();
        }
        let _ = writeln!(stream, "{}", self.sniffer.counts());
    }

    fn accept(&mut self) {
        for (listener, kind) in &self.listeners {
            while let Ok((stream, _)) = listener.accept() {
                let _ = stream.set_nonblocking(true);
                self.connections.push(Connection { stream, kind: *kind, head: Vec::new() });
            }
        }
    }
}

fn answer_datagrams((socket, port): &(UdpSocket, u16)) {
    let mut bytes = [0u8; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let query = &bytes[..length];
        let answer = if *port == DNS_PORT { dns::answer(query) } else { Some(query.to_vec()) };
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Serves what has arrived; `false` when the connection is over.
fn serve(connection: &mut Connection) -> bool {
    let mut bytes = [0u8; 4096];
    loop {
        match connection.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(length) if connection.kind == Kind::Echo => {
                // Small enough for any buffer; a peer that does not read its echo loses it.
                let _ = connection.stream.write(&bytes[..length]);
            }
            Ok(length) => {
                connection.head.extend(&bytes[..length]);
                if connection.head.len() > 65_536 || !answer_requests(connection) {
                    return false;
                }
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Answers one complete request head and closes; bodies are not expected. `false` when it is answered. `/echo` gets its own head back.
fn answer_requests(connection: &mut Connection) -> bool {
    let Some(end) = connection.head.windows(4).position(|four| four == b"\r\n\r\n") else { return true };
    let request = String::from_utf8_lossy(&connection.head[..end]).into_owned();
    let body = if request.starts_with("GET /echo") { &request } else { "hello from the peer\n" };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let _ = connection.stream.write(answer.as_bytes());
    false
}
