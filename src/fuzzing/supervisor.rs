//! Readers of messages between processes, and of files of processes that run foreign code.

pub use super::network::fuzzing as gate;

use super::protocol::{StubOrder, StubReport};
use serde::{Serialize, de::DeserializeOwned};

/// What a stub and its supervisor say to each other: whatever these bytes are, encoded again.
pub fn stub_messages(bytes: &[u8]) -> [Option<Vec<u8>>; 2] {
    [again::<StubReport>(bytes), again::<StubOrder>(bytes)]
}

fn again<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    postcard::to_allocvec(&postcard::from_bytes::<M>(bytes).ok()?).ok()
}

/// As [`super::tree::parse_stat`]: pid, parent and clock ticks.
pub fn stat(line: &[u8]) -> Option<(i32, i32, u64)> {
    super::tree::parse_stat(line).map(|found| (found.pid, found.parent, found.user_ticks + found.system_ticks))
}

/// As [`super::memory::sum_keys`].
pub fn sum_keys(text: &str, keys: &[&str]) -> Option<u64> {
    super::memory::sum_keys(text, keys)
}
