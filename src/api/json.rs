//! Strict JSON requests: bounded, without duplicate names, and every refusal names the member and what is allowed.
//!
//! A body becomes a [`Json`] tree of bounded size first (malformed or too deep: 400), then [`Members`] reads it member by member: an
//! unknown name is 422, a wrong type 400.

use super::problem::{Code, Problem};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::cell::Cell;
use std::fmt;

/// Values in one body. A value takes some tens of bytes in memory and as little as two on the wire; this bounds the ratio.
const VALUES_MAX: u32 = 65_536;

/// A JSON value; objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// a number
    Number(Number),
    /// text
    String(String),
    /// a list
    Array(Vec<Json>),
    /// named members
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a whole body.
    ///
    /// # Errors
    /// 400 with line and column for what is not JSON, is nested deeper than 128, repeats a name or has more than 65,536 values.
    pub(super) fn parse(body: &[u8]) -> Result<Json, Problem> {
        let malformed =
            |e: serde_json::Error| Problem::new(Code::InvalidRequestBody, format!("the body is not usable: {e}"));
        let left = Cell::new(VALUES_MAX);
        let mut reader = serde_json::Deserializer::from_slice(body);
        let value = Bounded(&left).deserialize(&mut reader).map_err(malformed)?;
        reader.end().map_err(malformed)?;
        Ok(value)
    }

    const fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

#[derive(Clone, Copy)]
struct Bounded<'a>(&'a Cell<u32>);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        let left = self.0.get();
        if left == 0 {
            return Err(de::Error::custom(format!("more than {VALUES_MAX} values")));
        }
        self.0.set(left - 1);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = from.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format!("the name {name:?} stands twice")));
            }
            members.push((name, from.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

/// An object that is taken apart member by member. `null` counts as absent.
#[derive(Debug)]
pub(super) struct Members {
    path: String,
    members: Vec<(String, Json)>,
}

impl Members {
    /// Begins with an object and the names that it may have.
    ///
    /// # Errors
    /// 400 when it is no object, 422 naming the first unknown member and those allowed.
    pub(super) fn of(value: Json, path: &str, allowed: &[&str]) -> Result<Self, Problem> {
        let Json::Object(members) = value else { return Err(wrong_type(path, "an object", &value)) };
        if let Some((name, _)) = members.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            let field = join(path, name);
            let detail = format!("no member {field:?}; allowed: {}", allowed.join(", "));
            let problem = Problem::new(Code::UnknownMember, detail).with("field", field);
            return Err(problem.with("allowed", allowed.to_vec()));
        }
        Ok(Self { path: path.to_owned(), members })
    }

    /// The path of a member, e.g. `limits.pids`.
    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Takes a member of any type.
    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.members.iter().position(|(n, _)| n == name)?;
        Some(self.members.swap_remove(at).1).filter(|v| *v != Json::Null)
    }

    /// Text.
    ///
    /// # Errors
    /// 400 for another type.
    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.path(name), "a string", &other)),
        }
    }

    /// A flag.
    ///
    /// # Errors
    /// 400 for another type.
    pub(super) fn bool(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(&self.path(name), "a boolean", &other)),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 400 for another type, 422 for a number outside of the bounds or with a fraction.
    pub(super) fn whole(&mut self, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Json::Number(number)) => number,
            Some(other) => return Err(wrong_type(&self.path(name), "a whole number", &other)),
        };
        match number.as_u64() {
            Some(value) if bounds.contains(&value) => Ok(Some(value)),
            _ => {
                let allowed = format!("a whole number from {} to {}", bounds.start(), bounds.end());
                Err(invalid(&self.path(name), &number.to_string(), &allowed))
            }
        }
    }

    /// A number above 0, at most `max`.
    ///
    /// # Errors
    /// 400 for another type, 422 for a number outside of the bounds.
    pub(super) fn positive(&mut self, name: &str, max: f64) -> Result<Option<f64>, Problem> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Json::Number(number)) => number,
            Some(other) => return Err(wrong_type(&self.path(name), "a number", &other)),
        };
        match number.as_f64() {
            Some(value) if value > 0.0 && value <= max => Ok(Some(value)),
            _ => Err(invalid(&self.path(name), &number.to_string(), &format!("a number above 0, at most {max}"))),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// 400 for another type.
    pub(super) fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Json::Array(items)) => items,
            Some(other) => return Err(wrong_type(&self.path(name), "an array of strings", &other)),
        };
        let path = self.path(name);
        let text = |(n, item): (usize, Json)| match item {
            Json::String(text) => Ok(text),
            other => Err(wrong_type(&format!("{path}[{n}]"), "a string", &other)),
        };
        items.into_iter().enumerate().map(text).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// An object of texts, in its order.
    ///
    /// # Errors
    /// 400 for another type.
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<(String, String)>>, Problem> {
        let members = match self.take(name) {
            None => return Ok(None),
            Some(Json::Object(members)) => members,
            Some(other) => return Err(wrong_type(&self.path(name), "an object of strings", &other)),
        };
        let path = self.path(name);
        let text = |(key, value): (String, Json)| match value {
            Json::String(text) => Ok((key, text)),
            other => Err(wrong_type(&join(&path, &key), "a string", &other)),
        };
        members.into_iter().map(text).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

/// 422 for a member.
pub(super) fn invalid(field: &str, given: &str, allowed: &str) -> Problem {
    let detail = format!("{field} is {given}, which is not allowed; {field} takes {allowed}");
    Problem::new(Code::InvalidValue, detail).with("field", field)
}

fn wrong_type(field: &str, expected: &str, given: &Json) -> Problem {
    let name = if field.is_empty() { "the body" } else { field };
    Problem::new(Code::InvalidRequestBody, format!("{name} must be {expected}, not {}", given.kind()))
        .with("field", field)
        .with("expected", expected)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
#[path = "json_test.rs"]
mod tests;
