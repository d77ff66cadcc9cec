//! A peer for a container: made outside, because nothing inside may make one.

use super::link;
use super::peer::{CONTROL, Peer};
use crate::support::container::Docker;
use crate::support::world::Scratch;

/// A container that only holds a network, wired to a peer; others share it (`network_of`).
pub struct Wired<'a> {
    docker: &'a Docker,
    pub name: String,
    _peer: Peer,
    folder: Scratch,
}

impl Wired<'_> {
    /// Starts it under a name of its own.
    pub fn start<'a>(docker: &'a Docker, name: &str) -> Wired<'a> {
        let name = format!("network-{name}");
        let sleep = ["--entrypoint", "/bin/busybox", "execd-test", "sleep", "100000"];
        let run = [&["run", "--detach", "--rm", "--network", "none", "--name", &name][..], &sleep].concat();
        let ran = docker.docker(&run).output().expect("docker run");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let pid = docker.docker(&["inspect", "--format", "{{.State.Pid}}", &name]).output().expect("docker inspect");
        let peer = Peer::start();
        link::wire_container(&peer, String::from_utf8_lossy(&pid.stdout).trim());
        let folder = Scratch::new("wired");
        std::fs::write(folder.path().join("resolv.conf"), link::resolv_conf()).expect("resolv.conf");
        Wired { docker, name, _peer: peer, folder }
    }

    /// Flags by which a container finds the peer and its resolver.
    pub fn flags(&self) -> Vec<String> {
        let resolv = format!("{}:/etc/resolv.conf:ro", self.folder.path().join("resolv.conf").display());
        vec!["-v".to_owned(), resolv, "-e".to_owned(), format!("EXECD_PEER={CONTROL}")]
    }
}

impl Drop for Wired<'_> {
    fn drop(&mut self) {
        let _ = self.docker.docker(&["rm", "--force", &self.name]).output();
    }
}
