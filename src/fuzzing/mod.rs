//! What the fuzz targets in `fuzz/` see of rooms that are private: thin functions over readers of bytes that others wrote, and nothing else.
//!
//! The files of this folder are children of the rooms whose names they have, because only a child sees what its room keeps to itself. They
//! exist only in builds for fuzzing, where cargo-fuzz sets `cfg(fuzzing)`.

pub use crate::api::fuzzing as api;
pub use crate::cli::fuzzing as cli;
pub use crate::exec::fuzzing as exec;
pub use crate::network::fuzzing as network;
pub use crate::sample::fuzzing as sample;
pub use crate::supervisor::fuzzing as supervisor;
