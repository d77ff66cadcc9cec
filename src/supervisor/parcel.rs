//! A specification on its way. A short one, which is nearly every one, travels in its message; argv and environment can be megabytes, and
//! then it travels in a memfd beside it.

use super::protocol::Spec;
use super::strings::Block;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Longest specification that goes into a message.
const INLINE_MAX: usize = 7 << 10;
/// Longest encoded specification: bodies are at most 2 MiB and the environment is added to them.
const MAX_SPEC: u64 = 4 << 20;

/// The part that travels in the message: the encoded specification, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel(Vec<u8>);

impl Parcel {
    /// Packs a specification. What is returned beside the parcel is to be the last descriptor of its message.
    ///
    /// # Errors
    /// No memfd can be had.
    pub fn pack(spec: &Spec) -> io::Result<(Parcel, Option<OwnedFd>)> {
        let bytes = postcard::to_allocvec(spec).map_err(invalid)?;
        if bytes.len() <= INLINE_MAX {
            return Ok((Parcel(bytes), None));
        }
        let fd = nix::sys::memfd::memfd_create(c"execd-spec", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(fd);
        file.write_all(&bytes)?;
        Ok((Parcel(Vec::new()), Some(file.into())))
    }

    /// Reads the specification. `fds` are the descriptors of its message; the streams and what else belongs to the start come first, and
    /// how many those are is returned too.
    ///
    /// # Errors
    /// It is not one, or its descriptor is missing.
    pub fn open(&self, fds: &[OwnedFd]) -> io::Result<(Spec, usize)> {
        if !self.0.is_empty() {
            return Ok((postcard::from_bytes(&self.0).map_err(invalid)?, fds.len()));
        }
        let (last, others) = fds.split_last().ok_or_else(|| io::Error::other("no descriptor came with it"))?;
        Ok((read(last.as_fd())?, others.len()))
    }
}

/// From the start; the descriptor may be shared with another reader.
fn read(fd: BorrowedFd<'_>) -> io::Result<Spec> {
    let file = File::from(fd.try_clone_to_owned()?);
    let length = file.metadata()?.len();
    if length > MAX_SPEC {
        return Err(io::Error::other(format!("specification of {length} bytes is over {MAX_SPEC}")));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    postcard::from_bytes(&bytes).map_err(invalid)
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Serialize for Parcel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Parcel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parcel, D::Error> {
        deserializer.deserialize_byte_buf(Block).map(Parcel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{MAX_MESSAGE, Order};
    use super::super::strings::Strings;
    use super::*;
    use crate::agent_type::{OnLimit, Survivors};
    use crate::limits::Limits;

    fn spec(environment: usize) -> Spec {
        Spec {
            argv: Strings::new(&["a"]).expect("argv"),
            env: Strings::new(&["x".repeat(environment)]).expect("env"),
            cwd: "/".into(),
            storage_root: "/".into(),
            storage_fresh: true,
            uid: None,
            gid: Some(7),
            limits: Limits::default(),
            grace_ms: 5,
            survivors: Survivors::Kill,
            on_pids: OnLimit::Deny,
            confined: true,
            keep_capabilities: 0,
            hold: false,
            network: None,
        }
    }

    #[test]
    fn long_and_short_ones_arrive_and_short_ones_fit_a_message() {
        for environment in [0, 100, 6000, INLINE_MAX, 1 << 20] {
            let spec = spec(environment);
            let (parcel, beside) = Parcel::pack(&spec).expect("pack");
            assert_eq!(beside.is_some(), environment >= INLINE_MAX);
            let order = Order::Start(parcel.clone());
            assert!(postcard::to_allocvec(&order).expect("encode").len() <= MAX_MESSAGE);
            let stream = OwnedFd::from(File::open("/dev/null").expect("null"));
            let fds: Vec<OwnedFd> = std::iter::once(stream).chain(beside).collect();
            for _ in 0..2 {
                assert_eq!(parcel.open(&fds).expect("open"), (spec.clone(), 1));
            }
        }
    }

    #[test]
    fn what_is_missing_or_broken_is_an_error() {
        assert!(Parcel(Vec::new()).open(&[]).is_err());
        assert!(Parcel(vec![255; 9]).open(&[]).is_err());
        let other = OwnedFd::from(File::open("/dev/null").expect("null"));
        assert!(Parcel(Vec::new()).open(&[other]).is_err());
    }
}
