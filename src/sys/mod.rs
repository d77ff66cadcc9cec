//! System calls that `nix` does not wrap, or wraps without ownership.
//!
//! The only room with `unsafe`. Every function takes and returns safe types (`OwnedFd`, `io::Result`) and every block says
//! why it is sound. No policy lives here: which limit, filter or signal to use is decided above.

pub mod caps;
pub mod clock;
pub mod code;
pub mod directory;
pub mod fdpass;
pub mod listener;
pub mod mount;
pub mod network;
pub mod patience;
pub mod poll;
pub mod process;
pub mod random;
pub mod remote;
pub mod seccomp;
pub mod secret;
pub mod socket;
pub mod time;
pub mod tty;
