//! Real clients as Debian installs them: they simply work under the gate, and are cut at exactly the limit.

use super::{Outcome, run};
use crate::support::network::{self, Network, certificates};
use crate::support::{Daemon, Start, World, world};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are.
fn source(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name).display().to_string()
}

/// A box with a web server, with and without TLS, and a daemon that has room for a Java machine.
struct Site<'a> {
    network: &'a Network,
    daemon: Daemon,
    authority: String,
    _server: Option<network::Server>,
}

/// Runs `row` where this machine's own programs can be run; they are not in the other worlds.
fn on_a_site(tools: &[&str], row: impl FnOnce(&Site) + Send) {
    if World::current() != World::Here || !world::needs_tools(&[&["node", "openssl"], tools].concat()) {
        return;
    }
    network::inside(|network| {
        let made = certificates::make(network.scratch.path());
        let mut server = Command::new(world::which("node").expect("checked"));
        let server = network.serve(server.arg(source("server.mjs")).args([&made.chain, &made.key]));
        let config = network.scratch.path().join("clients.toml");
        let text = "[agent_types.CLIENT]\nextends = \"IMPLEMENTATION\"\nnetwork_requests = 100\n";
        std::fs::write(&config, text).unwrap();
        let daemon = Daemon::own(&["--config", &config.display().to_string()]);
        let authority = made.authority.display().to_string();
        row(&Site { network, daemon, authority, _server: server });
    });
}

impl Site<'_> {
    fn start(&self, command: &[&str]) -> Start {
        let start = Start::command("CLIENT", command).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/tmp");
        ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"]
            .iter()
            .fold(start, |start, key| start.env(key, &self.authority))
    }

    fn run(&self, command: &[&str], limit: u64) -> Outcome {
        run(self.network, &self.daemon, &self.start(command).limit("network_requests", limit))
    }

    /// Five requests with room for them, then six with room for four. `command` makes the command of a URL and a count.
    ///
    /// The name has one address, so that a request is one connection and nothing is looked around for.
    fn must_work_and_be_cut(&self, url: &str, command: impl Fn(&str, &str) -> Vec<String>) {
        let words = |count: &str| command(url, count);
        let refs = |words: &[String]| -> Outcome {
            let limit = if words.contains(&"6".to_owned()) { 4 } else { 50 };
            self.run(&words.iter().map(String::as_str).collect::<Vec<_>>(), limit)
        };
        let free = refs(&words("5"));
        assert_eq!((&free.said["ok"], &free.said["failed"]), (&5.into(), &0.into()), "{url}: {}", free.said);
        assert_eq!(free.seen.tcp, 5, "{:?}", free.seen);
        assert_eq!((free.requests(), free.denied()), (Some(5), Some(0)), "{url}: {:?}", free.seen);
        let cut = refs(&words("6"));
        assert_eq!((&cut.said["ok"], &cut.said["failed"]), (&4.into(), &2.into()), "{url}: {}", cut.said);
        assert_eq!(cut.seen.total(), 4, "{url}: {:?}", cut.seen);
        // A client may try again.
        assert!(cut.requests() == Some(4) && cut.denied() >= Some(2), "{url}: {:#}", cut.end.object);
        println!("{url}: cut with {}", cut.said["last"]);
    }
}

const URLS: [&str; 4] = ["http://one.test/", "https://one.test/", "http://203.0.113.1/", "http://[2001:db8:1::1]/"];

#[test]
fn curl_is_cut_at_the_limit() {
    on_a_site(&["curl"], |site| {
        let curl = source("curl.sh");
        let command = |flags: &'static [&'static str]| {
            let curl = curl.clone();
            move |url: &str, count: &str| {
                let words = ["sh", &curl, url, count];
                words.iter().chain(flags).map(|word| (*word).to_owned()).collect()
            }
        };
        for url in URLS {
            site.must_work_and_be_cut(url, command(&[]));
        }
        site.must_work_and_be_cut("https://one.test/", command(&["--http2"]));
        site.must_work_and_be_cut("https://one.test/", command(&["--http1.1"]));
        site.must_work_and_be_cut("http://one.test/", command(&["--tcp-fastopen"]));
        let second = site.run(&["sh", &curl, "https://one.test/", "1", "--http2"], 10);
        assert_eq!(second.said["last"], "2", "HTTP/2 was spoken");
    });
}

/// Two families, of which one is silent: whoever tries both gets there soon.
#[test]
fn happy_eyeballs_get_there_by_the_other_family() {
    on_a_site(&["curl"], |site| {
        let (curl, python, node) = (source("curl.sh"), source("client.py"), source("client.mjs"));
        let url = "http://silent-six.test/";
        let commands: [&[&str]; 3] = [
            &["sh", &curl, url, "3", "--happy-eyeballs-timeout-ms", "100"],
            &["/usr/bin/python3", &python, "asyncio", url, "3"],
            &["node", &node, "http", url, "3"],
        ];
        for command in commands {
            let outcome = site.run(command, 50);
            assert_eq!(outcome.said["ok"], 3, "{command:?}: {}", outcome.said);
            assert!(outcome.end.usage("wall_ms").unwrap() < 10_000, "{command:?}: {:#}", outcome.end.object);
            // Attempts cost one each; what an address selection probed before is paid.
            let (requests, tcp) = (outcome.requests().unwrap(), outcome.seen.tcp);
            println!("{command:?}: {requests} requests, {tcp} attempts");
            assert!((3..=6).contains(&tcp) && (2..=12).contains(&requests), "{command:?}: {requests} {tcp}");
        }
    });
}

#[test]
fn python_is_cut_at_the_limit() {
    on_a_site(&["python3"], |site| {
        for kind in ["urllib", "requests", "httpx", "asyncio"] {
            for url in &URLS[..3] {
                site.must_work_and_be_cut(url, |url, count| {
                    ["/usr/bin/python3", &source("client.py"), kind, url, count].map(str::to_owned).to_vec()
                });
            }
        }
    });
}

#[test]
fn node_is_cut_at_the_limit() {
    on_a_site(&["node"], |site| {
        for kind in ["fetch", "http"] {
            for url in &URLS[..3] {
                site.must_work_and_be_cut(url, |url, count| {
                    ["node", &source("client.mjs"), kind, url, count].map(str::to_owned).to_vec()
                });
            }
        }
    });
}

#[test]
fn go_is_cut_at_the_limit() {
    on_a_site(&["go"], |site| {
        for cgo in ["0", "1"] {
            let program = go_client(site.network.scratch.path(), cgo).display().to_string();
            for url in &URLS[..3] {
                site.must_work_and_be_cut(url, |url, count| [&program, url, count].map(str::to_owned).to_vec());
            }
        }
    });
}

/// `client.go`, static (its own resolver) or with libc's.
pub(super) fn go_client(folder: &Path, cgo: &str) -> PathBuf {
    let program = folder.join(format!("go-client-{cgo}"));
    let mut build = Command::new(world::which("go").expect("checked"));
    build.args(["build", "-o"]).arg(&program).arg(source("client.go"));
    // Kept between runs: the standard library is compiled once.
    build.env("GOCACHE", world::cache().join("go")).env("CGO_ENABLED", cgo).env("GO111MODULE", "off");
    let built = build.output().expect("go");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[test]
fn java_is_cut_at_the_limit() {
    on_a_site(&["java", "javac"], |site| {
        let folder = site.network.scratch.path().display().to_string();
        let built = Command::new("javac").args(["-d", &folder, &source("Client.java")]).output().expect("javac");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        for kind in ["url", "http"] {
            for url in &URLS[..3] {
                site.must_work_and_be_cut(url, |url, count| {
                    ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &folder, "Client", kind, url, count]
                        .map(str::to_owned)
                        .to_vec()
                });
            }
        }
    });
}

#[test]
fn static_c_is_cut_at_the_limit() {
    on_a_site(&["cc"], |site| {
        for (name, flags) in [("glibc", &["-O1"][..]), ("static", &["-O1", "-static"][..])] {
            let program = c_client(site.network.scratch.path(), name, flags).display().to_string();
            for host in ["one.test", "203.0.113.1"] {
                site.must_work_and_be_cut(host, |host, count| {
                    [&program, host, "80", count].map(str::to_owned).to_vec()
                });
            }
        }
    });
}

/// `client.c`, linked as the flags say.
pub(super) fn c_client(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = folder.join(format!("c-client-{name}"));
    let built = Command::new("cc").args(flags).arg("-w").arg(source("client.c")).arg("-o").arg(&program).output();
    let built = built.expect("cc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}
