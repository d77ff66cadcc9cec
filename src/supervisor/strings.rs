//! Arguments or environment of a command as the kernel takes them: one block of strings, each ended by NUL. One block costs a receiver one
//! allocation, however many there are.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::CStr;
use std::fmt;

/// A list of strings without NUL; bytes, because paths and arguments need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings(Vec<u8>);

/// A string of the list holds a NUL byte, which no program can receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an argument or variable holds a NUL byte, which no program can receive")]
pub struct HoldsNul;

impl Strings {
    /// Takes a list.
    ///
    /// # Errors
    /// [`HoldsNul`].
    pub fn new<S: AsRef<[u8]>>(list: &[S]) -> Result<Strings, HoldsNul> {
        let mut block = Vec::with_capacity(list.iter().map(|string| string.as_ref().len() + 1).sum());
        for string in list {
            if string.as_ref().contains(&0) {
                return Err(HoldsNul);
            }
            block.extend_from_slice(string.as_ref());
            block.push(0);
        }
        Ok(Strings(block))
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.0.split_inclusive(|byte| *byte == 0).filter_map(|string| CStr::from_bytes_with_nul(string).ok())
    }
}

impl Serialize for Strings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        deserializer.deserialize_byte_buf(Block).map(Strings)
    }
}

/// Reads bytes at once. What serde derives for a vector of bytes goes byte by byte.
pub(super) struct Block;

impl Visitor<'_> for Block {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nul_is_refused_and_empty_strings_stay() {
        assert_eq!(Strings::new(&[&b"a"[..], b"b\0c"]), Err(HoldsNul));
        let strings = Strings::new(&["", "a", ""]).expect("no NUL");
        assert_eq!(strings.iter().collect::<Vec<_>>(), [c"", c"a", c""]);
        assert_eq!(Strings::default().iter().count(), 0);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(list in proptest::collection::vec(proptest::collection::vec(1u8.., 0..20), 0..20)) {
            let strings = Strings::new(&list).expect("no NUL");
            let sent = postcard::to_allocvec(&strings).expect("encode");
            let received: Strings = postcard::from_bytes(&sent).expect("decode");
            let found: Vec<Vec<u8>> = received.iter().map(|string| string.to_bytes().to_vec()).collect();
            prop_assert_eq!(found, list);
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(strings) = postcard::from_bytes::<Strings>(&bytes) {
                prop_assert!(strings.iter().all(|string| string.count_bytes() <= bytes.len()));
            }
        }
    }
}
