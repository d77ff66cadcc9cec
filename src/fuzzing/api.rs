//! Readers of requests.

use super::problem::Problem;
use super::{guard, negotiate, query, start};
use crate::exec::StartRequest;
use axum::http::HeaderMap;

/// As [`start::parse`].
pub fn start(body: &[u8], waits: bool) -> Result<StartRequest, Problem> {
    start::parse(body, waits)
}

/// As [`negotiate::choose`].
pub fn choose(accept: Option<&str>, offers: &[(&'static str, &'static str)]) -> Option<usize> {
    negotiate::choose(accept, offers)
}

/// As [`query::unescape`].
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    query::unescape(text)
}

/// As [`guard::body`] on a route that takes JSON.
pub fn json_body(headers: &HeaderMap) -> Result<(), Problem> {
    guard::body(guard::Takes::Json, headers)
}

/// A query string.
pub struct Query(query::Query);

impl Query {
    /// As [`query::Query::parse`].
    pub fn parse(raw: &str) -> Result<Query, Problem> {
        query::Query::parse(Some(raw)).map(Query)
    }

    /// As [`query::Query::get`].
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    /// As [`query::Query::flag`].
    pub fn flag(&self, key: &str) -> Result<bool, Problem> {
        self.0.flag(key)
    }

    /// As [`query::Query::number`].
    pub fn number(&self, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        self.0.number(key, bounds)
    }

    /// The filter of the listing of executions: whether it is one.
    pub fn filters(&self) -> Result<(), Problem> {
        super::executions::filter(&self.0).map(drop)
    }
}
