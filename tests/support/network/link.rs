//! Namespaces and the wire between them. Only `ip` and this process's own threads are used; nothing gets a name.

use super::peer::Peer;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The peer's end of the wire, and what it owns beyond its own address.
const PEER: &str = "link set lo up
link set eth0 up
addr add 192.0.2.1/24 dev eth0
addr add 2001:db8::1/64 dev eth0 nodad
route add local 203.0.113.0/24 dev lo
route add local 2001:db8:1::/64 dev lo
addr add 2001:db8:1::1/128 dev lo nodad
route add local 45.67.89.0/24 dev lo
route add local 2a12:3456:789a::/64 dev lo
";

/// The box's end. The last two routes lead to a peer that does not own them and does not forward: silence.
const BOX: &str = "link set lo up
link set eth0 up
addr add 192.0.2.2/24 dev eth0
addr add 2001:db8::2/64 dev eth0 nodad
route add 203.0.113.0/24 via 192.0.2.1
route add 2001:db8:1::/64 via 2001:db8::1
route add 45.67.89.0/24 via 192.0.2.1
route add 2a12:3456:789a::/64 via 2001:db8::1
route add 198.51.100.0/24 via 192.0.2.1
route add 2001:db8:dead::/64 via 2001:db8::1
";

/// The box's hardware address and the peer's, so that neighbours need not be asked for.
const BOX_MAC: &str = "02:00:00:00:00:02";
const PEER_MAC: &str = "02:00:00:00:00:01";

/// A fresh network namespace for this thread, with the settings that both ends need before there is a device.
pub fn new_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    settle();
}

/// Namespaces inherit what the machine does; here nothing is forwarded, IPv6 is on and an address is usable at once.
fn settle() {
    for (setting, value) in [
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
        ("ipv4/tcp_fastopen", "3"),
        ("ipv4/ping_group_range", "0 2147483647"),
        // A row opens thousands of connections; ones that are over must not use up the ports.
        ("ipv4/tcp_tw_reuse", "1"),
        ("ipv4/tcp_syncookies", "0"),
        ("core/somaxconn", "65535"),
        ("ipv4/tcp_max_syn_backlog", "65535"),
        // Refused ports answer all of a burst.
        ("ipv4/icmp_ratelimit", "0"),
    ] {
        // What a kernel does not have cannot disturb.
        let _ = std::fs::write(format!("/proc/sys/net/{setting}"), value);
    }
}

/// Makes this thread, and all that it will start, live in a box wired to `peer`, with the peer as the only resolver.
pub fn enter_box(peer: &Peer, folder: &Path) {
    // The mount namespace goes with it: /etc/resolv.conf is the box's own.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>).expect("a private view");
    let resolv = folder.join("resolv.conf");
    std::fs::write(&resolv, resolv_conf()).expect("resolv.conf");
    let target = std::fs::canonicalize("/etc/resolv.conf").expect("/etc/resolv.conf");
    mount(Some(&resolv), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a resolv.conf of our own");
    settle();
    wire(peer, &nix::unistd::gettid().to_string());
    configure_box();
}

/// What the box resolves with.
pub fn resolv_conf() -> String {
    format!("nameserver {}\noptions timeout:1 attempts:2\n", super::RESOLVER)
}

/// Gives the network namespace of process (or thread) `pid` a device whose other end is the peer's, and brings up the peer's.
pub fn wire(peer: &Peer, pid: &str) {
    let pair = format!(
        "link add eth0 address {PEER_MAC} type veth peer name eth0 address {BOX_MAC} netns {pid}\n{PEER}\
         neigh replace 192.0.2.2 lladdr {BOX_MAC} dev eth0 nud permanent\n\
         neigh replace 2001:db8::2 lladdr {BOX_MAC} dev eth0 nud permanent\n"
    );
    peer.wired(move || ip(&pair));
}

/// Brings up the box's end; called by a thread in its namespace.
pub fn configure_box() {
    ip(&format!(
        "{BOX}neigh replace 192.0.2.1 lladdr {PEER_MAC} dev eth0 nud permanent\n\
         neigh replace 2001:db8::1 lladdr {PEER_MAC} dev eth0 nud permanent\n"
    ));
}

/// Wires the network namespace of a container, which has only a loopback, to `peer`.
pub fn wire_container(peer: &Peer, pid: &str) {
    wire(peer, pid);
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("the container's namespace");
    let inside = std::thread::spawn(move || {
        nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).expect("the container's namespace");
        settle();
        configure_box();
    });
    inside.join().expect("the container's end of the wire");
}

/// Lines for `ip -batch -`, run in this thread's namespace.
fn ip(lines: &str) {
    let program = super::super::world::which("ip").expect("checked");
    // -6 and -4 follow from the addresses; a batch stops at the first line that fails.
    let mut child =
        Command::new(program).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ip");
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("ip");
    let done = child.wait_with_output().expect("ip");
    assert!(done.status.success(), "{}\n{lines}", String::from_utf8_lossy(&done.stderr));
}
