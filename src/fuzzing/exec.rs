//! Readers of what an earlier daemon, or an execution, left behind.

pub use super::output_file::OutputFile;

/// As [`super::leftovers::execution_of`].
pub fn execution_of(environ: &[u8]) -> Option<&str> {
    super::leftovers::execution_of(environ)
}
