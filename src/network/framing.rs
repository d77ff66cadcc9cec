//! Where the body of a response ends (RFC 9112, 6.3), and its chunks (7.1). Pure.

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use hyper::{Method, StatusCode};

/// Longest line with the size of a chunk, and all trailers, in bytes.
const LINE_MAX: usize = 8 * 1024;

/// A body that does not follow the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the destination's answer has no well-formed body")]
pub struct Malformed;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// this many bytes
    Length(u64),
    /// chunks
    Chunks(Chunk),
    /// whatever comes until the connection ends
    Close,
}

/// Where in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// before its size
    Size,
    /// in its data, with this many bytes to come
    Data(u64),
    /// behind its data
    End,
    /// behind the last one, with this many bytes of trailers seen
    Trailers(usize),
    /// behind everything
    Over,
}

impl Framing {
    /// The framing of an answer to a request with this method.
    ///
    /// # Errors
    /// [`Malformed`] for lengths that contradict each other or are none.
    pub fn of(method: &Method, status: StatusCode, headers: &HeaderMap) -> Result<Framing, Malformed> {
        let bodyless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if method == Method::HEAD || bodyless || status.is_informational() {
            return Ok(Framing::Length(0));
        }
        if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
            let coding = last.to_str().map_err(|_| Malformed)?.rsplit(',').next().unwrap_or_default();
            let chunked = coding.trim().eq_ignore_ascii_case("chunked");
            return Ok(if chunked { Framing::Chunks(Chunk::Size) } else { Framing::Close });
        }
        let mut length = None;
        for value in headers.get_all(CONTENT_LENGTH) {
            for part in value.to_str().map_err(|_| Malformed)?.split(',') {
                let part = part.trim();
                let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                let this: u64 = part.parse().ok().filter(|_| digits).ok_or(Malformed)?;
                if length.replace(this).is_some_and(|other| other != this) {
                    return Err(Malformed);
                }
            }
        }
        Ok(length.map_or(Framing::Close, Framing::Length))
    }

    /// Nothing is to come; never known for what the connection's end ends.
    pub fn is_over(&self) -> bool {
        matches!(self, Framing::Length(0) | Framing::Chunks(Chunk::Over))
    }

    /// The next piece of the body that is in the buffer; `None` when more must come, or when it is over.
    ///
    /// # Errors
    /// [`Malformed`]; the connection is then worth nothing.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        match self {
            Framing::Close => Ok((!buffer.is_empty()).then(|| buffer.split().freeze())),
            Framing::Length(left) => Ok(take(left, buffer)),
            Framing::Chunks(chunk) => chunk.next(buffer),
        }
    }
}

impl Chunk {
    fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        loop {
            *self = match self {
                Chunk::Over => return Ok(None),
                Chunk::Data(left) => match take(left, buffer) {
                    Some(piece) => return Ok(Some(piece)),
                    None if *left > 0 => return Ok(None),
                    None => Chunk::End,
                },
                Chunk::End => match line(buffer)? {
                    Some(rest) if rest.is_empty() => Chunk::Size,
                    Some(_) => return Err(Malformed),
                    None => return Ok(None),
                },
                Chunk::Size => match line(buffer)? {
                    Some(text) => match size(&text)? {
                        0 => Chunk::Trailers(0),
                        size => Chunk::Data(size),
                    },
                    None => return Ok(None),
                },
                Chunk::Trailers(seen) => match line(buffer)? {
                    Some(text) if text.is_empty() => Chunk::Over,
                    Some(text) if *seen + text.len() <= LINE_MAX => Chunk::Trailers(*seen + text.len() + 2),
                    Some(_) => return Err(Malformed),
                    None => return Ok(None),
                },
            }
        }
    }
}

fn take(left: &mut u64, buffer: &mut BytesMut) -> Option<Bytes> {
    let length = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= length as u64;
    (length > 0).then(|| buffer.split_to(length).freeze())
}

/// A line without its end.
fn line(buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    match buffer.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
        Some(0) => Err(Malformed),
        Some(at) if buffer[at - 1] == b'\r' => {
            let text = buffer.split_to(at - 1).freeze();
            buffer.advance(2);
            Ok(Some(text))
        }
        Some(_) => Err(Malformed),
        None if buffer.len() < LINE_MAX => Ok(None),
        None => Err(Malformed),
    }
}

fn size(text: &[u8]) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    let digits = text.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Malformed);
    }
    u64::from_str_radix(digits, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn framing(
        method: &Method,
        status: u16,
        fields: &[(hyper::header::HeaderName, &'static str)],
    ) -> Result<Framing, Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        Framing::of(method, StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn the_end_of_a_body() {
        let (te, cl) = (TRANSFER_ENCODING, CONTENT_LENGTH);
        let chunks = Framing::Chunks(Chunk::Size);
        for (method, status, fields, expected) in [
            (Method::GET, 200, vec![(cl.clone(), "5")], Ok(Framing::Length(5))),
            (Method::HEAD, 200, vec![(cl.clone(), "5")], Ok(Framing::Length(0))),
            (Method::GET, 304, vec![(cl.clone(), "5")], Ok(Framing::Length(0))),
            (Method::GET, 204, vec![(te.clone(), "chunked")], Ok(Framing::Length(0))),
            (Method::GET, 200, vec![], Ok(Framing::Close)),
            (Method::GET, 200, vec![(te.clone(), "gzip, Chunked"), (cl.clone(), "5")], Ok(chunks)),
            (Method::GET, 200, vec![(te.clone(), "gzip"), (te.clone(), "chunked")], Ok(chunks)),
            (Method::GET, 200, vec![(te, "chunked, gzip")], Ok(Framing::Close)),
            (Method::GET, 200, vec![(cl.clone(), "5"), (cl.clone(), "5")], Ok(Framing::Length(5))),
            (Method::GET, 200, vec![(cl.clone(), "5, 5")], Ok(Framing::Length(5))),
            (Method::GET, 200, vec![(cl.clone(), "5"), (cl.clone(), "6")], Err(Malformed)),
            (Method::GET, 200, vec![(cl.clone(), "+5")], Err(Malformed)),
            (Method::GET, 200, vec![(cl, "99999999999999999999")], Err(Malformed)),
        ] {
            assert_eq!(framing(&method, status, &fields), expected, "{method} {status} {fields:?}");
        }
    }

    /// Feeds bytes in pieces; what came out, and whether it was over.
    fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut framing, mut buffer, mut out) = (Framing::Chunks(Chunk::Size), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            while let Some(data) = framing.next(&mut buffer)? {
                out.extend_from_slice(&data);
            }
        }
        Ok((out, framing.is_over()))
    }

    #[test]
    fn chunks_are_joined_however_they_come() {
        let wire = b"4\r\nWiki\r\n6;name=\"v\"\r\npedia \r\nE \r\nin \r\n\r\nchunks.\r\n0\r\nA: b\r\n\r\n";
        for piece in 1..wire.len() {
            assert_eq!(decode(wire, piece), Ok((b"Wikipedia in \r\n\r\nchunks.".to_vec(), true)), "{piece}");
        }
        assert_eq!(decode(b"4\r\nWi", 3), Ok((b"Wi".to_vec(), false)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for wire in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "0x4\r\nWiki\r\n",
            "4\nWiki\r\n",
            "4\r\nWikix\r\n",
            "11111111111111111\r\n",
            "\n",
        ] {
            assert_eq!(decode(wire.as_bytes(), 5), Err(Malformed), "{wire:?}");
        }
        assert_eq!(decode(&[b'0'; LINE_MAX + 1], 99), Err(Malformed));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(LINE_MAX));
        assert_eq!(decode(trailers.as_bytes(), 99), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _ = decode(&bytes, piece);
        }

        #[test]
        fn what_is_chunked_comes_back(data in proptest::collection::vec(any::<u8>(), 1..300), size in 1_usize..40, piece in 1_usize..50) {
            let mut wire: Vec<u8> = data.chunks(size).flat_map(|part| [format!("{:X}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).collect();
            wire.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&wire, piece), Ok((data, true)));
        }
    }
}
