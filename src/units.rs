//! Sizes and durations as people write them, and back.
//!
//! Pure text to numbers. Which setting a number belongs to, and whether it may be zero, is not known here.
//!
//! Sizes follow GNU coreutils (`dd`, `split`): `K`, `KiB` are 1024, `KB` is 1000, a bare number is bytes.
//! Durations follow Go and systemd: parts from large to small, each with its unit.

use thiserror::Error;

/// Why a size or a duration was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Nothing there.
    #[error("is empty; write for example {example}")]
    Empty {
        /// A value that would be right.
        example: &'static str,
    },
    /// Not a number where one is due.
    #[error("{text:?} is not a number with a unit; write for example {example}")]
    NotANumber {
        /// What was written.
        text: String,
        /// A value that would be right.
        example: &'static str,
    },
    /// The unit is not one that we know.
    #[error("{unit:?} is not a unit here; use one of {known}")]
    Unit {
        /// The unit as written.
        unit: String,
        /// The units that would be right.
        known: &'static str,
    },
    /// Parts of a duration in the wrong order, or one unit twice.
    #[error("{text:?} must name each unit once, from large to small, like 1h30m")]
    Order {
        /// What was written.
        text: String,
    },
    /// Finer than the smallest unit.
    #[error("{text:?} is finer than {finest}")]
    TooFine {
        /// What was written.
        text: String,
        /// The smallest unit.
        finest: &'static str,
    },
    /// More than 64 bits hold.
    #[error("{text:?} is too large")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

const BYTES_EXAMPLE: &str = "64MiB";
const BYTES_UNITS: &str = "B, K, M, G, T, KiB, MiB, GiB, TiB (1024), KB, MB, GB, TB (1000)";
const TIME_EXAMPLE: &str = "1m30s";
const TIME_UNITS: &str = "ms, s, m, h, d";

/// A fraction is read to this many digits; more would overflow the exact arithmetic and mean nothing.
const MAX_FRACTION_DIGITS: usize = 9;

/// Reads a size in bytes: `4096`, `64MiB`, `1G`, `500k`, `1.5GiB`. The fraction of a byte is dropped.
///
/// # Errors
/// [`UnitError`] when it is empty, has an unknown unit or a sign, or does not fit 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let (number, unit) = leading_number(text, BYTES_EXAMPLE)?;
    let factor = byte_factor(unit).ok_or_else(|| UnitError::Unit { unit: unit.to_owned(), known: BYTES_UNITS })?;
    let scaled = number.scale(factor).ok_or_else(|| UnitError::TooLarge { text: text.to_owned() })?;
    if scaled.remainder && factor == 1 {
        return Err(UnitError::TooFine { text: text.to_owned(), finest: "one byte" });
    }
    Ok(scaled.whole)
}

/// Reads a duration in milliseconds: `250ms`, `1s`, `1.5s`, `2m`, `1h30m`; a bare `0` needs no unit.
///
/// # Errors
/// [`UnitError`] when it is empty, has no or an unknown unit, is finer than 1 ms, or does not fit 64 bits.
pub fn parse_duration_ms(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    let too_large = || UnitError::TooLarge { text: text.to_owned() };
    let mut rest = text;
    let mut total: u64 = 0;
    let mut previous = u64::MAX;
    loop {
        let (number, tail) = leading_number(rest, TIME_EXAMPLE)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let factor =
            duration_factor(unit).ok_or_else(|| UnitError::Unit { unit: unit.to_owned(), known: TIME_UNITS })?;
        if factor >= previous {
            return Err(UnitError::Order { text: text.to_owned() });
        }
        previous = factor;
        let scaled = number.scale(factor).ok_or_else(too_large)?;
        if scaled.remainder {
            return Err(UnitError::TooFine { text: text.to_owned(), finest: "one millisecond" });
        }
        total = total.checked_add(scaled.whole).ok_or_else(too_large)?;
        if next.is_empty() {
            return Ok(total);
        }
        rest = next;
    }
}

/// Writes a size for people: at most one decimal, rounded to nearest, e.g. `1.5 GiB`, `64 MiB`, `512 B`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for candidate in UNITS {
        // 10235 tenths would print as 1023.5; from 10239.5 on it would print as 1024.0, which is the next unit's 1.
        if tenths < 10_240 && unit != "B" {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = candidate;
    }
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        fraction => format!("{}.{fraction} {unit}", tenths / 10),
    }
}

/// Writes a size so that [`parse_bytes`] gives back exactly the same number, e.g. `64MiB`, `1000`.
pub fn format_bytes_exact(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Writes a duration so that [`parse_duration_ms`] gives back exactly the same number, e.g. `1h30m`, `1.5s`, `250ms`.
pub fn format_duration_ms(ms: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m")];
    if ms < 1000 {
        return if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") };
    }
    let mut text = String::new();
    let mut rest = ms;
    for (factor, unit) in UNITS {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if rest > 0 {
        let fraction = format!("{:03}", rest % 1000);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        text.push_str(&format!("{}{dot}{fraction}s", rest / 1000));
    }
    text
}

fn byte_factor(unit: &str) -> Option<u64> {
    Some(match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

fn duration_factor(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

/// A decimal number, exactly as written: `1.5` is 15 over 10.
struct Decimal {
    digits: u64,
    divisor: u64,
}

struct Scaled {
    whole: u64,
    remainder: bool,
}

impl Decimal {
    fn scale(&self, factor: u64) -> Option<Scaled> {
        let product = u128::from(self.digits) * u128::from(factor);
        let divisor = u128::from(self.divisor);
        Some(Scaled { whole: u64::try_from(product / divisor).ok()?, remainder: product % divisor != 0 })
    }
}

/// Splits `1.5GiB` into the number and `GiB`. A number is digits, and a point only between digits.
fn leading_number<'a>(text: &'a str, example: &'static str) -> Result<(Decimal, &'a str), UnitError> {
    if text.is_empty() {
        return Err(UnitError::Empty { example });
    }
    let not_a_number = || UnitError::NotANumber { text: text.to_owned(), example };
    let too_large = || UnitError::TooLarge { text: text.to_owned() };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction.trim_end_matches('0')),
        Some(_) => return Err(not_a_number()),
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return Err(not_a_number());
    }
    if fraction.len() > MAX_FRACTION_DIGITS {
        return Err(UnitError::TooFine { text: text.to_owned(), finest: "nine decimal places" });
    }
    let divisor = (0..fraction.len()).fold(1_u64, |power, _| power * 10);
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let part: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| not_a_number())? };
    let digits = whole.checked_mul(divisor).and_then(|w| w.checked_add(part)).ok_or_else(too_large)?;
    Ok((Decimal { digits, divisor }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1G", 1 << 30),
            ("500k", 500 << 10),
            ("500KB", 500_000),
            ("1.5GiB", 3 << 29),
            ("1.50Gi", 3 << 29),
            ("0.1KiB", 102),
            (" 7b ", 7),
            ("2TB", 2_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_refused() {
        for text in ["", " ", "-1", "+1", "MiB", "1.5", "1.", ".5M", "1..5M", "1e3", "1X", "16777216TiB", "1 2", "0x10"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        let message = parse_bytes("3 apples").map_err(|e| e.to_string());
        assert!(message.is_err_and(|m| m.contains("MiB")), "the message names the units");
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("1s", 1000),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1m0.25s", 60_250),
            ("1d", 86_400_000),
            ("5min", 300_000),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn durations_that_are_refused() {
        for text in ["", "1", "1000", "-1s", "1s1m", "1s1s", "0.5ms", "1h 30m", "s", "1y", "5us", "300000000000000d"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            ((1 << 20) - 1, "1 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn durations_for_people() {
        for (ms, text) in [
            (0, "0s"),
            (999, "999ms"),
            (1500, "1.5s"),
            (60_000, "1m"),
            (60_250, "1m0.25s"),
            (5_400_000, "1h30m"),
            (86_400_001, "1d0.001s"),
        ] {
            assert_eq!(format_duration_ms(ms), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in "\\PC{0,40}") {
            let _ = parse_bytes(&text);
            let _ = parse_duration_ms(&text);
        }

        #[test]
        fn what_is_written_is_read_back(value: u64) {
            prop_assert_eq!(parse_bytes(&format_bytes_exact(value)), Ok(value));
            prop_assert_eq!(parse_duration_ms(&format_duration_ms(value)), Ok(value));
        }

        #[test]
        fn any_number_with_a_unit_is_exact_or_refused(whole in 0_u64..1 << 50, shift in 0_usize..3) {
            let unit = ["KiB", "MiB", "GiB"][shift];
            let expected = u128::from(whole) << (10 * (shift + 1));
            let read = parse_bytes(&format!("{whole}{unit}"));
            match u64::try_from(expected) {
                Ok(bytes) => prop_assert_eq!(read, Ok(bytes)),
                Err(_) => prop_assert!(read.is_err()),
            }
        }

        #[test]
        fn sizes_for_people_stay_close(bytes in 1024_u64..1 << 60) {
            let text = format_bytes(bytes);
            let back = parse_bytes(&text.replace("PiB", "TiB").replace("EiB", "TiB"));
            prop_assert!(back.is_ok(), "{}", text);
        }
    }
}
