//! Reading a patch (RFC 7396): a field that is absent stays, one that is `null` is cleared, any other is set. And the kinds
//! of values that only pages have: text of a form of its own, instants.

use chrono::{DateTime, Utc};

use super::json::Json;
use super::{Complaint, Fields};
use crate::problem::FieldCode;

/// Instants that a schedule may name: what both databases and browsers can tell.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9_999;

#[allow(
    clippy::option_option,
    reason = "the outer one says whether there is an error, as everywhere in this module's parent"
)]
impl Fields {
    /// A field that may be left out, and then stays as it is.
    pub fn replaced<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.members.iter().any(|(known, _)| known == name) {
            read(self, name).map(Some)
        } else {
            Some(None)
        }
    }

    /// A field that may be left out, and then stays as it is, or be `null`, and then becomes `cleared`.
    pub fn merged<T>(
        &mut self,
        name: &str,
        cleared: T,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.members.iter().any(|(known, value)| known == name && *value == Json::Null) {
            self.take(name);
            return Some(Some(cleared));
        }
        self.replaced(name, read)
    }

    /// A required text whose form `parse` alone knows: it may be empty, or have lines.
    pub fn words<T, E: Into<Complaint>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.raw_text(name)?;
        self.note(name, parse(&text))
    }

    /// A required instant (RFC 3339).
    pub fn instant(&mut self, name: &str) -> Option<DateTime<Utc>> {
        self.parse(name, |text| {
            let instant = DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.to_utc());
            let within = |instant: &DateTime<Utc>| YEARS.contains(&chrono::Datelike::year(instant));
            instant.filter(within).ok_or_else(|| {
                Complaint::new(
                    FieldCode::InvalidValue,
                    "This must be an instant such as 2026-11-22T18:00:00Z.",
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays_and_null_clears() {
        let of = |body: &str| {
            let mut fields = Fields::from_bytes(body.as_bytes()).unwrap();
            let a = fields.merged("a", String::new(), |fields, name| fields.text(name, 9));
            let b = fields.replaced("b", Fields::flag);
            let t = fields.merged("t", None, |fields, name| fields.instant(name).map(Some));
            let errors = |problem: crate::problem::Problem| {
                problem
                    .errors()
                    .iter()
                    .map(|e| format!("{} {}", e.pointer, e.code.slug()))
                    .collect::<Vec<_>>()
            };
            fields.finish((a, b, t)).map_err(errors)
        };
        assert_eq!(of("{}"), Ok((None, None, None)));
        assert_eq!(of(r#"{"a":null,"t":null}"#), Ok((Some(String::new()), None, Some(None))));
        let instant = DateTime::parse_from_rfc3339("2026-11-22T17:00:00Z").unwrap().to_utc();
        let set = r#"{"a":"x","b":false,"t":"2026-11-22T18:00:00+01:00"}"#;
        assert_eq!(of(set), Ok((Some("x".to_owned()), Some(false), Some(Some(instant)))));
        assert_eq!(
            of(r#"{"b":null,"t":7}"#),
            Err(vec!["/b wrong_type".to_owned(), "/t wrong_type".to_owned()])
        );
        for bad in
            ["2026-11-22", "0000-01-01T00:00:00Z", "+19999-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "now"]
        {
            assert_eq!(of(&format!(r#"{{"t":"{bad}"}}"#)), Err(vec!["/t invalid_value".to_owned()]), "{bad}");
        }
    }

    #[test]
    fn a_list_names_the_items_that_are_wrong() {
        let of = |body: &str| {
            let mut fields = Fields::from_bytes(body.as_bytes()).unwrap();
            let list = fields.texts("n", 3, |text| text.parse::<u8>().map_err(|_| FieldCode::InvalidValue));
            fields.finish(list).map_err(|problem| {
                problem
                    .errors()
                    .iter()
                    .map(|e| format!("{} {}", e.pointer, e.code.slug()))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(of(r#"{"n":["1","2"]}"#), Ok(vec![1, 2]));
        assert_eq!(
            of(r#"{"n":["x",1,null]}"#).unwrap_err(),
            ["/n/0 invalid_value", "/n/1 wrong_type", "/n/2 wrong_type"]
        );
        assert_eq!(of(r#"{"n":["1","1","1","1"]}"#).unwrap_err(), ["/n too_long"]);
        assert_eq!(of(r#"{"n":{}}"#).unwrap_err(), ["/n wrong_type"]);
        assert_eq!(of("{}").unwrap_err(), ["/n required"]);
    }
}
