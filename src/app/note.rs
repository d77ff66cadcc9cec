//! `daemon.json` in the state directory: where this daemon listens, for `execd health` and friends.

use crate::cli::NOTE;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the note. A full disk only means that clients look further.
pub(super) fn write(dir: &Path, listen: SocketAddr, metrics: Option<SocketAddr>) {
    let note = serde_json::json!({ "pid": std::process::id(), "listen": listen, "metrics": metrics });
    let path = dir.join(NOTE);
    let beside = dir.join(format!("{NOTE}.tmp"));
    let attempt = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = attempt.and_then(|mut file| file.write_all(note.to_string().as_bytes()));
    if written.and_then(|()| fs::rename(&beside, &path)).is_err() {
        let _ = fs::remove_file(&beside);
    }
}

/// Removes it at the end.
pub(super) fn remove(dir: &Path) {
    let _ = fs::remove_file(dir.join(NOTE));
}
