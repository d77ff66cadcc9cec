//! Identifiers of executions: 48 bits of milliseconds and 80 random bits in Crockford's base 32, so they sort by creation (the ULID form).

use crate::sys::{random, time};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Length of an identifier.
pub const LENGTH: usize = 26;

/// A new identifier for this moment.
pub fn new(unix_ms: u64) -> String {
    let mut random = [0; 10];
    // Uniqueness within one sandbox is all that is asked: before the kernel has gathered enough, the clock has to do.
    if !random::fill(&mut random) {
        random[..8].copy_from_slice(&time::monotonic().as_nanos().to_le_bytes()[..8]);
    }
    encode(unix_ms, random)
}

fn encode(unix_ms: u64, random: [u8; 10]) -> String {
    let low = random.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
    let value = u128::from(unix_ms & 0xffff_ffff_ffff) << 80 | low;
    (0..LENGTH).rev().map(|digit| char::from(ALPHABET[(value >> (5 * digit)) as usize & 31])).collect()
}

/// Whether a text can be an identifier at all.
pub fn is_valid(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_sort_by_time_and_are_valid() {
        let early = encode(1_000, [255; 10]);
        let late = encode(1_001, [0; 10]);
        assert!(early < late);
        assert!(is_valid(&early) && is_valid(&new(5)));
        assert_ne!(new(5), new(5));
        assert!(!is_valid("../../etc/passwd") && !is_valid(""));
    }
}
