use super::*;
use proptest::prelude::*;

fn members(body: &str, allowed: &[&str]) -> Result<Members, Problem> {
    Members::of(Json::parse(body.as_bytes())?, "", allowed)
}

#[test]
fn what_is_not_json_is_400_and_says_where() {
    let deep = "[".repeat(1000);
    let many = format!("[{}1]", "1,".repeat(70_000));
    for body in [
        "",
        "{",
        "{\"a\":1,}",
        "{\"a\":1}x",
        "nul",
        "\u{0}",
        "{\"a\":1,\"a\":2}",
        deep.as_str(),
        many.as_str(),
        "1e999",
    ] {
        let problem = Json::parse(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), Code::InvalidRequestBody, "{body:.20}");
        assert!(problem.detail().contains("line 1 column"), "{}", problem.detail());
    }
    assert!(Json::parse(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn an_unknown_member_is_named_with_those_allowed() {
    let problem = members("{\"a\":1,\"b\":2}", &["a", "c"]).unwrap_err();
    assert_eq!(problem.code(), Code::UnknownMember);
    let body: serde_json::Value = serde_json::from_str(&problem.body("/")).unwrap();
    assert_eq!(body["field"], "b");
    assert_eq!(body["allowed"], serde_json::json!(["a", "c"]));
}

#[test]
fn a_wrong_type_is_400_and_a_wrong_value_422() {
    let all = ["s", "b", "n", "f", "l", "m"];
    let body = r#"{"s":1,"b":"x","n":"1","f":true,"l":["a",2],"m":{"k":3}}"#;
    let mut m = members(body, &all).unwrap();
    for problem in [
        m.string("s").unwrap_err(),
        m.bool("b").unwrap_err(),
        m.whole("n", 0..=9).unwrap_err(),
        m.positive("f", 1.0).unwrap_err(),
        m.strings("l").unwrap_err(),
        m.texts("m").unwrap_err(),
    ] {
        assert_eq!(problem.code(), Code::InvalidRequestBody, "{}", problem.detail());
    }
    for (body, max) in [("{\"n\":10}", 9), ("{\"n\":-1}", 9), ("{\"n\":1.5}", 9), ("{\"n\":1e30}", u64::MAX)] {
        assert_eq!(members(body, &all).unwrap().whole("n", 0..=max).unwrap_err().code(), Code::InvalidValue, "{body}");
    }
    for body in ["{\"f\":0}", "{\"f\":-1}", "{\"f\":2}"] {
        assert_eq!(members(body, &all).unwrap().positive("f", 1.0).unwrap_err().code(), Code::InvalidValue, "{body}");
    }
}

#[test]
fn right_values_and_null() {
    let body = r#"{"s":"x","b":true,"n":7,"f":0.5,"l":["a"],"m":{"k":"v"},"z":null}"#;
    let mut m = members(body, &["s", "b", "n", "f", "l", "m", "z"]).unwrap();
    assert_eq!(m.string("s").unwrap().as_deref(), Some("x"));
    assert_eq!(m.bool("b").unwrap(), Some(true));
    assert_eq!(m.whole("n", 0..=9).unwrap(), Some(7));
    assert_eq!(m.positive("f", 1.0).unwrap(), Some(0.5));
    assert_eq!(m.strings("l").unwrap(), Some(vec!["a".to_owned()]));
    assert_eq!(m.texts("m").unwrap(), Some(vec![("k".to_owned(), "v".to_owned())]));
    assert_eq!(m.string("z").unwrap(), None);
    assert_eq!(m.string("gone").unwrap(), None);
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Json::parse(&body);
    }

    #[test]
    fn what_serde_takes_is_taken(text in "\\PC{0,40}", n in any::<i64>(), f in -1e9f64..1e9) {
        let body = serde_json::json!({"a": [text, n, f, null, {"b": {}}]}).to_string();
        prop_assert!(Json::parse(body.as_bytes()).is_ok());
    }
}
