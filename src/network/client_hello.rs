//! The server name in a TLS client's first message (RFC 8446, 4.1.2; RFC 6066, 3). Reads, decrypts nothing. Pure.

/// Longest first message that is looked at, in bytes; key shares against quantum computers make some two kilobytes.
pub const HELLO_MAX: usize = 32 * 1024;

/// What a client's first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// too few to tell
    Unknown,
    /// not TLS
    Other,
    /// TLS, with the server name if it gives one
    Hello(Option<String>),
    /// begins like TLS and is wrong or too long
    Broken,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Longest content of a record, with what encryption may add (which it does not here).
const RECORD_MAX: usize = (1 << 14) + 256;

/// Looks at the bytes that came so far.
pub fn inspect(bytes: &[u8]) -> First {
    match bytes {
        [] | [HANDSHAKE] => return First::Unknown,
        [HANDSHAKE, 3, ..] => {}
        _ => return First::Other,
    }
    match hello(bytes) {
        Ok(name) => First::Hello(name),
        Err(Stop::NeedsMore) if bytes.len() < HELLO_MAX => First::Unknown,
        Err(Stop::NeedsMore | Stop::Wrong) => First::Broken,
    }
}

enum Stop {
    NeedsMore,
    Wrong,
}

fn hello(bytes: &[u8]) -> Result<Option<String>, Stop> {
    let message = message(bytes)?;
    let mut rest = Reader(&message);
    // Version and random; session, ciphers, compressions.
    rest.take(34)?;
    rest.list8()?;
    rest.list16()?;
    rest.list8()?;
    if rest.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Reader(rest.list16()?);
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.list16()?;
        if kind == SERVER_NAME && name.replace(server_name(body)?).is_some() {
            return Err(Stop::Wrong);
        }
    }
    Ok(name)
}

/// The handshake message, which may lie in several records.
fn message(mut bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut message = Vec::new();
    loop {
        if let [kind, a, b, c, body @ ..] = message.as_slice() {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind != CLIENT_HELLO || length > HELLO_MAX {
                return Err(Stop::Wrong);
            }
            if let Some(whole) = body.get(..length) {
                return Ok(whole.to_vec());
            }
        }
        let [kind, major, _, high, low, rest @ ..] = bytes else { return Err(Stop::NeedsMore) };
        let length = usize::from(*high) << 8 | usize::from(*low);
        if *kind != HANDSHAKE || *major != 3 || length == 0 || length > RECORD_MAX {
            return Err(Stop::Wrong);
        }
        let part = rest.get(..length).unwrap_or(rest);
        message.extend_from_slice(part);
        bytes = &rest[part.len()..];
    }
}

fn server_name(body: &[u8]) -> Result<String, Stop> {
    let mut names = Reader(Reader(body).list16()?);
    while !names.0.is_empty() {
        let kind = names.take(1)?[0];
        let name = names.list16()?;
        if kind == HOST_NAME {
            return String::from_utf8(name.to_vec()).map_err(|_| Stop::Wrong);
        }
    }
    Err(Stop::Wrong)
}

/// Inside of a whole message, what is missing is wrong.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (front, rest) = self.0.split_at_checked(length).ok_or(Stop::Wrong)?;
        self.0 = rest;
        Ok(front)
    }

    fn u16(&mut self) -> Result<u16, Stop> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    fn list8(&mut self) -> Result<&'a [u8], Stop> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn list16(&mut self) -> Result<&'a [u8], Stop> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_length16(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u16).to_be_bytes(), body].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length16(body)].concat()
    }

    fn sni(name: &str) -> Vec<u8> {
        let entry = [&[HOST_NAME][..], &with_length16(name.as_bytes())].concat();
        extension(SERVER_NAME, &with_length16(&entry))
    }

    /// A client hello in records of at most `record` bytes.
    pub(crate) fn records(extensions: &[Vec<u8>], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        // GREASE (RFC 8701) is a cipher like any other here.
        body.extend(with_length16(&[0x0a, 0x0a, 0x13, 0x01]));
        body.extend([1, 0]);
        if !extensions.is_empty() {
            body.extend(with_length16(&extensions.concat()));
        }
        let mut message = vec![CLIENT_HELLO];
        message.extend(&(body.len() as u32).to_be_bytes()[1..]);
        message.extend(body);
        message.chunks(record).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &with_length16(part)].concat()).collect()
    }

    pub(crate) fn hello_for(name: &str) -> Vec<u8> {
        records(&[extension(0x1a1a, &[]), sni(name), extension(43, &[2, 3, 4])], 1 << 14)
    }

    #[test]
    fn the_name_is_found_behind_grease_and_across_records() {
        let named = First::Hello(Some("a.example".to_owned()));
        assert_eq!(inspect(&hello_for("a.example")), named);
        let large = extension(51, &[0; 20_000]);
        assert_eq!(inspect(&records(&[large, sni("a.example")], 1000)), named);
        assert_eq!(inspect(&records(&[sni("a.example")], 1)), named);
        assert_eq!(inspect(&records(&[extension(43, &[])], 99)), First::Hello(None));
        assert_eq!(inspect(&records(&[], 99)), First::Hello(None));
    }

    #[test]
    fn every_shorter_piece_is_unknown() {
        let whole = hello_for("a.example");
        for length in 0..whole.len() {
            assert_eq!(inspect(&whole[..length]), First::Unknown, "{length}");
        }
    }

    #[test]
    fn what_is_wrong_or_too_long_is_broken() {
        assert_eq!(inspect(&records(&[sni("a"), sni("b")], 999)), First::Broken);
        assert_eq!(inspect(&records(&[extension(SERVER_NAME, &[])], 999)), First::Broken);
        assert_eq!(inspect(b"\x16\x03\x01\x00\x00rest"), First::Broken);
        assert_eq!(inspect(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"), First::Broken);
        assert_eq!(inspect(b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00"), First::Broken);
        assert_eq!(inspect(&records(&vec![extension(51, &[0; 16_000]); 3], 9000)), First::Broken);
        let mut other = records(&[sni("a.example")], 20);
        other[25] = 23;
        assert_eq!(inspect(&other), First::Broken);
    }

    #[test]
    fn other_protocols_are_other() {
        for first in [&b"SSH-2.0-x"[..], b"GET / HTTP/1.1\r\n", b"\x16\x02", b"\x80\x2e\x01"] {
            assert_eq!(inspect(first), First::Other);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), tls in any::<bool>()) {
            if tls && bytes.len() > 6 {
                bytes[..6].copy_from_slice(&[HANDSHAKE, 3, 1, 0, 200, CLIENT_HELLO]);
            }
            let _ = inspect(&bytes);
        }

        #[test]
        fn a_damaged_hello_is_answered(at in 0_usize..100, with in any::<u8>(), record in 1_usize..200) {
            let mut bytes = records(&[sni("a.example")], record);
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = inspect(&bytes);
        }
    }
}
