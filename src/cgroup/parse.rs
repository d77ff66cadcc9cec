//! The formats of kernel files, as pure functions over bytes: no I/O, no allocation, no panic on any input.

use serde::{Deserialize, Serialize};

/// A limit as the kernel states it. A file that is not there is `Option::None` around it, which is another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// A number in the unit of the file.
    At(u64),
    /// `max`, −1, or v1's "counter at its end".
    Unlimited,
}

impl Limit {
    /// The number, if there is one.
    pub const fn number(self) -> Option<u64> {
        match self {
            Limit::At(n) => Some(n),
            Limit::Unlimited => None,
        }
    }
}

/// From here on a v1 memory limit means "none": the kernel shows `PAGE_COUNTER_MAX` in bytes, which is 2^63 less one page of
/// 4, 16 or 64 KiB (9223372036854771712 on x86). No machine has half of that, so the exact page size does not matter.
const V1_NO_LIMIT: u64 = 1 << 62;

/// CPU bandwidth: `quota` µs in each period of `period_us` µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// µs of CPU time per period.
    pub quota: Limit,
    /// Length of a period in µs, never 0.
    pub period_us: u64,
}

impl CpuMax {
    /// The rate in cores, `None` when unlimited.
    pub fn cores(self) -> Option<f64> {
        self.quota.number().map(|q| q as f64 / self.period_us as f64)
    }
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PsiLine {
    /// Share of the last 10 s in which tasks stalled, 0–100.
    pub avg10: f64,
    /// Time stalled since the group exists, in µs.
    pub total_us: u64,
}

/// A pressure file (Documentation/accounting/psi.rst). `cpu.pressure` of kernels before 5.13 has no `full` line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Psi {
    /// At least one task stalled.
    pub some: Option<PsiLine>,
    /// All tasks stalled at once.
    pub full: Option<PsiLine>,
}

/// `bytes` up to and with the last newline.
pub fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    &bytes[..end]
}

/// One unsigned decimal number with white space around it. `None` for anything else, also when it does not fit.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

/// A limit: a number, `max` (v2), `-1` (v1 CPU quota) or v1's huge number.
pub fn limit(bytes: &[u8]) -> Option<Limit> {
    match bytes.trim_ascii() {
        b"max" | b"-1" => Some(Limit::Unlimited),
        other => number(other).map(|n| if n >= V1_NO_LIMIT { Limit::Unlimited } else { Limit::At(n) }),
    }
}

/// v2 `cpu.max`: quota or `max`, then the period; the kernel accepts and may show the quota alone (period 100 ms).
pub fn cpu_max(bytes: &[u8]) -> Option<CpuMax> {
    let mut words = words(bytes);
    let quota = limit(words.next()?)?;
    let period_us = words.next().map_or(Some(100_000), number)?;
    (period_us > 0).then_some(CpuMax { quota, period_us })
}

/// The values of `keys` in lines of key and number. Missing, repeated-later or malformed ones do not disturb the others.
pub fn keyed<const N: usize>(bytes: &[u8], keys: &[&str; N]) -> [Option<u64>; N] {
    let mut values = [None; N];
    let mut left = N;
    for line in lines(bytes) {
        let Some((key, value)) = split_once(line, b' ') else {
            continue;
        };
        let Some(at) = keys.iter().position(|k| k.as_bytes() == key) else {
            continue;
        };
        if values[at].is_none() {
            values[at] = number(value);
            left -= usize::from(values[at].is_some());
        }
        if left == 0 {
            break;
        }
    }
    values
}

/// A pressure file; `None` when it has neither a `some` nor a `full` line.
pub fn psi(bytes: &[u8]) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in lines(bytes) {
        match split_once(line, b' ') {
            Some((b"some", rest)) => psi.some = psi_line(rest),
            Some((b"full", rest)) => psi.full = psi_line(rest),
            _ => {}
        }
    }
    (psi.some.is_some() || psi.full.is_some()).then_some(psi)
}

fn psi_line(rest: &[u8]) -> Option<PsiLine> {
    let mut avg10 = None;
    let mut total_us = None;
    for word in words(rest) {
        match split_once(word, b'=') {
            Some((b"avg10", value)) => avg10 = percent(value),
            Some((b"total", value)) => total_us = number(value),
            _ => {}
        }
    }
    Some(PsiLine { avg10: avg10?, total_us: total_us? })
}

/// A decimal share between 0 and 100. "inf", "nan" and negative ones are no shares.
fn percent(bytes: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (0.0..=100.0).contains(&value).then_some(value)
}

/// The lines without their ends; no empty ones.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

/// The words between white space.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Before and after the first `separator`.
pub fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        let table: [(&[u8], Option<u64>); 9] = [
            (b"0\n", Some(0)),
            (b" 42 \n", Some(42)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"\n", None),
            (b"-1", None),
            (b"1 2", None),
            (b"0x10", None),
        ];
        for (text, expected) in table {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn limits() {
        let table: [(&[u8], Option<Limit>); 7] = [
            (b"max\n", Some(Limit::Unlimited)),
            (b"-1\n", Some(Limit::Unlimited)),
            (b"9223372036854771712\n", Some(Limit::Unlimited)),
            (b"9223372036854710272\n", Some(Limit::Unlimited)),
            (b"0\n", Some(Limit::At(0))),
            (b"268435456\n", Some(Limit::At(268_435_456))),
            (b"maximum", None),
        ];
        for (text, expected) in table {
            assert_eq!(limit(text), expected, "{text:?}");
        }
        assert!(Limit::At(u64::MAX) < Limit::Unlimited, "so that a plain min() is the tighter one");
    }

    #[test]
    fn cpu_bandwidth() {
        assert_eq!(cpu_max(b"50000 100000\n").unwrap().cores(), Some(0.5));
        assert_eq!(cpu_max(b"max 100000\n").unwrap().cores(), None);
        assert_eq!(cpu_max(b"200000\n").unwrap().cores(), Some(2.0));
        for bad in [&b""[..], b"max 0", b"1 x", b"x 1"] {
            assert_eq!(cpu_max(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_in_any_order_with_gaps() {
        let text = b"anon 1\nfile 2\nbroken\nshmem x\nanon 9\nslab 3";
        assert_eq!(keyed(text, &["slab", "shmem", "anon", "none"]), [Some(3), None, Some(1), None]);
        let oom = b"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(keyed(oom, &["oom_kill"]), [Some(2)]);
    }

    #[test]
    fn pressure() {
        let both =
            psi(b"some avg10=1.25 avg60=0.00 avg300=0.00 total=17\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
        assert_eq!(both.unwrap().some, Some(PsiLine { avg10: 1.25, total_us: 17 }));
        assert_eq!(psi(b"some avg10=0.50 total=1\n").unwrap().full, None);
        for bad in [&b""[..], b"some avg10=nan total=1", b"some avg10=101 total=1", b"some total=1", b"avg10=1 total=1"]
        {
            assert_eq!(psi(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = (number(&bytes), limit(&bytes), cpu_max(&bytes), whole_lines(&bytes));
            let _ = keyed(&bytes, &["a", ""]);
            if let Some(p) = psi(&bytes) {
                prop_assert!(p.some.into_iter().chain(p.full).all(|l| (0.0..=100.0).contains(&l.avg10)));
            }
        }

        #[test]
        fn no_panic_on_text_that_looks_right(text in "(some|full|max|anon|[0-9]{1,25}|avg10=|total=|-|\\.|[ \n]){0,40}") {
            let bytes = text.as_bytes();
            let _ = (number(bytes), limit(bytes), cpu_max(bytes), psi(bytes), keyed(bytes, &["anon"]));
        }

        #[test]
        fn every_number_comes_back(n: u64) {
            prop_assert_eq!(number(n.to_string().as_bytes()), Some(n));
        }
    }
}
