//! A name server as small as can be: one question, answers from a table, everything else does not exist (RFC 1035).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names and their addresses. Unknown names get NXDOMAIN.
pub const TABLE: &[(&str, &[&str])] = &[
    ("one.test", &["203.0.113.10"]),
    ("six.test", &["2001:db8:1::10"]),
    ("both.test", &["203.0.113.11", "2001:db8:1::11"]),
    ("three.test", &["203.0.113.12", "203.0.113.13", "2001:db8:1::12"]),
    // Happy eyeballs: the first family is silent.
    ("silent-six.test", &["203.0.113.14", "2001:db8:dead::14"]),
    ("silent.test", &["198.51.100.15"]),
    ("refused-then-good.test", &["203.0.113.16"]),
    ("allowed.test", &["203.0.113.20"]),
    ("www.allowed.test", &["203.0.113.21"]),
    ("denied.test", &["203.0.113.30"]),
    ("alias.test", &["203.0.113.20"]),
    // Addresses that are public by their number; nothing leaves the box, so they are the peer's.
    ("public.test", &["45.67.89.20"]),
    ("www.public.test", &["45.67.89.21", "2a12:3456:789a::21"]),
    ("other.test", &["45.67.89.30"]),
    ("mixed-public.test", &["45.67.89.20", "127.0.0.1"]),
    // Names that point where nobody may be led.
    ("loopback.test", &["127.0.0.1"]),
    ("loopback6.test", &["::1"]),
    ("private.test", &["10.0.0.1"]),
    ("metadata.test", &["169.254.169.254"]),
    ("mapped.test", &["::ffff:127.0.0.1"]),
    ("mixed.test", &["203.0.113.20", "127.0.0.1"]),
    ("unspecified.test", &["0.0.0.0"]),
];

const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to a query; `None` when it is not one.
pub fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = name(query.get(12..)?)?;
    let kind = u16::from_be_bytes(query.get(12 + end..12 + end + 2)?.try_into().ok()?);
    let question = query.get(12..12 + end + 4)?;
    let known = TABLE.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name)).map(|(_, addresses)| *addresses);
    let addresses: Vec<IpAddr> = known.unwrap_or_default().iter().map(|text| text.parse().expect("table")).collect();
    let records: Vec<Vec<u8>> = addresses.iter().filter_map(|address| record(*address, kind)).collect();
    let code = if known.is_some() { 0 } else { 3 };
    let mut reply = query.get(..2)?.to_vec();
    // Response, recursion desired and available.
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    reply.extend(question);
    records.iter().for_each(|record| reply.extend(record));
    Some(reply)
}

/// A name in dotted form and how many bytes it took.
fn name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((text, at));
        }
        let label = std::str::from_utf8(bytes.get(at..at + length)?).ok()?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
        at += length;
    }
}

/// A record for the name of the question, if the address is of the kind that was asked for.
fn record(address: IpAddr, kind: u16) -> Option<Vec<u8>> {
    let data: Vec<u8> = match (address, kind) {
        (IpAddr::V4(v4), A) => Ipv4Addr::octets(&v4).to_vec(),
        (IpAddr::V6(v6), AAAA) => Ipv6Addr::octets(&v6).to_vec(),
        _ => return None,
    };
    // A pointer to the question's name, kind, class IN, one minute.
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).ok()?]);
    record.extend(data);
    Some(record)
}

#[test]
fn questions_are_answered_from_the_table() {
    let ask = |name: &str, kind: u8| {
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        answer(&query).unwrap()
    };
    let reply = ask("one.test", 1);
    assert_eq!((reply[3] & 15, reply[7]), (0, 1));
    assert_eq!(reply[reply.len() - 4..], [203, 0, 113, 10]);
    assert_eq!(ask("One.Test", 28)[7], 0, "the name is there, the kind is not");
    assert_eq!(ask("nowhere.test", 1)[3] & 15, 3);
    assert_eq!(ask("three.test", 1)[7], 2);
    assert_eq!(answer(&[0; 5]), None);
}
