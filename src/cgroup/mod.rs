//! Control groups: where they are, and how their files are read and written.
//!
//! This room knows kernel file formats and mount tables of v1 and v2. It holds no policy: which limit goes where is decided
//! in `limits`, what the figures mean to a user in `sample`.

pub mod domain;
pub mod files;
mod gauges;
pub mod group;
pub(crate) mod kept;
pub mod mountinfo;
pub mod mounts;
pub mod parse;
mod settings;

pub use files::FileError;
pub use mounts::{Controller, Layout, Place};
pub use parse::Limit;
