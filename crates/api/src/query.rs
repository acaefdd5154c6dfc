//! Reading a query string: unknown parameters are ignored (links gather them), known ones are strict.
//!
//! Used as [`Fields`](crate::body::Fields) are; a pointer is `?name`.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::body::{Complaint, Complete, check_line, finish, pick};
use crate::problem::{FieldCode, FieldError, Problem};

/// The longest value a parameter has, in characters.
const LONGEST_VALUE: usize = 1_024;

/// The parameters in the query of a request.
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Query {
    fn from_text(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self { pairs, errors: Vec::new() }
    }

    /// A parameter that may be missing, parsed by `parse`. `None` only when it is there and wrong.
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there is an error, as everywhere here"
    )]
    pub fn parse<T, E: Into<Complaint>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        let mut values = self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        let (first, second) = (values.next(), values.next());
        let result = match (first, second) {
            (None, _) => return Some(None),
            (Some(_), Some(_)) => Err(FieldCode::DuplicateField.into()),
            (Some(value), None) => {
                check_line(value, LONGEST_VALUE).and_then(|()| parse(value).map_err(Into::into))
            }
        };
        result.map(Some).map_err(|complaint| self.error(name, complaint)).ok()
    }

    /// The first value of a parameter that is not blank, whatever it is: for what a link carries and nobody typed.
    pub fn first(&self, name: &str) -> Option<String> {
        let mut values = self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        values.find(|value| !value.trim().is_empty()).cloned()
    }

    /// One of a few words, when given.
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there is an error, as everywhere here"
    )]
    pub fn choice<T: Clone>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<Option<T>> {
        self.parse(name, |text| pick(choices, text))
    }

    /// Adds an error.
    pub fn error(&mut self, name: &str, complaint: impl Into<Complaint>) {
        self.errors.push(complaint.into().at(format!("?{name}")));
    }

    /// All values, or a problem that names every failing parameter.
    pub fn finish<C: Complete>(self, values: C) -> Result<C::Values, Problem> {
        finish(self.errors, values)
    }
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::from_text(request.query_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u8, Option<char>), Vec<String>> {
        let mut query = Query::from_text(text);
        let limit = query.page().map(|asked| asked.limit);
        let status = query.choice("status", &[("pending", 'p'), ("successful", 's')]);
        query.finish((limit, status)).map_err(|problem| {
            problem.errors().iter().map(|e| format!("{} {}", e.pointer, e.code.slug())).collect()
        })
    }

    #[test]
    fn known_parameters_are_strict_and_unknown_ones_ignored() {
        assert_eq!(read(""), Ok((20, None)));
        assert_eq!(read("limit=100&status=pending&utm_source=x&utm_source=y"), Ok((100, Some('p'))));
        for (text, errors) in [
            ("limit=0", vec!["?limit invalid_value"]),
            ("limit=101", vec!["?limit invalid_value"]),
            ("limit=%2B5", vec!["?limit invalid_value"]),
            ("limit=", vec!["?limit empty"]),
            ("limit=1&limit=1", vec!["?limit duplicate_field"]),
            ("limit=x&status=Pending", vec!["?limit invalid_value", "?status invalid_value"]),
            ("status=%00", vec!["?status invalid_character"]),
        ] {
            assert_eq!(read(text).unwrap_err(), errors, "{text}");
        }
    }
}
