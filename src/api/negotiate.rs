//! `Accept`: which of the forms that a route can give the client wants most (RFC 9110, 12.5.1). Pure.

/// A form on offer, e.g. (`application`, `json`).
pub(super) type Offer = (&'static str, &'static str);

/// The number of the offer that the header ranks highest; among equals the earlier offer wins. Without a header it is the first.
/// `None` means that every offer is refused. Parameters other than `q` are not looked at.
pub(super) fn choose(accept: Option<&str>, offers: &[Offer]) -> Option<usize> {
    let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else { return Some(0) };
    let mut best: Option<(usize, u16)> = None;
    for (n, offer) in offers.iter().enumerate() {
        let quality = quality(accept, *offer);
        if quality > 0 && best.is_none_or(|(_, b)| quality > b) {
            best = Some((n, quality));
        }
    }
    best.map(|(n, _)| n)
}

/// The quality 0–1000 of the most specific range that matches.
fn quality(accept: &str, (kind, sub): Offer) -> u16 {
    let mut found = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let Some((k, s)) = parts.next().and_then(|m| m.split_once('/')) else { continue };
        let specific = match (k, s) {
            ("*", "*") => 1,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 2,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(sub) => 3,
            _ => continue,
        };
        let q = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="))).map_or(1000, thousandths);
        if specific > found.0 || (specific == found.0 && q > found.1) {
            found = (specific, q);
        }
    }
    found.1
}

fn thousandths(text: &str) -> u16 {
    let value = text.trim().parse::<f64>().unwrap_or(0.0);
    // Clamped to 0..=1000 just before.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if value.is_finite() { (value.clamp(0.0, 1.0) * 1000.0).round() as u16 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFERS: [Offer; 3] = [("application", "json"), ("text", "plain"), ("application", "openmetrics-text")];

    #[test]
    fn real_clients_get_what_they_mean() {
        for (accept, expected) in [
            (None, Some(0)),
            (Some(""), Some(0)),
            (Some("*/*"), Some(0)),
            (Some("application/json"), Some(0)),
            (Some("text/plain"), Some(1)),
            (Some("text/*;q=0.5, application/json;q=0.1"), Some(1)),
            // Prometheus 2.x and 3.x
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Some(2),
            ),
            (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Some(1)),
            // a browser
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Some(0)),
            (Some("application/json;q=0"), None),
            (Some("application/json;q=0, */*"), Some(1)),
            (Some("image/png"), None),
            (Some("APPLICATION/JSON"), Some(0)),
            (Some("garbage"), None),
            (Some("text/plain;q=nan, application/json;q=0.001"), Some(0)),
        ] {
            assert_eq!(choose(accept, &OFFERS), expected, "{accept:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(accept in ".{0,200}") {
            let _ = choose(Some(&accept), &OFFERS);
        }
    }
}
