//! JSON as it was written: an object keeps its members in order, those given twice included.
//!
//! `serde_json::Value` would keep the last of two equal keys, so two readers of one body could see different things.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::problem::{FieldCode, FieldError};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// A whole number; `None` for any other.
    Number(Option<i64>),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Notes each member that is given twice, at any depth.
    pub(crate) fn duplicates(&self, pointer: &mut String, errors: &mut Vec<FieldError>) {
        let length = pointer.len();
        match self {
            Self::Object(members) => {
                let mut seen = std::collections::HashSet::with_capacity(members.len());
                for (name, value) in members {
                    push_token(pointer, name);
                    if seen.insert(name.as_str()) {
                        value.duplicates(pointer, errors);
                    } else {
                        errors.push(FieldError {
                            pointer: pointer.clone(),
                            code: FieldCode::DuplicateField,
                            detail: FieldCode::DuplicateField.detail().into(),
                        });
                    }
                    pointer.truncate(length);
                }
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    push_token(pointer, &index.to_string());
                    item.duplicates(pointer, errors);
                    pointer.truncate(length);
                }
            }
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => {}
        }
    }
}

/// Appends a reference token, escaped (RFC 6901, 3).
pub(crate) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
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

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(Some(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(i64::try_from(number).ok()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_at_any_depth_with_escaped_pointers() {
        let json: Json =
            serde_json::from_str(r#"{"a":1,"b":[{"x/y":1,"x/y":2}],"a":{"c":1,"c":1},"~":0,"~":0}"#).unwrap();
        let mut errors = Vec::new();
        json.duplicates(&mut String::new(), &mut errors);
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/b/0/x~1y", "/a", "/~0"]);
    }

    #[test]
    fn what_is_not_json_does_not_parse() {
        for bad in ["", "{", "{'a':1}", "[1,]", "nul", "{\"a\":1}x", "\"\\ud800\"", "1e999", "{\"a\":NaN}"] {
            assert!(serde_json::from_str::<Json>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Json>(&"[".repeat(10_000)).is_err());
    }
}
