//! `/avatars/{digest}` and `/thumbnails/{digest}`: pictures by what they are, so that an answer is good for ever.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use domain::db::Pool;
use domain::pages::{self, PictureKind};

use super::Page;
use super::html::Keep;
use crate::app::Shared;
use crate::nearby::Nearby;
use crate::problem::{Code, Problem};

/// What copies of pictures may weigh together, in bytes.
const ROOM: u64 = 64 << 20;

/// Pictures by kind and digest.
pub(crate) type Pictures = Nearby<(PictureKind, [u8; 32]), Option<Arc<Kept>>>;

/// A picture, ready to be sent.
pub(crate) struct Kept {
    content_type: HeaderValue,
    body: Bytes,
}

/// Room for pictures.
pub(crate) fn room() -> Pictures {
    Nearby::new("picture", ROOM, |_, picture| picture.as_ref().map_or(0, |picture| picture.body.len()))
}

/// An avatar.
pub(super) async fn avatar(state: Shared, request: HttpRequest) -> Page {
    serve(&state, &request, PictureKind::Avatar).await
}

/// A thumbnail.
pub(super) async fn thumbnail(state: Shared, request: HttpRequest) -> Page {
    serve(&state, &request, PictureKind::Thumbnail).await
}

async fn serve(state: &Shared, request: &HttpRequest, kind: PictureKind) -> Page {
    let missing = || Problem::new(Code::NotFound);
    let digest = request.match_info().get("digest").and_then(digest).ok_or_else(missing)?;
    let pool = state.pool.clone();
    let picture = state
        .pictures
        .get_or_load((kind, digest), move |_| load(pool, kind, digest))
        .await?
        .ok_or_else(missing)?;
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header(Keep::ForGood.header())
        .insert_header((header::CONTENT_TYPE, picture.content_type.clone()))
        // Anybody's page may show it.
        .insert_header(("cross-origin-resource-policy", "cross-origin"));
    Ok(answer.body(picture.body.clone()))
}

async fn load(pool: Pool, kind: PictureKind, digest: [u8; 32]) -> Result<Option<Arc<Kept>>, Problem> {
    let Some(picture) = pages::find_picture(&pool, kind, &digest).await? else { return Ok(None) };
    let content_type = HeaderValue::from_str(&picture.content_type).map_err(Problem::internal)?;
    Ok(Some(Arc::new(Kept { content_type, body: picture.body.into() })))
}

/// 64 hexadecimal digits, small: one address for each picture.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_one_address() {
        let text = format!("00ff{}", "0a".repeat(30));
        assert_eq!(digest(&text).map(|bytes| domain::token::hex(&bytes)), Some(text.clone()));
        for other in
            [text.to_uppercase(), text[..62].to_owned(), format!("{text}00"), "é".repeat(32), String::new()]
        {
            assert_eq!(digest(&other), None, "{other}");
        }
    }
}
