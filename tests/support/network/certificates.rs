//! A certificate authority of our own and one server certificate for every name of the table, made by openssl.

use super::dns::TABLE;
use crate::support::world;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the files are.
pub struct Certificates {
    pub authority: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Makes them in `folder`; good for a day.
pub fn make(folder: &Path) -> Certificates {
    let at = |name: &str| folder.join(name);
    let names: Vec<String> = TABLE.iter().map(|(name, _)| format!("DNS:{name}")).collect();
    let san = format!("subjectAltName={},DNS:*.test,IP:203.0.113.1", names.join(","));
    let path = |name: &str| at(name).display().to_string();
    let (ca, ca_key, server, key) = (path("ca.pem"), path("ca.key"), path("server.pem"), path("server.key"));
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"];
    let authority = ["-subj", "/CN=execd test authority", "-keyout", &ca_key, "-out", &ca];
    openssl(&[&new[..], &authority, &["-addext", "keyUsage=critical,keyCertSign"]].concat());
    let leaf = ["-subj", "/CN=one.test", "-keyout", &key, "-out", &server, "-CA", &ca, "-CAkey", &ca_key];
    openssl(&[&new[..], &leaf, &["-addext", &san, "-addext", "basicConstraints=critical,CA:FALSE"]].concat());
    Certificates { authority: ca.into(), chain: server.into(), key: key.into() }
}

fn openssl(arguments: &[&str]) {
    let program = world::which("openssl").expect("checked by the row");
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("openssl");
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
