//! What the daemon reads of a request's head: query strings, paths, `Accept`, `Host`, `Origin`, the token, and what it says of its body.
#![no_main]

use execd::api::Rules;
use execd::fuzzing::api::{self, Query};
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Uri, Version};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(query) = execd_fuzz::within(64 * text.len() + 4096, || Query::parse(text)) {
        assert!(
            query.number("limit", 1..=9).is_ok_and(|limit| limit.is_none_or(|limit| limit < 10))
                || query.get("limit").is_some()
        );
        assert!(query.flag("follow").is_ok() || query.get("follow").is_some());
        let _ = query.filters();
    }
    if let Some(plain) = api::unescape(text) {
        assert!(plain.len() <= text.len());
        assert!(text.contains('%') || plain == text.as_bytes());
        let escaped: String = plain.iter().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(api::unescape(&escaped), Some(plain));
    }

    let offers = [("application", "json"), ("text", "plain"), ("application", "openmetrics-text")];
    let chosen = api::choose(Some(text), &offers);
    assert!(chosen.is_none_or(|chosen| chosen < offers.len()));
    // More on offer never leaves a client with nothing.
    assert!(api::choose(Some(text), &offers[..2]).is_none() || chosen.is_some());

    let Ok(value) = HeaderValue::from_str(text) else { return };
    let rules = Rules {
        token: Some("secret".to_owned()),
        hosts: vec!["box.example".to_owned()],
        origins: vec!["https://console.example".to_owned()],
        ..Rules::default()
    };
    let mut headers = HeaderMap::new();
    for name in [HOST, ORIGIN, ACCEPT, CONTENT_TYPE, CONTENT_LENGTH] {
        headers.insert(name, value.clone());
    }
    headers.insert("authorization", value.clone());
    let uri = Uri::from_static("/");
    if !text.is_empty() && value.to_str().is_ok() {
        assert_eq!(rules.host(Version::HTTP_11, &uri, &headers).is_ok(), rules.is_ours(text), "the early path agrees");
    }
    let _ = (rules.origin(&uri, &headers), rules.bearer(&headers), api::json_body(&headers));
});
