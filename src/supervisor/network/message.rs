//! Messages as they stand in a program's memory: `struct msghdr` and what it points to.

use super::address::MAX_ADDRESS;
use super::target::Target;
use std::os::fd::{AsRawFd, OwnedFd};

/// `sizeof(struct msghdr)` on 64-bit Linux, and of `struct mmsghdr`.
const MSGHDR: usize = 56;
pub(super) const MMSGHDR: u64 = 64;
/// Where `struct mmsghdr` has `msg_len`.
pub(super) const MMSGHDR_LENGTH: u64 = 56;
/// `UIO_MAXIOV`: the kernel takes no more parts (`EMSGSIZE`).
const MAX_PARTS: usize = 1024;
/// Longest ancillary data that we repeat: room for 253 descriptors (`SCM_MAX_FD`) and credentials.
const MAX_CONTROL: usize = 2048;

/// A message to be sent: its address and parts are copies, its data stays where it is until it is sent.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) name: Option<Vec<u8>>,
    pub(super) control: Vec<u8>,
    parts: Vec<(u64, u64)>,
    /// Descriptors that `control` names by our numbers.
    carried: Vec<OwnedFd>,
}

impl Message {
    /// The message of sendto(2).
    pub(super) fn of_buffer(
        target: &Target,
        buffer: u64,
        length: u64,
        name: u64,
        name_length: u64,
    ) -> Result<Message, i32> {
        // Without a length there is still an address, one that is too short.
        let name = if name == 0 { None } else { Some(read_name(target, name, name_length)?) };
        Ok(Message { name, parts: vec![(buffer, length)], ..Message::default() })
    }

    /// The message of sendmsg(2), from the address of its header.
    pub(super) fn read(target: &Target, address: u64) -> Result<Message, i32> {
        let header = Header::parse(&target.read(address, MSGHDR)?).ok_or(libc::EFAULT)?;
        if header.part_count > MAX_PARTS as u64 {
            return Err(libc::EMSGSIZE);
        }
        if header.control_length > MAX_CONTROL as u64 {
            return Err(libc::ENOBUFS);
        }
        let length = u64::try_from(header.name_length as i32).map_err(|_| libc::EINVAL)?;
        let name = match (header.name, length) {
            (0, _) | (_, 0) => None,
            // The kernel cuts longer names of messages, unlike those of connect and sendto.
            (at, length) => Some(read_name(target, at, length.min(MAX_ADDRESS as u64))?),
        };
        let control = match header.control {
            0 => Vec::new(),
            at => target.read(at, header.control_length as usize)?,
        };
        let parts = target.read(header.parts, header.part_count as usize * 16)?;
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let parts = parts.chunks_exact(16).map(|part| (word(&part[..8]), word(&part[8..]))).collect();
        Ok(Message { name, control, parts, carried: Vec::new() })
    }

    /// Bytes of data.
    pub(super) fn length(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length))
    }

    /// Copies up to `most` bytes of data from `offset` on.
    pub(super) fn data(&self, target: &Target, offset: u64, most: u64) -> Result<Vec<u8>, i32> {
        let (mut skip, mut room, mut wanted) = (offset, most, Vec::new());
        for (at, length) in &self.parts {
            let from = skip.min(*length);
            skip -= from;
            let take = (length - from).min(room);
            room -= take;
            if take > 0 {
                wanted.push((at.wrapping_add(from), take as usize));
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        target.read_parts(&wanted)
    }

    /// Leaves only ancillary data that cannot change where a datagram goes.
    pub(super) fn keep_harmless_control(&mut self) -> Result<(), i32> {
        let harmless = |level: i32, kind: i32| {
            let v4 = level == libc::IPPROTO_IP && [libc::IP_TOS, libc::IP_TTL, libc::IP_PKTINFO].contains(&kind);
            let v6 = level == libc::IPPROTO_IPV6
                && [libc::IPV6_PKTINFO, libc::IPV6_HOPLIMIT, libc::IPV6_TCLASS, libc::IPV6_DONTFRAG].contains(&kind);
            v4 || v6 || (level == libc::SOL_UDP && kind == libc::UDP_SEGMENT)
        };
        let all = items(&self.control).ok_or(libc::EINVAL)?.iter().all(|item| harmless(item.level, item.kind));
        if all { Ok(()) } else { Err(libc::EPERM) }
    }

    /// Takes the descriptors that the message carries, and writes our numbers for them. Credentials get our process id: the kernel
    /// lets nobody name another, and checks user and group as it would for the program.
    pub(super) fn take_descriptors(&mut self, target: &Target) -> Result<(), i32> {
        let items = items(&self.control).ok_or(libc::EINVAL)?;
        for item in items.iter().filter(|item| item.level == libc::SOL_SOCKET && item.kind == libc::SCM_CREDENTIALS) {
            if let Some(pid) = self.control[item.start..item.end].first_chunk_mut::<4>()
                && target.leader().is_ok_and(|leader| leader.to_ne_bytes() == *pid)
            {
                *pid = std::process::id().to_ne_bytes();
            }
        }
        for item in items.iter().filter(|item| item.level == libc::SOL_SOCKET && item.kind == libc::SCM_RIGHTS) {
            for number in self.control[item.start..item.end].as_chunks_mut::<4>().0 {
                let fd = target.descriptor(i32::from_ne_bytes(*number))?;
                *number = fd.as_raw_fd().to_ne_bytes();
                self.carried.push(fd);
            }
        }
        Ok(())
    }
}

fn read_name(target: &Target, address: u64, length: u64) -> Result<Vec<u8>, i32> {
    if length > MAX_ADDRESS as u64 {
        return Err(libc::EINVAL);
    }
    target.read(address, length as usize)
}

/// The fields of `struct msghdr`.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    name: u64,
    name_length: u32,
    parts: u64,
    part_count: u64,
    control: u64,
    control_length: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Header {
            name: word(0)?,
            name_length: word(8)? as u32,
            parts: word(16)?,
            part_count: word(24)?,
            control: word(32)?,
            control_length: word(40)?,
        })
    }
}

/// One control message (cmsg(3)): its content is `start..end` of the buffer.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    level: i32,
    kind: i32,
    start: usize,
    end: usize,
}

/// `struct cmsghdr`: length, level, type; the next one starts at a multiple of 8.
const CMSG_HEADER: usize = 16;

/// Walks ancillary data; `None` where the kernel would answer `EINVAL`.
fn items(control: &[u8]) -> Option<Vec<Item>> {
    let mut found = Vec::new();
    let mut at = 0;
    while control.len().saturating_sub(at) >= CMSG_HEADER {
        let length = usize::try_from(u64::from_ne_bytes(control.get(at..at + 8)?.try_into().ok()?)).ok()?;
        let int = |at: usize| Some(i32::from_ne_bytes(control.get(at..at + 4)?.try_into().ok()?));
        let end = at.checked_add(length)?;
        if length < CMSG_HEADER || end > control.len() {
            return None;
        }
        found.push(Item { level: int(at + 8)?, kind: int(at + 12)?, start: at + CMSG_HEADER, end });
        at = end.checked_next_multiple_of(8)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::target::Reach;
    use super::*;
    use proptest::prelude::*;

    fn me() -> Target {
        Target { tid: std::process::id() as i32, reach: Reach::Trace, identity: None }
    }

    fn item(level: i32, kind: i32, content: &[u8]) -> Vec<u8> {
        let mut bytes = ((CMSG_HEADER + content.len()) as u64).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn a_message_is_read_with_all_its_parts() {
        let (one, two) = (*b"first ", *b"second");
        let name = [2u8; 16];
        let parts = [one.as_ptr() as u64, 6, two.as_ptr() as u64, 6];
        let header = [name.as_ptr() as u64, 16, parts.as_ptr() as u64, 2, 0, 0, 0];
        let message = Message::read(&me(), header.as_ptr() as u64).unwrap();
        assert_eq!(message.name.as_deref(), Some(&name[..]));
        assert_eq!(message.length(), 12);
        assert_eq!(message.data(&me(), 0, 100).unwrap(), b"first second");
        assert_eq!(message.data(&me(), 8, 3).unwrap(), b"con");
        let too_many = [0, 0, parts.as_ptr() as u64, 1025, 0, 0, 0];
        assert_eq!(Message::read(&me(), too_many.as_ptr() as u64).unwrap_err(), libc::EMSGSIZE);
        assert_eq!(Message::read(&me(), 16).unwrap_err(), libc::EFAULT);
    }

    #[test]
    fn source_routes_are_refused_and_packet_info_is_not() {
        let with = |control| Message { control, ..Message::default() };
        assert_eq!(with(Vec::new()).keep_harmless_control(), Ok(()));
        let info = item(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0; 12]);
        assert_eq!(with(info.clone()).keep_harmless_control(), Ok(()));
        let route = item(libc::IPPROTO_IP, libc::IP_RETOPTS, &[0; 8]);
        assert_eq!(with([info, route].concat()).keep_harmless_control(), Err(libc::EPERM));
        assert_eq!(with(vec![7; 16]).keep_harmless_control(), Err(libc::EINVAL));
    }

    #[test]
    fn descriptors_in_a_message_become_ours() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let control = item(libc::SOL_SOCKET, libc::SCM_RIGHTS, &file.as_raw_fd().to_ne_bytes());
        let mut message = Message { control, ..Message::default() };
        message.take_descriptors(&me()).unwrap();
        assert_eq!(message.carried.len(), 1);
        assert_ne!(message.carried[0].as_raw_fd(), file.as_raw_fd());
        assert_eq!(message.control[16..20], message.carried[0].as_raw_fd().to_ne_bytes());
    }

    proptest! {
        #[test]
        fn ancillary_data_never_leaves_its_buffer(control in proptest::collection::vec(any::<u8>(), 0..96)) {
            for item in items(&control).unwrap_or_default() {
                prop_assert!(item.start <= item.end && item.end <= control.len());
            }
        }

        #[test]
        fn any_bytes_make_a_header_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Header::parse(&bytes).is_some(), bytes.len() >= 48);
        }
    }
}
