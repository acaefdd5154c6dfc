//! Reading a JSON body: strictly, within limits of size and time, and with every failing field reported at once.
//!
//! A handler takes [`Fields`], asks for each field and calls [`Fields::finish`]:
//!
//! ```text
//! let email = fields.parse("email", Email::parse);
//! let password = fields.secret("password", 1024);
//! let code = fields.parse_optional("referral_code", ReferralCode::parse);
//! let (email, password, code) = fields.finish((email, password, code))?;
//! ```
//!
//! What nobody asked for is an unknown field. Nothing of the body is used before `finish` said that all of it is good.

mod collect;
mod form;
mod json;
mod merge;
mod picture;
mod read;

use secrecy::SecretString;

pub use collect::{Complaint, Complete};
pub(crate) use collect::{check_line, finish};
pub use form::Form;
use json::Json;
pub use picture::PictureFile;

use crate::problem::{FieldCode, FieldError, Problem};

/// The longest text a field takes unless it says otherwise, in characters.
const LONGEST_TEXT: usize = 2_048;

/// The members of the object in the body of a request.
#[derive(Debug)]
pub struct Fields {
    /// Where the object is in the body: empty for the body itself.
    at: String,
    /// What nobody asked for yet.
    members: Vec<(String, Json)>,
    errors: Vec<FieldError>,
}

/// As [`Fields`], for an endpoint whose body may be left out.
#[derive(Debug)]
pub struct OptionalFields(pub Fields);

/// As [`Fields`], for the endpoint that takes whole link lists: up to [`IMPORT_LIMIT`](crate::config::IMPORT_LIMIT).
#[derive(Debug)]
pub struct LargeFields(pub Fields);

impl Fields {
    /// No fields.
    fn none() -> Self {
        Self::of(String::new(), Vec::new())
    }

    /// Parses a body that arrived whole.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        let json: Json = serde_json::from_slice(bytes).map_err(|error| read::malformed(&error))?;
        let mut errors = Vec::new();
        json.duplicates(&mut String::new(), &mut errors);
        let Json::Object(members) = json else {
            return Err(Problem::field("", FieldCode::WrongType).detail("The body must be a JSON object."));
        };
        Ok(Self { errors, ..Self::of(String::new(), members) })
    }

    /// The members of the object at a place in the body. Those given twice are reported already; the first stays, so that
    /// its own errors show too.
    fn of(at: String, mut members: Vec<(String, Json)>) -> Self {
        let mut seen = std::collections::HashSet::new();
        members.retain(|(name, _)| seen.insert(name.clone()));
        Self { at, members, errors: Vec::new() }
    }

    /// A required text, parsed by `parse`.
    pub fn parse<T, E: Into<Complaint>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name, LONGEST_TEXT)?;
        self.note(name, parse(&text))
    }

    /// A text that may be missing or `null`, parsed by `parse`. `None` only when it is there and wrong.
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there is an error, as everywhere here"
    )]
    pub fn parse_optional<T, E: Into<Complaint>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if self.is_absent(name) {
            return Some(None);
        }
        self.parse(name, parse).map(Some)
    }

    /// A required line of text: not empty, no control characters, `max` characters at most.
    pub fn text(&mut self, name: &str, max: usize) -> Option<String> {
        let text = self.raw_text(name)?;
        let checked = check_line(&text, max).map(|()| text);
        self.note(name, checked)
    }

    /// The first of several names of one field that is given; giving two of them is an error.
    pub fn text_of(&mut self, names: &[&str], max: usize) -> Option<String> {
        let given: Vec<&str> = names.iter().copied().filter(|name| self.has(name)).collect();
        let name = *given.first().or(names.first())?;
        // A `null` in place of the others is as good as leaving them out.
        for other in names.iter().filter(|other| **other != name) {
            if !self.has(other) {
                self.take(other);
            }
        }
        let text = self.text(name, max);
        for extra in given.iter().skip(1) {
            self.take(extra);
            let detail = format!("Send one of: {}.", names.join(", "));
            self.error(extra, Complaint::new(FieldCode::DuplicateField, detail));
        }
        text.filter(|_| given.len() < 2)
    }

    /// A required secret, `max_bytes` at most: too long a password must not reach the hash.
    pub fn secret(&mut self, name: &str, max_bytes: usize) -> Option<SecretString> {
        let text = self.raw_text(name)?;
        let checked = if text.len() > max_bytes {
            Err(Complaint::new(FieldCode::TooLong, format!("This has {max_bytes} bytes at most.")))
        } else {
            check_line(&text, max_bytes)
        };
        let secret = SecretString::from(text);
        self.note(name, checked.map(|()| secret))
    }

    /// One of a few words, or `default` when missing.
    pub fn choice<T: Clone>(&mut self, name: &str, choices: &[(&str, T)], default: T) -> Option<T> {
        let pick = |text: &str| pick(choices, text);
        Some(self.parse_optional(name, pick)?.unwrap_or(default))
    }

    /// A required `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name) {
            Some(Json::Bool(value)) => Some(value),
            Some(_) => {
                self.error(name, Complaint::new(FieldCode::WrongType, "This must be true or false."));
                None
            }
            None => {
                self.error(name, FieldCode::Required);
                None
            }
        }
    }

    /// A required whole number within a range.
    pub fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<i32>) -> Option<i32> {
        let number = match self.take(name) {
            Some(Json::Number(number)) => number.and_then(|number| i32::try_from(number).ok()),
            Some(_) => {
                self.error(name, Complaint::new(FieldCode::WrongType, "This must be a whole number."));
                return None;
            }
            None => {
                self.error(name, FieldCode::Required);
                return None;
            }
        };
        let within = number.filter(|number| range.contains(number)).ok_or_else(|| {
            let detail = format!("This is a whole number from {} to {}.", range.start(), range.end());
            Complaint::new(FieldCode::InvalidValue, detail)
        });
        self.note(name, within)
    }

    /// A whole number that may be missing or `null`. `None` only when it is there and wrong.
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there is an error, as everywhere here"
    )]
    pub fn optional_integer(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i32>,
    ) -> Option<Option<i32>> {
        if self.is_absent(name) {
            return Some(None);
        }
        self.integer(name, range).map(Some)
    }

    /// A required list of objects, `max` at most, each read by `read` as a body is: unknown fields are errors there too.
    pub fn objects<T>(
        &mut self,
        name: &str,
        max: usize,
        mut read: impl FnMut(&mut Fields) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.list(name, max, |item, at, errors| {
            let Json::Object(members) = item else {
                errors.push(Complaint::new(FieldCode::WrongType, "This must be an object.").at(at));
                return None;
            };
            let mut fields = Self::of(at, members);
            let value = read(&mut fields);
            fields.refuse_the_rest();
            errors.append(&mut fields.errors);
            value
        })
    }

    /// A required list of texts, `max` at most.
    pub fn texts<T, E: Into<Complaint>>(
        &mut self,
        name: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        self.list(name, max, |item, at, errors| {
            let result = match item {
                Json::Text(text) => parse(&text).map_err(Into::into),
                _ => Err(Complaint::new(FieldCode::WrongType, "This must be a string.")),
            };
            result.map_err(|complaint| errors.push(complaint.at(at))).ok()
        })
    }

    /// A required list, `max` at most. `read` is given each item with its pointer, and says what is wrong with it.
    fn list<T>(
        &mut self,
        name: &str,
        max: usize,
        mut read: impl FnMut(Json, String, &mut Vec<FieldError>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = match self.take(name) {
            Some(Json::List(items)) => items,
            Some(_) => {
                self.error(name, Complaint::new(FieldCode::WrongType, "This must be a list."));
                return None;
            }
            None => {
                self.error(name, FieldCode::Required);
                return None;
            }
        };
        if items.len() > max {
            self.error(name, Complaint::new(FieldCode::TooLong, format!("There are {max} of them at most.")));
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let mut at = self.at.clone();
            json::push_token(&mut at, name);
            json::push_token(&mut at, &index.to_string());
            values.extend(read(item, at, &mut self.errors));
        }
        Some(values)
    }

    /// Whether a field is there, and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, value)| known == name && *value != Json::Null)
    }

    /// Adds an error that only shows when several fields are looked at together.
    pub fn error(&mut self, name: &str, complaint: impl Into<Complaint>) {
        let mut pointer = self.at.clone();
        json::push_token(&mut pointer, name);
        self.error_at(pointer, complaint);
    }

    /// Adds an error of an object that was read before, by where it [is](Self::at).
    pub fn error_at(&mut self, at: String, complaint: impl Into<Complaint>) {
        self.errors.push(complaint.into().at(at));
    }

    /// Where in the body this object is.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// All values, or a problem that names every failing field.
    pub fn finish<C: Complete>(mut self, values: C) -> Result<C::Values, Problem> {
        self.refuse_the_rest();
        finish(self.errors, values)
    }

    /// What nobody asked for is unknown.
    fn refuse_the_rest(&mut self) {
        for (name, _) in std::mem::take(&mut self.members) {
            self.error(&name, FieldCode::UnknownField);
        }
    }

    fn raw_text(&mut self, name: &str) -> Option<String> {
        match self.take(name) {
            Some(Json::Text(text)) => Some(text),
            Some(_) => {
                self.error(name, Complaint::new(FieldCode::WrongType, "This must be a string."));
                None
            }
            None => {
                self.error(name, FieldCode::Required);
                None
            }
        }
    }

    /// Takes a field that is missing or `null` off the list.
    fn is_absent(&mut self, name: &str) -> bool {
        if self.has(name) {
            return false;
        }
        self.take(name);
        true
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let index = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.swap_remove(index).1)
    }

    fn note<T, E: Into<Complaint>>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|complaint| self.error(name, complaint)).ok()
    }
}

/// The value that `text` names.
pub(crate) fn pick<T: Clone>(choices: &[(&str, T)], text: &str) -> Result<T, Complaint> {
    choices.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone()).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        Complaint::new(FieldCode::InvalidValue, format!("This must be one of: {}.", words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::problem::Code;

    fn number(text: &str) -> Result<u8, Complaint> {
        text.parse().map_err(|_| FieldCode::InvalidValue.into())
    }

    /// Reads `{a: text, n?: number, s: secret}` and gives the errors as `pointer code`.
    fn read(body: &str) -> Result<(String, Option<u8>, String), Vec<String>> {
        let errors = |problem: Problem| -> Vec<String> {
            assert_eq!(problem.code(), Code::Validation);
            problem.errors().iter().map(|e| format!("{} {}", e.pointer, e.code.slug())).collect()
        };
        let mut fields = Fields::from_bytes(body.as_bytes()).map_err(errors)?;
        let a = fields.text("a", 3);
        let n = fields.parse_optional("n", number);
        let s = fields.secret("s", 8);
        let (a, n, s) = fields.finish((a, n, s)).map_err(errors)?;
        Ok((a, n, s.expose_secret().to_owned()))
    }

    #[test]
    fn a_good_body_gives_its_values() {
        assert_eq!(read(r#"{"a":"é€x","s":"12345678"}"#), Ok(("é€x".into(), None, "12345678".into())));
        assert_eq!(read(r#"{"n":"7","a":"x","s":" "}"#), Ok(("x".into(), Some(7), " ".into())));
        assert_eq!(read(r#"{"n":null,"a":"x","s":" "}"#), Ok(("x".into(), None, " ".into())));
    }

    #[test]
    fn a14_every_failing_field_is_reported_at_once_with_its_pointer() {
        for (body, expected) in [
            ("{}", vec!["/a required", "/s required"]),
            (r#"{"a":null,"s":1,"n":[]}"#, vec!["/a wrong_type", "/n wrong_type", "/s wrong_type"]),
            (r#"{"a":"","s":"","n":""}"#, vec!["/a empty", "/n empty", "/s empty"]),
            (
                r#"{"a":"x\u0000","s":"y\u0007","n":"1"}"#,
                vec!["/a invalid_character", "/s invalid_character"],
            ),
            (
                r#"{"a":"xxxx","s":"123456789","n":"x"}"#,
                vec!["/a too_long", "/n invalid_value", "/s too_long"],
            ),
            (
                r#"{"a":"x","s":"y","role":"admin","credits":999}"#,
                vec!["/role unknown_field", "/credits unknown_field"],
            ),
            (r#"{"a":"x","s":"y","A":"x"}"#, vec!["/A unknown_field"]),
            (r#"{"a":"x","s":"y","a":"z"}"#, vec!["/a duplicate_field"]),
            (r#"{"a":"x","s":"y","z":{"q":1,"q":1}}"#, vec!["/z/q duplicate_field", "/z unknown_field"]),
            ("[]", vec![" wrong_type"]),
            ("null", vec![" wrong_type"]),
            ("\"a\"", vec![" wrong_type"]),
        ] {
            let mut errors = read(body).unwrap_err();
            errors.sort();
            let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
            expected.sort();
            assert_eq!(errors, expected, "{body}");
        }
    }

    #[test]
    fn one_field_may_have_several_names_but_not_at_once() {
        let of = |body: &str| {
            let mut fields = Fields::from_bytes(body.as_bytes()).unwrap();
            let name = fields.text_of(&["identifier", "email", "username"], 10);
            fields
                .finish(name)
                .map_err(|problem| problem.errors().iter().map(|e| e.pointer.clone()).collect::<Vec<_>>())
        };
        assert_eq!(of(r#"{"email":"x"}"#), Ok("x".into()));
        assert_eq!(of(r#"{"identifier":"x","email":null}"#), Ok("x".into()));
        assert_eq!(of(r#"{"identifier":null,"email":"x","username":null}"#), Ok("x".into()));
        assert_eq!(of("{}").unwrap_err(), ["/identifier"]);
        assert_eq!(of(r#"{"email":"x","username":"y"}"#).unwrap_err(), ["/username"]);
    }

    #[test]
    fn a14_lists_of_objects_are_as_strict_as_a_body() {
        let of = |body: &str| {
            let mut fields = Fields::from_bytes(body.as_bytes()).unwrap();
            let list = fields.objects("list", 2, |item| {
                let (a, n) = (item.integer("a", 1..=9), item.optional_integer("n", 0..=1));
                Some((a?, n?))
            });
            fields.finish(list).map_err(|problem| {
                problem
                    .errors()
                    .iter()
                    .map(|e| format!("{} {}", e.pointer, e.code.slug()))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(of(r#"{"list":[]}"#), Ok(vec![]));
        assert_eq!(of(r#"{"list":[{"a":1},{"n":1,"a":9}]}"#), Ok(vec![(1, None), (9, Some(1))]));
        for (body, expected) in [
            ("{}", vec!["/list required"]),
            (r#"{"list":{}}"#, vec!["/list wrong_type"]),
            (r#"{"list":[{"a":1},{"a":1},{"a":1}]}"#, vec!["/list too_long"]),
            (r#"{"list":[1,{"a":1.5}]}"#, vec!["/list/0 wrong_type", "/list/1/a invalid_value"]),
            (
                r#"{"list":[{"a":"1","n":2,"x":0}]}"#,
                vec!["/list/0/a wrong_type", "/list/0/n invalid_value", "/list/0/x unknown_field"],
            ),
            (r#"{"list":[{"a":10}]}"#, vec!["/list/0/a invalid_value"]),
            (r#"{"list":[{"a":99999999999999999999}]}"#, vec!["/list/0/a invalid_value"]),
            (r#"{"list":[{"a":1,"a":2}]}"#, vec!["/list/0/a duplicate_field"]),
        ] {
            assert_eq!(of(body).unwrap_err(), expected, "{body}");
        }
    }

    #[test]
    fn a_choice_has_a_default() {
        let of = |body: &str| {
            let mut fields = Fields::from_bytes(body.as_bytes()).unwrap();
            let choice = fields.choice("t", &[("one", 1), ("two", 2)], 1);
            fields.finish(choice).map_err(|problem| problem.errors()[0].code)
        };
        assert_eq!(of("{}"), Ok(1));
        assert_eq!(of(r#"{"t":"two"}"#), Ok(2));
        assert_eq!(of(r#"{"t":"Two"}"#), Err(FieldCode::InvalidValue));
    }
}
