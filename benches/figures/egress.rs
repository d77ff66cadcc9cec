//! What the egress proxy costs: a large download and a small request, each against a direct connection in the same run.

use crate::support::network::{self, Network};
use crate::support::{Daemon, Start};
use crate::table::Table;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};

const PORT: u16 = 8081;
const URL: &str = "http://public.test:8081";
const GIBIBYTE: usize = 1 << 30;

/// Answers on kept connections: `/gibibyte` at length, everything else with two bytes.
fn serve(network: &Network) {
    let started = network.beside(|| {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).expect("a port of the peer");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || answer(client));
            }
        });
    });
    started.expect("a peer of our own");
}

/// Until the client has had enough.
fn answer(mut client: TcpStream) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let zeros = vec![0; 1 << 20];
    let mut requests = BufReader::new(client.try_clone().ok()?).lines();
    loop {
        let first = requests.next()?.ok()?;
        while !requests.next()?.ok()?.is_empty() {}
        let long = first.contains("/gibibyte");
        let length = if long { GIBIBYTE } else { 2 };
        client.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).ok()?;
        let piece = length.min(zeros.len());
        for _ in 0..length / piece {
            client.write_all(&zeros[..piece]).ok()?;
        }
    }
}

fn daemon(network: &Network) -> Daemon {
    let file = network.scratch.path().join("egress.toml");
    let text = "[agent_types.CLIENT]\nextends = \"IMPLEMENTATION\"\nnetwork_requests = 1000000\ncpu_time_ms = \"1h\"\n";
    std::fs::write(&file, text).expect("configuration");
    Daemon::own(&["--config", &file.display().to_string()])
}

/// How a request gets out.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Directly,
    Proxy,
    /// CONNECT, as for TLS
    Tunnel,
}

/// Runs curl; the numbers that it wrote, one a transfer.
fn curl(daemon: &Daemon, by: By, flags: &str, path: &str) -> Vec<f64> {
    let tunnel = if by == By::Tunnel { "--proxytunnel" } else { "" };
    let start =
        Start::shell(&format!("curl -sS -o /dev/null {tunnel} {flags} '{URL}{path}'")).set("agent_type", "CLIENT");
    let start = if by == By::Directly { start } else { start.set("allowed_domains", ["public.test"].as_slice()) };
    let end = daemon.run(&start);
    end.must_end("completed", "exit");
    let said = String::from_utf8_lossy(&daemon.output(end.id(), "stdout")).into_owned();
    said.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{said}"))).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn throughput(table: &mut Table) {
    network::inside(|network| {
        serve(network);
        let daemon = daemon(network);
        let speed = |by| curl(&daemon, by, "-w '%{speed_download}\\n'", "/gibibyte")[0];
        let rounds: Vec<[f64; 3]> = (0..5).map(|_| [By::Directly, By::Proxy, By::Tunnel].map(speed)).collect();
        let [direct, proxied, tunnelled] = [0, 1, 2].map(|by| median(rounds.iter().map(|round| round[by]).collect()));
        let base = direct / 1e9;
        table.at_least(
            &format!("1 GiB through the proxy against directly ({base:.2} GB/s)"),
            proxied / direct,
            0.5,
            "×",
        );
        table.at_least("the same through a tunnel", tunnelled / direct, 0.5, "×");
    });
}

pub fn small_requests(table: &mut Table) {
    network::inside(|network| {
        serve(network);
        let daemon = daemon(network);
        // One curl, one kept connection; what it took to open is in the first.
        let times = |by| median(curl(&daemon, by, "-w '%{time_total}\\n'", "/small?[1-400]").split_off(1)) * 1e6;
        let rounds: Vec<[f64; 2]> = (0..7).map(|_| [By::Directly, By::Proxy].map(times)).collect();
        let added = median(rounds.iter().map(|[direct, proxied]| proxied - direct).collect());
        let direct = median(rounds.iter().map(|[direct, _]| *direct).collect());
        table.at_most(&format!("small request through the proxy, added to {direct:.0} µs"), added, 200.0, "µs");
    });
}
