//! A picture as the body of a request: raw bytes of one of four media types.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};

use super::read;
use crate::app::State;
use crate::config::PICTURE_LIMIT;
use crate::problem::{Code, Problem};

/// What is taken. What a file really is, its first bytes say later.
const MEDIA_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/// The file that somebody sends.
#[derive(Debug)]
pub struct PictureFile(pub Bytes);

impl FromRequest for PictureFile {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let checked = if is_picture(headers) {
            read::check_length(headers, PICTURE_LIMIT)
        } else {
            Err(Problem::new(Code::UnsupportedMediaType)
                .detail("A picture is sent as it is, as image/png, image/jpeg, image/webp or image/gif.")
                .closing())
        };
        let time_out = State::of(request).map(|state| state.config.body_timeout);
        let payload = payload.take();
        Box::pin(async move {
            checked?;
            read::read(payload, PICTURE_LIMIT, time_out?).await.map(Self)
        })
    }
}

fn is_picture(headers: &HeaderMap) -> bool {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return false;
    }
    let mut types = headers.get_all(header::CONTENT_TYPE);
    let (Some(Ok(content_type)), None) = (types.next().map(|value| value.to_str()), types.next()) else {
        return false;
    };
    MEDIA_TYPES.iter().any(|known| content_type.trim().eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn only_pictures_are_read() {
        let is_taken = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(text));
            is_picture(&headers)
        };
        assert!(
            is_taken("image/png")
                && is_taken("IMAGE/JPEG")
                && is_taken("image/webp")
                && is_taken("image/gif")
        );
        for other in ["image/svg+xml", "application/json", "text/html", "image/png, image/gif", "image/*", ""]
        {
            assert!(!is_taken(other), "{other}");
        }
        assert!(!is_picture(&HeaderMap::new()));
    }
}
