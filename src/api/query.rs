//! Query strings: decoded pairs, and typed errors for values that are not what a parameter takes.

use super::problem::{Code, Problem};

/// More pairs than this are refused.
const PAIRS_MAX: usize = 64;

/// The decoded pairs of a query string in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d`; `+` is a space.
    ///
    /// # Errors
    /// 400 for a broken escape, bytes that are not UTF-8, or more than 64 pairs.
    pub(super) fn parse(raw: Option<&str>) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for part in raw.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(bad("the query has more than 64 parameters"));
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Query(pairs))
    }

    /// Refuses parameters that the route does not know.
    ///
    /// # Errors
    /// 422 naming the parameter and those allowed.
    pub(super) fn only(&self, allowed: &[&str]) -> Result<(), Problem> {
        let Some((key, _)) = self.0.iter().find(|(key, _)| !allowed.contains(&key.as_str())) else { return Ok(()) };
        let known = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        Err(Problem::new(Code::UnknownMember, format!("no parameter {key:?}; allowed: {known}"))
            .with("field", key.as_str())
            .with("allowed", allowed.to_vec()))
    }

    /// The last value of a parameter.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A flag: absent is false; bare, `true` and `1` are true.
    ///
    /// # Errors
    /// 422 for anything but these, `false` and `0`.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Problem> {
        match self.get(key) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(invalid(key, other, "true or false")),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 422 naming the parameter and the bounds.
    pub(super) fn number(&self, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(value) if bounds.contains(&value) => Ok(Some(value)),
            _ => Err(invalid(key, text, &format!("a whole number from {} to {}", bounds.start(), bounds.end()))),
        }
    }

    /// One of a list of words.
    ///
    /// # Errors
    /// 422 naming the parameter and the words.
    pub(super) fn word(&self, key: &str, words: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let known = words.iter().copied().find(|w| w.eq_ignore_ascii_case(text));
        known.map(Some).ok_or_else(|| invalid(key, text, &words.join(", ")).with("allowed", words.to_vec()))
    }
}

/// 422 for a parameter.
pub(super) fn invalid(key: &str, given: &str, allowed: &str) -> Problem {
    Problem::new(Code::InvalidValue, format!("{key}={given:?} is not allowed; {key} takes {allowed}"))
        .with("field", key)
}

fn bad(detail: &str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

fn decode(text: &str) -> Result<String, Problem> {
    let plain = unescape(&text.replace('+', " ")).ok_or_else(|| bad("the query has a broken % escape"))?;
    String::from_utf8(plain).map_err(|_| bad("the query is not UTF-8"))
}

/// The bytes that `%2F` and its like stand for; `None` when an escape is broken.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        out.push(if escaped { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte });
    }
    Some(out)
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_decoded_and_the_last_value_wins() {
        let query = Query::parse(Some("a=1&b=x+y%2Fz&a=2&flag&&e=")).unwrap();
        assert_eq!(query.get("a"), Some("2"));
        assert_eq!(query.get("b"), Some("x y/z"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("none"), None);
    }

    #[test]
    fn wrong_ones_are_named() {
        assert_eq!(Query::parse(Some("a=%zz")).unwrap_err().code(), Code::BadRequest);
        assert_eq!(Query::parse(Some("a=%ff")).unwrap_err().code(), Code::BadRequest);
        assert_eq!(Query::parse(Some(&"a&".repeat(65))).unwrap_err().code(), Code::BadRequest);
        let query = Query::parse(Some("n=99&w=maybe&x=1")).unwrap();
        assert_eq!(query.only(&["n", "w"]).unwrap_err().code(), Code::UnknownMember);
        assert_eq!(query.number("n", 0..=10).unwrap_err().code(), Code::InvalidValue);
        assert_eq!(query.number("n", 0..=99).unwrap(), Some(99));
        assert_eq!(query.flag("w").unwrap_err().code(), Code::InvalidValue);
        assert_eq!(query.word("w", &["yes", "MAYBE"]).unwrap(), Some("MAYBE"));
        assert!(query.word("w", &["yes"]).is_err());
    }

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescape("a%2Fb+%c3").as_deref(), Some(&b"a/b+\xc3"[..]));
        assert_eq!((unescape("%2"), unescape("%zz"), unescape("%")), (None, None, None));
    }

    proptest! {
        #[test]
        fn no_query_panics(raw in "\\PC{0,200}") {
            let _ = Query::parse(Some(&raw));
        }
    }
}
