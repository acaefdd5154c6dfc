//! A form as the body of a request, which only identity providers send (`response_mode=form_post`).

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpRequest};

use super::{check_line, read};
use crate::app::State;
use crate::config::BODY_LIMIT;
use crate::problem::{Code, FieldCode, Problem};

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// The longest value that is read, in characters: an authorization code.
const MAX_VALUE_CHARS: usize = 4_096;

/// The fields of a form. Those that are not asked for are ignored.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// A field that may be missing. An error if it is there twice or not a line of text.
    pub fn single(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let pointer = format!("/{name}");
        let value = match (values.next(), values.next()) {
            (None | Some(""), None) => return Ok(None),
            (Some(value), None) => value,
            (_, Some(_)) => return Err(Problem::field(pointer, FieldCode::DuplicateField)),
        };
        check_line(value, MAX_VALUE_CHARS)
            .map(|()| Some(value))
            .map_err(|complaint| Problem::field(pointer, complaint.code))
    }
}

impl FromRequest for Form {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let checked = if is_form(headers) {
            read::check_length(headers, BODY_LIMIT)
        } else {
            Err(Problem::new(Code::UnsupportedMediaType).detail(format!("Send {MEDIA_TYPE}.")).closing())
        };
        let time_out = State::of(request).map(|state| state.config.body_timeout);
        let payload = payload.take();
        Box::pin(async move {
            checked?;
            let body = read::read(payload, BODY_LIMIT, time_out?).await?;
            Ok(Self(url::form_urlencoded::parse(&body).into_owned().collect()))
        })
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return false;
    }
    let mut types = headers.get_all(header::CONTENT_TYPE);
    let (Some(Ok(content_type)), None) = (types.next().map(|value| value.to_str()), types.next()) else {
        return false;
    };
    content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}
