//! Messages in a program's memory, which here is that of this process: a header whose fields may say anything, parts and ancillary data.
#![no_main]

use execd::fuzzing::supervisor::gate::Message;
use libfuzzer_sys::arbitrary::{self, Arbitrary};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    name_length: u32,
    part_count: u8,
    control_length: u16,
    /// makes one field of the header a wild one
    wild: Option<(u8, u64)>,
    lengths: Vec<u16>,
    offset: u16,
    most: u16,
    memory: &'a [u8],
}

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let memory = input.memory;
    let at = memory.as_ptr() as u64;
    let mut parts: Vec<u64> = Vec::new();
    for length in &input.lengths {
        parts.extend([at, u64::from(*length)]);
    }
    let mut header = [
        at,
        u64::from(input.name_length),
        parts.as_ptr() as u64,
        u64::from(input.part_count),
        at,
        input.control_length.into(),
        0,
    ];
    if let Some((field, value)) = input.wild {
        header[usize::from(field) % 7] = value;
    }
    let read = execd_fuzz::within(64 << 10, || Message::read(header.as_ptr() as u64));
    if let Ok(mut message) = read {
        assert!(message.name().is_none_or(|name| (1..=128).contains(&name.len())));
        assert!(message.control().len() <= 2048);
        let known = input.wild.is_none() && usize::from(input.part_count) <= input.lengths.len();
        if known {
            let lengths = &input.lengths[..input.part_count.into()];
            assert_eq!(message.length(), lengths.iter().map(|length| u64::from(*length)).sum::<u64>());
            let inside = lengths.iter().all(|length| usize::from(*length) <= memory.len());
            let data = execd_fuzz::within(256 << 10, || message.data(input.offset.into(), input.most.into()));
            if inside {
                let all: Vec<u8> = lengths.iter().flat_map(|length| &memory[..usize::from(*length)]).copied().collect();
                let wanted: Vec<u8> = all.into_iter().skip(input.offset.into()).take(input.most.into()).collect();
                assert_eq!(data, Ok(wanted));
            }
            if usize::from(input.control_length) <= memory.len() {
                assert_eq!(message.control(), &memory[..input.control_length.into()]);
            }
        } else if let Ok(data) = message.data(input.offset.into(), input.most.into()) {
            assert!(data.len() <= input.most.into());
        }
        judged(&mut message);
    }
    judged(&mut Message::of_control(memory));
});

/// What is let through is what cannot redirect a datagram, as another reader of cmsg(3) sees it.
fn judged(message: &mut Message) {
    let control = message.control().to_vec();
    let verdict = message.keep_harmless_control();
    assert!([Ok(()), Err(libc::EINVAL), Err(libc::EPERM)].contains(&verdict));
    if verdict.is_err() {
        return;
    }
    let mut rest = control.as_slice();
    while rest.len() >= 16 {
        let length = u64::from_ne_bytes(rest[..8].try_into().expect("eight")) as usize;
        let (level, kind) = (&rest[8..12], &rest[12..16]);
        let (level, kind) = [level, kind].map(|int| i32::from_ne_bytes(int.try_into().expect("four"))).into();
        assert!(length >= 16 && length <= rest.len());
        assert!(
            matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_TTL | libc::IP_PKTINFO)
                    | (
                        libc::IPPROTO_IPV6,
                        libc::IPV6_PKTINFO | libc::IPV6_HOPLIMIT | libc::IPV6_TCLASS | libc::IPV6_DONTFRAG
                    )
                    | (libc::SOL_UDP, libc::UDP_SEGMENT)
            ),
            "{level} {kind}"
        );
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
}
