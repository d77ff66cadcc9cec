//! Allowed domains: what the egress proxy lets through, what it counts, and that nothing goes around it.

use crate::support::daemon::Daemon;
use crate::support::execution::{Finished, Start};
use crate::support::network::{self, Network, certificates};
use crate::support::wait_for;
use crate::support::world::{needs_tools, which};
use std::process::Command;
use std::time::Duration;

/// The peer's addresses are for documentation, so no name leads there without an entry like this.
const ALLOWED: [&str; 3] = ["allowed.test", "*.allowed.test", "203.0.113.20/31"];

fn daemon() -> Option<Daemon> {
    if !needs_tools(&["curl", "python3", "openssl"]) {
        return None;
    }
    let daemon = Daemon::own(&[]);
    let (mechanism, strength) = daemon.enforcement("network_requests");
    if strength == "unavailable" {
        crate::support::world::skip(&format!("no network gate here: {mechanism}"));
        return None;
    }
    Some(daemon)
}

fn shell(line: &str, domains: &[&str]) -> Start {
    Start::shell(line).set("allowed_domains", domains)
}

/// Runs a line; its output by words, and how it ended.
fn run(daemon: &Daemon, start: &Start) -> (Vec<String>, Finished) {
    let finished = daemon.run(start);
    let output = String::from_utf8_lossy(&daemon.output(finished.id(), "both")).into_owned();
    (output.split_whitespace().map(str::to_owned).collect(), finished)
}

/// The status of a request by curl, one word per URL; 000 when there was no answer.
fn curl(flags: &str, urls: &[&str]) -> String {
    let each =
        |url: &&str| format!("curl -s -m 20 -o /dev/null -w '%{{http_code}}/%{{http_connect}} ' {flags} '{url}';");
    urls.iter().map(each).collect::<String>() + " true"
}

fn inside(row: impl FnOnce(&Network, &Daemon) + Send) {
    network::inside(|network| {
        if let Some(daemon) = daemon() {
            network.reset();
            row(network, &daemon);
        }
    });
}

#[test]
fn only_listed_domains_are_reached_and_counted() {
    inside(|network, daemon| {
        let urls = [
            "http://allowed.test/",
            "http://WWW.allowed.test./",
            "http://203.0.113.20/",
            "http://denied.test/",
            "http://203.0.113.30/",
            "http://allowed.test:81/",
            "http://one.test/",
        ];
        let (codes, finished) = run(daemon, &shell(&curl("", &urls), &ALLOWED));
        assert_eq!(
            codes,
            ["200/000", "200/000", "200/000", "403/000", "403/000", "502/000", "403/000"],
            "{finished:#?}"
        );
        finished.must_end("completed", "exit");
        assert_eq!((finished.usage("network_requests"), finished.usage("network_denied_domain")), (Some(4), Some(3)));
        assert_eq!(finished.usage("network_denied"), Some(0));
        assert!(
            finished.usage("network_bytes_in") > Some(300) && finished.usage("network_bytes_out") > Some(300),
            "{finished:#?}"
        );
        let last = &finished.object["usage"]["network_destinations"];
        assert_eq!((&last[3]["to"], &last[3]["verdict"]), (&"denied.test:80".into(), &"domain".into()), "{last}");
        let seen = network.seen();
        assert_eq!((seen.tcp, seen.udp, seen.other), (4, 0, 0), "{seen:?}");
        assert!(daemon.log().contains("denied.test:80"), "{}", daemon.log());
        let metrics = daemon.client.get("/metrics/prometheus").text();
        for line in ["verdict=\"allowed\"} 4", "verdict=\"domain\"} 3"] {
            assert!(
                metrics.contains(&format!("execd_network_requests_total{{agent_type=\"VALIDATION\",{line}")),
                "{metrics}"
            );
        }
    });
}

#[test]
fn names_that_lead_where_nobody_may_go_are_refused() {
    inside(|network, daemon| {
        let names = ["loopback", "loopback6", "private", "metadata", "mapped", "unspecified", "one"];
        let mut domains: Vec<String> = names.iter().map(|name| format!("{name}.test")).collect();
        let urls: Vec<String> = domains.iter().map(|name| format!("http://{name}:9/")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let odd = ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://0/"];
        domains.push("*.test".to_owned());
        let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
        // No client may help: these are sent as they are.
        let line = format!("{}; {}", curl("", &urls), raw_requests(&odd));
        let (codes, finished) = run(daemon, &shell(&line, &domains));
        assert_eq!(codes[..7], ["403/000"; 7], "{codes:?} {finished:#?}");
        assert_eq!(codes[7..], ["400", "400", "400", "403", "400"], "{codes:?}");
        assert_eq!(finished.usage("network_requests"), Some(0));
        assert_eq!(network.seen().total(), 0);
        // One good address is enough, and the only one that is used.
        let domains = ["mixed.test", "203.0.113.20"];
        let (codes, finished) = run(daemon, &shell(&curl("", &["http://mixed.test/"]), &domains));
        assert_eq!((codes, finished.usage("network_requests")), (vec!["200/000".to_owned()], Some(1)));
    });
}

/// Plain requests as bytes; prints the status of each.
fn raw_requests(urls: &[&str]) -> String {
    let program = r#"
import os, socket, sys
port = int(os.environ["http_proxy"].rsplit(":", 1)[1])
for url in sys.argv[1:]:
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"GET {url} HTTP/1.1\r\nHost: allowed.test\r\nConnection: close\r\n\r\n".encode())
    print(s.recv(12).decode()[9:])
"#;
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    format!("python3 -c '{program}' {}", urls.join(" "))
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted() {
    inside(|_, daemon| {
        let program = r#"
import os, socket
port = int(os.environ["http_proxy"].rsplit(":", 1)[1])
held = [socket.create_connection(("127.0.0.1", port)) for _ in range(70)]
closed = 0
for s in held:
    s.settimeout(20)
    try:
        # Those that are served get an answer and stay open.
        s.sendall(b"GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n")
        closed += not s.recv(1)
    except ConnectionError:
        closed += 1
print(closed)
"#;
        let (closed, finished) = run(daemon, &shell(&format!("python3 -c '{program}'"), &ALLOWED));
        assert_eq!(closed, ["6"], "{finished:#?}");
        let metrics = daemon.client.get("/metrics/prometheus").text();
        assert!(metrics.contains("execd_dropped_total{what=\"proxy_connections\"} 6"), "{metrics}");
    });
}

#[test]
fn exactly_the_limit_is_let_through_at_once_or_one_by_one() {
    inside(|network, daemon| {
        let each = "curl -s -m 30 -o /dev/null -w '%{http_code} ' http://allowed.test/ &";
        let line = format!("{} wait", each.repeat(12));
        let (mut codes, finished) = run(daemon, &shell(&line, &ALLOWED).limit("network_requests", 5));
        codes.sort();
        assert_eq!(codes, [vec!["200"; 5], vec!["429"; 7]].concat(), "{finished:#?}");
        assert_eq!((finished.usage("network_requests"), finished.usage("network_denied")), (Some(5), Some(7)));
        assert_eq!(network.seen().tcp, 5);
        finished.must_end("completed", "exit");
        let body = "curl -s http://allowed.test/ http://allowed.test/";
        let (words, _) = run(daemon, &shell(body, &ALLOWED).limit("network_requests", 1));
        let text = words.join(" ");
        assert!(text.starts_with("hello from the peer {") && text.contains("\"limit\":1"), "{text}");
        assert!(text.contains("\"used\":1") && text.contains("\"reason\":\"network_limit\""), "{text}");
    });
}

#[test]
fn a_type_that_kills_ends_with_its_reason() {
    network::inside(|network| {
        let config = network.scratch.path().join("kill.toml");
        std::fs::write(
            &config,
            "[agent_types.KILLED]\nextends = 'VALIDATION'\non_network = 'kill'\nnetwork_requests = 2\n\
             allowed_domains = ['allowed.test', '203.0.113.20']\n",
        )
        .unwrap();
        if !needs_tools(&["curl"]) {
            return;
        }
        let daemon = Daemon::own(&["--config", config.to_str().unwrap()]);
        let line = "for n in 1 2 3 4; do curl -s -o /dev/null http://allowed.test/; done; sleep 30";
        let finished = daemon.run(&Start::shell(line).set("agent_type", "KILLED"));
        finished.must_breach("network_requests", "network_limit");
        let breach = &finished.object["breach"];
        assert_eq!(
            (&breach["allowed"], &breach["used"], &breach["mechanism"]),
            (&2.into(), &3.into(), &"proxy".into())
        );
        assert_eq!((finished.usage("network_requests"), network.seen().tcp), (Some(2), 2));
    });
}

#[test]
fn nothing_goes_around_the_proxy() {
    inside(|network, daemon| {
        let direct = [
            "curl -s -m 5 -o /dev/null --noproxy '*' http://203.0.113.20/",
            "curl -s -m 5 -o /dev/null --noproxy '*' http://allowed.test/",
            "curl -s -m 5 -o /dev/null --noproxy '*' 'http://[2001:db8:1::1]/'",
            "python3 -c 'import socket; socket.create_connection((\"203.0.113.20\", 80), 5)' 2>/dev/null",
            "python3 -c 'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b\"x\", (\"203.0.113.20\", 7))' 2>/dev/null",
        ];
        let line: String = direct.iter().map(|each| format!("{each} && echo through || echo refused; ")).collect();
        let (words, finished) = run(daemon, &shell(&line, &ALLOWED));
        assert_eq!(words, ["refused"; 5], "{finished:#?}");
        assert_eq!(network.seen().total(), 0);
        assert_eq!(finished.usage("network_requests"), Some(0));
        assert!(finished.usage("network_denied_domain") >= Some(5), "{finished:#?}");
    });
}

#[test]
fn the_proxy_of_another_execution_is_no_way_out() {
    inside(|network, daemon| {
        let owner = daemon.start(&shell("echo $http_proxy; sleep 30", &ALLOWED));
        let url = wait_for(Duration::from_secs(5), || {
            let said = String::from_utf8_lossy(&daemon.output(&owner, "stdout")).trim().to_owned();
            (!said.is_empty()).then_some(said)
        });
        let url = url.expect("the owner says where its proxy is");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let line = curl(&format!("-x {url}"), &["http://allowed.test/"]);
        for (borrower, gated) in [(Start::shell(&line), true), (shell(&line, &[]), true), (Start::shell(&line), false)]
        {
            let borrower = if gated { borrower } else { borrower.set("agent_type", "DEFAULT") };
            let (codes, finished) = run(daemon, &borrower);
            assert_eq!(codes, ["000/000"], "{gated} {finished:#?}");
        }
        assert_eq!(network.seen().total(), 0);
        assert_eq!(daemon.get(&owner)["usage"]["network_requests"], 0);
        daemon.cancel(&owner);
    });
}

#[test]
fn tls_goes_through_and_must_name_what_is_allowed() {
    inside(|network, daemon| {
        let files = certificates::make(network.scratch.path());
        let path = |path: &std::path::Path| path.display().to_string();
        let mut server = Command::new(which("openssl").unwrap());
        server.args([
            "s_server",
            "-accept",
            "203.0.113.20:443",
            "-www",
            "-cert",
            &path(&files.chain),
            "-key",
            &path(&files.key),
        ]);
        let Some(_server) = network.serve(&mut server) else { return };
        network.reset();
        let ca = path(&files.authority);
        let good = curl(&format!("--cacert {ca}"), &["https://allowed.test/", "https://denied.test/"]);
        // The same connection with another name inside.
        let hidden = format!(
            "for name in allowed.test denied.test; do openssl s_client -proxy ${{https_proxy#http://}} -connect allowed.test:443 \
             -servername $name -CAfile {ca} </dev/null 2>/dev/null | grep -c 'BEGIN CERT'; done; true"
        );
        let (words, finished) = run(daemon, &shell(&format!("{good}; {hidden}"), &ALLOWED));
        assert_eq!(words, ["200/200", "000/403", "1", "0"], "{finished:#?}");
        assert_eq!((finished.usage("network_requests"), finished.usage("network_denied_domain")), (Some(3), Some(2)));
        assert_eq!(network.seen().tcp, 3);
        let python = format!(
            "python3 -c 'import urllib.request as u, ssl; c = ssl.create_default_context(cafile=\"{ca}\"); \
             print(u.urlopen(\"https://allowed.test/\", context=c, timeout=20).status)'"
        );
        let (words, finished) = run(daemon, &shell(&python, &ALLOWED));
        assert_eq!(words, ["200"], "{finished:#?}");
    });
}

#[test]
fn a_request_may_tighten_its_list_and_not_loosen_it() {
    network::inside(|network| {
        let config = network.scratch.path().join("listed.toml");
        std::fs::write(&config, "[agent_types.LISTED]\nextends = 'VALIDATION'\nallowed_domains = ['*.allowed.test']\n")
            .unwrap();
        let daemon = Daemon::own(&["--config", config.to_str().unwrap()]);
        let ask = |domains: &[&str]| {
            let body = shell("true", domains).set("agent_type", "LISTED").json();
            daemon.client.post("/v1/executions?wait=true", &body)
        };
        ask(&["www.allowed.test"]).expect(200);
        ask(&[]).expect(200);
        assert_eq!(ask(&["www.allowed.test", "denied.test"]).expect(403)["asked"], "denied.test");
        assert_eq!(ask(&["127.1"]).expect(422)["field"], "allowed_domains");
        assert_eq!(ask(&["http://a"]).expect(422)["code"], "INVALID_VALUE");
    });
}

#[test]
fn the_daemon_is_no_destination_and_silence_is_no_answer() {
    inside(|network, daemon| {
        let addr = daemon.client.addr();
        let urls: Vec<String> = ["127.0.0.1", "192.0.2.2", "[2001:db8::2]", "loopback.test"]
            .iter()
            .map(|host| format!("http://{host}:{}/v1/executions", addr.port()))
            .collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let domains = ["0.0.0.0/0", "::/0", "*.test"];
        let (codes, finished) = run(daemon, &shell(&format!("unset no_proxy NO_PROXY; {}", curl("", &urls)), &domains));
        assert_eq!(codes, ["403/000"; 4], "{finished:#?}");
        assert_eq!(network.seen().total(), 0);
        // One that hangs costs nobody else anything.
        let line = "curl -s -m 3 -o /dev/null http://silent.test/ & curl -s -o /dev/null -w '%{time_total}' http://allowed.test/; wait";
        let (words, _) = run(daemon, &shell(line, &domains));
        let seconds: f64 = words[0].parse().unwrap();
        assert!(seconds < 1.0, "{seconds}");
    });
}

#[test]
fn who_rewrites_what_names_mean_is_told_no_more_names() {
    inside(|network, daemon| {
        // In the box the file is its own.
        let line = format!(
            "{} echo '# mine' >> /etc/resolv.conf; {}",
            curl("", &["http://allowed.test/"]),
            curl("", &["http://allowed.test/", "http://203.0.113.20/"])
        );
        let (codes, finished) = run(daemon, &shell(&line.replace("true echo", "true; echo"), &ALLOWED));
        assert_eq!(codes, ["200/000", "502/000", "200/000"], "{finished:#?}");
        assert_eq!(network.seen().tcp, 2);
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
        let again = wait_for(Duration::from_secs(5), || {
            let codes = run(daemon, &shell(&curl("", &["http://allowed.test/"]), &ALLOWED)).0;
            (codes == ["200/000"]).then_some(())
        });
        assert!(again.is_some(), "names are not looked up again after SIGHUP");
        assert_eq!(daemon.enforcement("allowed_domains").0, "proxy");
    });
}

#[test]
fn refusals_are_events() {
    inside(|_, daemon| {
        run(daemon, &shell(&curl("", &["http://denied.test/"]), &ALLOWED));
        let mut events = daemon.client.events("/v1/events", Some("0"));
        events.patience(Duration::from_secs(5));
        let refused = events.find(|event| event.name == "refused").expect("an event").json();
        assert_eq!(
            (&refused["refused"]["to"], &refused["refused"]["verdict"]),
            (&"denied.test:80".into(), &"domain".into())
        );
    });
}
