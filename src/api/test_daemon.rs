//! A daemon for tests of this room: everything real but the zygote, which is dead, so that every execution ends `start_failed`.

use super::drain::{self, DrainTrigger};
use super::readiness::Readiness;
use super::{Api, Parts, Rules, Server, Service, Surface, endpoints, listen};
use crate::cgroup::Layout;
use crate::cgroup::domain::Domain;
use crate::config::AgentTypes;
use crate::exec::{self, Engine, Journal, Pool};
use crate::limits::world::World;
use crate::sample::Sampler;
use crate::supervisor::zygote::Zygote;
use crate::sys::fdpass;
use crate::telemetry::{LogLevel, Logger, Telemetry};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) struct Daemon {
    pub(super) address: SocketAddr,
    pub(super) server: Arc<Server>,
    pub(super) service: Arc<Service>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) readiness: Readiness,
    pub(super) engine: Engine,
    pub(super) drain: DrainTrigger,
}

pub(super) fn start(rules: Rules, max_connections: usize) -> Daemon {
    let telemetry = Arc::new(Telemetry::new(Logger::to_fd(LogLevel::Info, None), ["DEFAULT"], endpoints()));
    let readiness = Readiness::default();
    let sampler = Sampler::new(Path::new("/"), &Layout::detect(Path::new("/")).unwrap());
    let engine = engine(telemetry.clone());
    let parts = Parts {
        rules,
        init_mode: "none",
        telemetry: telemetry.clone(),
        readiness: readiness.clone(),
        sampler,
        engine: engine.clone(),
    };
    let api = Api::new(parts);
    let (trigger, watcher) = drain::pair();
    let service = Arc::new(Service::new(api));
    let server = Server::new(service.clone(), telemetry.clone(), watcher, max_connections);
    let listener = listen::bind_to("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server.clone().serve(listener, Surface::Api));
    Daemon { address, server, service, telemetry, readiness, engine, drain: trigger }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs") });
}

impl Daemon {
    pub(super) async fn open(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends raw bytes and reads until the server closes.
    pub(super) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.open().await;
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
        let answer =
            self.raw(format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n").as_bytes()).await;
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    pub(super) async fn status(&self, method: &str, path: &str, headers: &str) -> u16 {
        self.ask(method, path, headers).await.0
    }
}

fn engine(telemetry: Arc<Telemetry>) -> Engine {
    let (socket, _gone) = fdpass::packet_pair().unwrap();
    Engine::new(exec::Parts {
        types: AgentTypes::builtin().unwrap(),
        default_type: "DEFAULT".into(),
        max_executions: 10,
        work_root: std::env::temp_dir(),
        user: None,
        world: World {
            subreaper: true,
            memory: None,
            pids: None,
            cpu_time: None,
            cpu_rate: None,
            kill: None,
            private_mounts: false,
            private_proc: false,
            can_change_uid: false,
            seccomp: false,
            seccomp_notify: false,
            oom_takes_all: false,
            tracing: false,
            tracing_others: false,
            container_cpu_counter: false,
            root: false,
        },
        domain: Domain::default(),
        pool: Pool::new(Zygote { socket, pid: 1 }),
        journal: Journal::in_memory(),
        telemetry,
        base_env: Vec::new(),
        surroundings: exec::Surroundings::default(),
    })
}
