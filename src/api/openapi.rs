//! `GET /openapi.json`: the API document. It is written by people in `proto/openapi.yaml`; `proto/to-json` makes the JSON from it, and
//! tests keep document, JSON and route table in step.

use super::Api;
use super::problem::Problem;
use super::routes::Asked;
use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};

const DOCUMENT: &str = include_str!("../../proto/openapi.json");

/// The handler.
pub(super) fn document(_: &Api, _: &Asked<'_>) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::from(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Code, endpoints};
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn the_document_and_the_router_know_the_same_routes() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                described.insert((path.clone(), method.to_ascii_uppercase()));
            }
        }
        // HEAD comes with GET.
        let routed = endpoints().filter(|e| e.method != "HEAD").map(|e| (e.route.to_owned(), e.method.to_owned()));
        assert_eq!(described, routed.collect::<BTreeSet<_>>());
    }

    #[test]
    fn every_code_is_in_the_document() {
        let listed = document()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].clone();
        let ours: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(listed, serde_json::json!(ours));
    }

    #[test]
    fn the_embedded_json_is_what_people_wrote_in_yaml() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/to-json");
        let Ok(output) = std::process::Command::new("python3").args([script, "--check"]).output() else {
            eprintln!("SKIPPED: no python3");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("No module named 'yaml'") {
            eprintln!("SKIPPED: python3 has no yaml module");
            return;
        }
        assert!(output.status.success(), "{said}");
    }
}
