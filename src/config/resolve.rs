//! The second layer: reads what settings name, and finds a place for records. The only part of this room that touches
//! the disk.

use super::file::MAX_FILE_BYTES;
use super::settings::{Settings, TokenSource};
use super::values::{MAX_TOKEN_BYTES, Token};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Usual place of records when it is writable.
pub const SYSTEM_STATE_DIR: &str = "/var/lib/execd";

/// Why settings could not be resolved.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The token file cannot be read.
    #[error("cannot read access token file {path}: {source}")]
    TokenUnreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The token file holds no token.
    #[error("access token file {path} {message}")]
    TokenInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content, without the content.
        message: String,
    },
    /// The state directory that was asked for cannot be used.
    #[error("cannot use state directory {path}: {source}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Where records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDir {
    /// In this folder, mode 0700, owned by the daemon.
    Folder(PathBuf),
    /// Nowhere: a restart forgets them.
    Memory {
        /// Which places were tried and what was wrong with each.
        why: String,
    },
}

/// Reads a text file, at most one byte more than [`MAX_FILE_BYTES`], which the parser then refuses.
///
/// # Errors
/// The kernel's answer, or `InvalidData` when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

/// The token itself, out of whatever place the settings name.
///
/// # Errors
/// [`ResolveError`] when its file cannot be read or holds no token: the daemon must not start open by accident.
pub fn token(source: &TokenSource) -> Result<Option<Token>, ResolveError> {
    let path = match source {
        TokenSource::None => return Ok(None),
        TokenSource::Given(token) => return Ok(Some(token.clone())),
        TokenSource::File(path) => path,
    };
    let mut text = String::new();
    // Room for white space around the longest token.
    let limit = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX).saturating_add(64);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|source| ResolveError::TokenUnreadable { path: path.clone(), source })?;
    Token::new(&text).map(Some).map_err(|message| ResolveError::TokenInvalid { path: path.clone(), message })
}

/// The state directory: the one that was asked for, else the first usual place that can be written, else memory.
///
/// # Errors
/// Only when a directory was asked for and cannot be used.
pub fn state_dir(settings: &Settings, xdg_state_home: Option<&Path>) -> Result<StateDir, ResolveError> {
    if let Some(path) = &settings.state_dir {
        let failed = |source| ResolveError::StateDir { path: path.clone(), source };
        return prepare(path).map_err(failed).map(|()| StateDir::Folder(path.clone()));
    }
    let mut why = Vec::new();
    for place in usual_places(xdg_state_home) {
        match prepare(&place) {
            Ok(()) => return Ok(StateDir::Folder(place)),
            Err(error) => why.push(format!("{}: {error}", place.display())),
        }
    }
    Ok(StateDir::Memory { why: why.join("; ") })
}

/// The places that are tried, in order.
pub fn usual_places(xdg_state_home: Option<&Path>) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(SYSTEM_STATE_DIR)];
    // The XDG specification says that a relative path there must be ignored.
    places.extend(xdg_state_home.filter(|home| home.is_absolute()).map(|home| home.join("execd")));
    places
}

/// Makes the folder ours: there, a real folder, owned by us, closed to others, and writable.
fn prepare(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let status = fs::metadata(path)?;
    let me = nix::unistd::geteuid().as_raw();
    if status.uid() != me {
        let message = format!("is owned by uid {}, not by the daemon's uid {me}", status.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if status.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    let probe = path.join(".probe");
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe)?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load;
    use crate::config::{layers, options};

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("execd-resolve-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("scratch folder");
        path
    }

    fn settings(flags: &[(&'static str, &str)]) -> Settings {
        let flags = flags.iter().map(|(name, text)| (options::find(name).expect(name), (*text).to_owned()));
        let absent = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        load(&layers::flags(flags), &[], &absent).expect("settings").settings
    }

    #[test]
    fn a_token_file_loses_its_newline_and_must_hold_a_token() {
        let folder = scratch("token");
        let path = folder.join("t");
        fs::write(&path, "abc\n").expect("write");
        let source = TokenSource::File(path.clone());
        assert!(matches!(token(&source), Ok(Some(token)) if token.expose() == "abc"));
        fs::write(&path, "\n").expect("write");
        assert!(matches!(token(&source), Err(ResolveError::TokenInvalid { .. })));
        fs::write(&path, "x".repeat(1 << 20)).expect("write");
        assert!(matches!(token(&source), Err(ResolveError::TokenInvalid { .. })));
        let missing = TokenSource::File(folder.join("missing"));
        assert!(matches!(token(&missing), Err(ResolveError::TokenUnreadable { .. })));
    }

    #[test]
    fn a_state_dir_that_was_asked_for_is_made_closed_or_refused() {
        let folder = scratch("state");
        let wanted = folder.join("a/b");
        let found = state_dir(&settings(&[("state-dir", &wanted.to_string_lossy())]), None).expect("usable");
        assert_eq!(found, StateDir::Folder(wanted.clone()));
        assert_eq!(fs::metadata(&wanted).expect("there").mode() & 0o777, 0o700);
        let file = folder.join("file");
        fs::write(&file, "").expect("write");
        let refused = state_dir(&settings(&[("state-dir", &file.to_string_lossy())]), None);
        assert!(matches!(refused, Err(ResolveError::StateDir { .. })));
    }

    #[test]
    fn usual_places_follow_the_xdg_rule() {
        assert_eq!(usual_places(None).len(), 1);
        assert_eq!(usual_places(Some(Path::new("relative"))).len(), 1);
        assert_eq!(usual_places(Some(Path::new("/s"))).last(), Some(&PathBuf::from("/s/execd")));
    }
}
