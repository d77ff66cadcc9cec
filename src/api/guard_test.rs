use super::*;
use axum::http::HeaderValue;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn status(result: Result<(), Problem>) -> u16 {
    result.err().map_or(200, |p| p.code().status().as_u16())
}

fn rules() -> Rules {
    Rules {
        token: Some("s3cret".into()),
        guard_metrics: false,
        hosts: vec!["execd.example".into()],
        origins: vec!["https://console.example".into()],
    }
}

#[test]
fn the_token_is_found_in_both_headers_and_nowhere_else() {
    for (given, bearer) in [
        (vec![], Bearer::Absent),
        (vec![("x-execd-access-token", "s3cret")], Bearer::Entitled),
        (vec![("x-execd-access-token", "s3cre")], Bearer::Wrong),
        (vec![("x-execd-access-token", "")], Bearer::Wrong),
        (vec![("authorization", "Bearer s3cret")], Bearer::Entitled),
        (vec![("authorization", "bearer  s3cret ")], Bearer::Entitled),
        (vec![("authorization", "Basic s3cret")], Bearer::Absent),
        (vec![("authorization", "Bear")], Bearer::Absent),
        (vec![("x-execd-access-token", "no"), ("authorization", "Bearer s3cret")], Bearer::Wrong),
    ] {
        assert_eq!(rules().bearer(&headers(&given)), bearer, "{given:?}");
    }
    assert_eq!(Rules::default().bearer(&headers(&[])), Bearer::Entitled);
}

#[test]
fn what_is_open_and_what_is_guarded() {
    let guarding = Rules { guard_metrics: true, ..rules() };
    for (access, bearer, plain, guarded) in [
        (Access::Open, Bearer::Absent, 200, 200),
        (Access::Open, Bearer::Wrong, 200, 200),
        (Access::Metrics, Bearer::Absent, 200, 401),
        (Access::Metrics, Bearer::Entitled, 200, 200),
        (Access::Guarded, Bearer::Absent, 401, 401),
        (Access::Guarded, Bearer::Wrong, 401, 401),
        (Access::Guarded, Bearer::Entitled, 200, 200),
    ] {
        assert_eq!(status(rules().token(access, bearer)), plain, "{access:?} {bearer:?}");
        assert_eq!(status(guarding.token(access, bearer)), guarded, "{access:?} {bearer:?} guarded");
    }
}

#[test]
fn hosts() {
    for (host, expected) in [
        ("127.0.0.1:44772", 200),
        ("10.1.2.3", 200),
        ("[::1]:44772", 200),
        ("[fe80::1]", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("localhost.:80", 200),
        ("execd.example:1", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("user@127.0.0.1", 400),
        ("a b", 400),
        ("127.0.0.1:80x", 400),
        ("[::1", 400),
        (":80", 400),
    ] {
        let got = status(rules().host(Version::HTTP_11, &Uri::from_static("/"), &headers(&[("host", host)])));
        assert_eq!(got, expected, "{host}");
    }
    let none = headers(&[]);
    assert_eq!(status(rules().host(Version::HTTP_11, &Uri::from_static("/"), &none)), 400);
    assert_eq!(status(rules().host(Version::HTTP_10, &Uri::from_static("/"), &none)), 200);
    let absolute = Uri::from_static("http://evil.example/");
    assert_eq!(status(rules().host(Version::HTTP_11, &absolute, &headers(&[("host", "localhost")]))), 403);
}

#[test]
fn origins() {
    for (origin, expected) in [
        ("http://127.0.0.1:44772", 200),
        ("https://console.example", 200),
        ("http://127.0.0.1:8080", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ] {
        let got = status(
            rules().origin(&Uri::from_static("/"), &headers(&[("host", "127.0.0.1:44772"), ("origin", origin)])),
        );
        assert_eq!(got, expected, "{origin:?}");
    }
    assert_eq!(status(rules().origin(&Uri::from_static("/"), &headers(&[("host", "127.0.0.1")]))), 200);
}

#[test]
fn bodies() {
    let json = ("content-type", "application/json; charset=utf-8");
    for (takes, given, expected) in [
        (Takes::Json, vec![json, ("content-length", "5")], 200),
        (Takes::Json, vec![("content-type", "application/merge-patch+json"), ("content-length", "5")], 200),
        (Takes::Json, vec![("content-length", "5")], 415),
        (Takes::Json, vec![("transfer-encoding", "chunked")], 415),
        (Takes::Json, vec![("content-type", "text/plain"), ("content-length", "5")], 415),
        (Takes::Json, vec![("content-type", "application/x-www-form-urlencoded"), ("content-length", "5")], 415),
        (Takes::Json, vec![json, ("content-encoding", "gzip"), ("content-length", "5")], 415),
        (Takes::Json, vec![json, ("content-length", "2097153")], 413),
        (Takes::Json, vec![json, ("content-length", "2097152")], 200),
        (Takes::Nothing, vec![], 200),
        (Takes::Nothing, vec![("content-length", "0")], 200),
        (Takes::Nothing, vec![("content-type", "text/plain"), ("content-length", "1")], 415),
        (Takes::Raw, vec![("content-length", "99999999")], 200),
        (Takes::Raw, vec![("content-encoding", "gzip")], 415),
    ] {
        assert_eq!(status(body(takes, &headers(&given))), expected, "{takes:?} {given:?}");
    }
}

#[test]
fn a_debug_print_does_not_show_the_token() {
    assert!(!format!("{:?}", rules()).contains("s3cret"));
}
