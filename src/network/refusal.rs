//! What a client is told when its request does not go through: RFC 9457 problems that also carry `code` and `message`.

use super::egress::{Egress, Verdict};
use hyper::StatusCode;
use serde_json::{Map, Value};

/// Why a request does not go through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be understood by a proxy.
    #[error("{0}")]
    Malformed(&'static str),
    /// By the list of domains, or by the address that the name leads to.
    #[error("{to} is not among the allowed domains{why}")]
    Domain {
        /// host and port
        to: String,
        /// empty, or more about it
        why: &'static str,
    },
    /// The limit is reached.
    #[error("the limit of network requests is reached; {to} was not contacted")]
    Limit {
        /// host and port
        to: String,
    },
    /// The name has no address, or nobody answers there.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody took too long.
    #[error("{0}")]
    TooSlow(String),
}

impl Refusal {
    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        self.row().0
    }

    /// Status, code, title, and the word in `reason`.
    fn row(&self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, "BAD_REQUEST", "The request is malformed", "malformed"),
            Refusal::Domain { .. } => (
                StatusCode::FORBIDDEN,
                "DOMAIN_NOT_ALLOWED",
                "The destination is not allowed",
                Verdict::Domain.as_str(),
            ),
            Refusal::Limit { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "NETWORK_LIMIT_REACHED",
                "The limit of network requests is reached",
                "network_limit",
            ),
            Refusal::Unreachable(_) => {
                (StatusCode::BAD_GATEWAY, "UPSTREAM_FAILED", "The destination cannot be reached", "upstream")
            }
            Refusal::TooSlow(_) => {
                (StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", "The destination took too long", "upstream")
            }
        }
    }

    /// The JSON object.
    pub fn body(&self, egress: &Egress) -> String {
        let (status, code, title, reason) = self.row();
        let (limit, used) = egress.budget();
        let detail = self.to_string();
        let mut all = Map::new();
        all.insert("type".into(), format!("urn:execd:problem:{}", code.to_ascii_lowercase()).into());
        all.insert("title".into(), title.into());
        all.insert("status".into(), status.as_u16().into());
        all.insert("detail".into(), detail.clone().into());
        all.insert("code".into(), code.into());
        all.insert("message".into(), detail.into());
        all.insert("reason".into(), reason.into());
        all.insert("limit".into(), limit.into());
        all.insert("used".into(), used.into());
        Value::Object(all).to_string()
    }

    /// The whole answer as bytes, after which the connection is closed.
    pub(super) fn raw(&self, egress: &Egress) -> Vec<u8> {
        let (status, body) = (self.status(), self.body(egress));
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// The content type of problems.
pub(super) const PROBLEM: &str = "application/problem+json";

#[cfg(test)]
mod tests {
    use super::super::egress::tests::egress;
    use super::super::host::Host;
    use super::*;

    #[test]
    fn a_problem_names_reason_limit_and_used() {
        let (egress, _) = egress(&["a.example"], Some(1));
        let host = Host::Name("a.example".to_owned());
        egress.judge(&host, 80);
        let refusal = Refusal::Limit { to: "a.example:80".to_owned() };
        let body: Value = serde_json::from_str(&refusal.body(&egress)).unwrap();
        assert_eq!((&body["status"], &body["limit"], &body["used"]), (&429.into(), &1.into(), &1.into()));
        assert_eq!((&body["reason"], &body["code"]), (&"network_limit".into(), &"NETWORK_LIMIT_REACHED".into()));
        assert_eq!(body["message"], body["detail"]);
        assert!(refusal.raw(&egress).starts_with(b"HTTP/1.1 429 Too Many Requests\r\n"));
    }
}
