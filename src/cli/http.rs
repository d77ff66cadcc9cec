//! HTTP/1.1 responses off a blocking reader: status line, headers, body framing. Everything is bounded.
//!
//! Which server, which path and what the answer means is not known here.

use std::io::{self, BufRead, Read};

/// Longest header line, and longest line of an event stream (OpenSandbox's Go client has the same bound).
const MAX_LINE: u64 = 4 << 20;
/// Most bytes of status line and headers together.
const MAX_HEAD: usize = 64 << 10;

/// Status and headers of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of a name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a response's head; interim (1xx) responses are skipped.
///
/// # Errors
/// `InvalidData` when it is no HTTP/1 response or its head is too large; else what the reader says.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let mut budget = MAX_HEAD;
    loop {
        let head = read_one_head(reader, &mut budget)?;
        if !(100..200).contains(&head.status) {
            return Ok(head);
        }
    }
}

fn read_one_head(reader: &mut impl BufRead, budget: &mut usize) -> io::Result<Head> {
    let status_line = head_line(reader, budget)?;
    let mut parts = status_line.splitn(3, ' ');
    let version_ok = parts.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let status = parts.next().and_then(|code| code.parse().ok()).filter(|code| (100..1000).contains(code));
    let (true, Some(status)) = (version_ok, status) else {
        return Err(invalid("is not an HTTP/1 server"));
    };
    let mut headers = Vec::new();
    loop {
        let line = head_line(reader, budget)?;
        if line.is_empty() {
            return Ok(Head { status, headers });
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("sent a header without a colon"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn head_line(reader: &mut impl BufRead, budget: &mut usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(*budget).unwrap_or(u64::MAX);
    reader.by_ref().take(limit).read_until(b'\n', &mut bytes)?;
    *budget = budget.saturating_sub(bytes.len());
    match bytes.pop() {
        Some(b'\n') => {}
        Some(_) if *budget == 0 => return Err(invalid("sent more than 64 KiB of headers")),
        Some(_) | None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed the connection")),
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| invalid("sent a header that is not UTF-8"))
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked { left: u64, done: bool },
    UntilClose,
}

/// A response's body as a plain reader.
#[derive(Debug)]
pub struct Body<R> {
    inner: R,
    framing: Framing,
}

impl<R: BufRead> Body<R> {
    /// The body that belongs to a head.
    ///
    /// # Errors
    /// `InvalidData` for a length or coding that is not understood.
    pub fn new(inner: R, head: &Head) -> io::Result<Self> {
        let framing = match (head.header("transfer-encoding"), head.header("content-length")) {
            _ if head.status == 204 || head.status == 304 => Framing::Length(0),
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked { left: 0, done: false },
            (Some(_), _) => return Err(invalid("uses an unknown transfer coding")),
            (None, Some(length)) => Framing::Length(length.parse().map_err(|_| invalid("sent a bad content length"))?),
            (None, None) => Framing::UntilClose,
        };
        Ok(Self { inner, framing })
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut budget = 1024;
        let line = head_line(&mut self.inner, &mut budget)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| invalid("sent a bad chunk"))?;
        if size == 0 {
            // Trailers, which nobody needs, up to the empty line.
            let mut budget = MAX_HEAD;
            while !head_line(&mut self.inner, &mut budget)?.is_empty() {}
        }
        Ok(size)
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.framing {
            Framing::UntilClose => self.inner.read(buffer),
            Framing::Length(left) => {
                let count = read_some(&mut self.inner, buffer, left)?;
                self.framing = Framing::Length(left - count as u64);
                Ok(count)
            }
            Framing::Chunked { done: true, .. } => Ok(0),
            Framing::Chunked { left: 0, done: false } => {
                let left = self.next_chunk()?;
                self.framing = Framing::Chunked { left, done: left == 0 };
                self.read(buffer)
            }
            Framing::Chunked { left, done: false } => {
                let count = read_some(&mut self.inner, buffer, left)?;
                let left = left - count as u64;
                if left == 0 {
                    let mut budget = 16;
                    head_line(&mut self.inner, &mut budget)?;
                }
                self.framing = Framing::Chunked { left, done: false };
                Ok(count)
            }
        }
    }
}

/// Reads at most `left` bytes; an end before that is an error, because something was promised.
fn read_some(inner: &mut impl Read, buffer: &mut [u8], left: u64) -> io::Result<usize> {
    let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    if want == 0 {
        return Ok(0);
    }
    match inner.read(&mut buffer[..want])? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed the connection in the middle of a body")),
        count => Ok(count),
    }
}

/// A whole body of at most `limit` bytes.
///
/// # Errors
/// `InvalidData` when it is larger; else what the reader says.
pub fn read_all(body: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid("sent a larger answer than expected"));
    }
    Ok(bytes)
}

/// One line without its end, or `None` at the end of the stream.
///
/// # Errors
/// `InvalidData` when it is longer than 4 MiB; else what the reader says.
pub fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|byte| *byte == b'\n').is_none() && line.len() as u64 == MAX_LINE {
        return Err(invalid("sent a line of more than 4 MiB"));
    }
    line.pop_if(|byte| *byte == b'\r');
    Ok(Some(line))
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn whole(text: &[u8]) -> io::Result<(Head, Vec<u8>)> {
        let mut reader = BufReader::with_capacity(7, text);
        let head = read_head(&mut reader)?;
        let mut body = Body::new(reader, &head)?;
        let bytes = read_all(&mut body, 1000)?;
        Ok((head, bytes))
    }

    #[test]
    fn bodies_of_every_framing() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "abc"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: 1\r\n\r\nrest",
                "abcde",
            ),
            ("HTTP/1.0 200\n\nuntil close", "until close"),
            ("HTTP/1.1 204 No Content\r\n\r\nrest", ""),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nz", "z"),
        ] {
            let (_, body) = whole(text.as_bytes()).expect(text);
            assert_eq!(String::from_utf8_lossy(&body), expected);
        }
    }

    #[test]
    fn broken_answers_are_errors() {
        let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD));
        let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001));
        for text in [
            "",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnocolon\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: br\r\n\r\n",
            &endless,
            &large,
        ] {
            assert!(whole(text.as_bytes()).is_err(), "{:.60}", text);
        }
    }

    #[test]
    fn lines_end_with_the_stream() {
        let mut reader: &[u8] = b"a\r\n\nlast";
        let mut lines = Vec::new();
        while let Ok(Some(line)) = read_line(&mut reader) {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        assert_eq!(lines, ["a", "", "last"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), chunked: bool) {
            let head: &[u8] = if chunked { b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" } else { b"" };
            let _ = whole(&[head, &bytes].concat());
        }

        #[test]
        fn chunks_are_put_together_again(parts in proptest::collection::vec("[a-z]{1,20}", 0..8)) {
            let mut text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            for part in &parts {
                text.push_str(&format!("{:x}\r\n{part}\r\n", part.len()));
            }
            text.push_str("0\r\n\r\n");
            let (_, body) = whole(text.as_bytes()).expect("well formed");
            prop_assert_eq!(String::from_utf8_lossy(&body), parts.concat());
        }
    }
}
