//! `GET /api/u/{username}/card.png`, `qr.svg` and `qr.png`: pictures that lead to a public page, or show it elsewhere.

use std::sync::Arc;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use domain::pages::{self, PictureKind};
use sha2::{Digest as _, Sha256};

use crate::app::Shared;
use crate::body::Complaint;
use crate::card::Card;
use crate::problem::{FieldCode, Problem};
use crate::published::{self, Absent, Published};
use crate::query::Query;
use crate::{qr, reply};

/// The card of a page
///
/// A PNG of 1200x630 with the name, the username and the avatar in the colours of the theme, for Open Graph and its like.
#[utoipa::path(
    get, path = "/api/u/{username}/card.png", tag = "pages",
    params(("username" = String, Path, description = "The name, in any case", example = "ada"),
           ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer before")),
    responses((status = 200, description = "The picture", content_type = "image/png", body = Vec<u8>),
              (status = 301, description = "The owner has another username now: the picture is at `Location`"),
              (status = 304, description = "It is as it was")),
)]
pub(super) async fn card(state: Shared, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = match find(&state, &request, "card.png").await? {
        Ok(page) => page,
        Err(absent) => return absent.answer(&request),
    };
    let digest = page.card.digest();
    let (shared, card) = (state.clone(), page.card.clone());
    published::answer_picture(&request, "image/png", &digest, async || {
        let load = async move |former: Option<Bytes>| match former {
            // What has this digest looks like this.
            Some(drawn) => Ok(drawn),
            None => draw(&shared, card).await,
        };
        state.cards.get_or_load(digest, load).await
    })
    .await
}

async fn draw(state: &Shared, card: Card) -> Result<Bytes, Problem> {
    let picture = match card.avatar.as_deref().and_then(|digest| <[u8; 32]>::try_from(digest).ok()) {
        Some(digest) => pages::find_picture(&state.pool, PictureKind::Avatar, &digest).await?,
        None => None,
    };
    let drawing = move || card.draw(picture.as_ref().map(|picture| picture.body.as_slice()));
    let drawn = state.studio.run(drawing).await?.map_err(Problem::internal)?;
    Ok(drawn.into())
}

/// A QR code as SVG
///
/// Leads to the public page.
#[utoipa::path(
    get, path = "/api/u/{username}/qr.svg", tag = "pages",
    params(("username" = String, Path, description = "The name, in any case", example = "ada"),
           ("size" = Option<u16>, Query, description = "The side, in pixels", minimum = 128, maximum = 2048),
           ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer before")),
    responses((status = 200, description = "The picture", content_type = "image/svg+xml", body = String),
              (status = 301, description = "The owner has another username now: the picture is at `Location`"),
              (status = 304, description = "It is as it was")),
)]
pub(super) async fn qr_svg(
    state: Shared,
    request: HttpRequest,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let (side, url) = match asked(&state, &request, query, "qr.svg").await? {
        Ok(asked) => asked,
        Err(absent) => return absent.answer(&request),
    };
    published::answer_picture(&request, "image/svg+xml", &tag("svg", side, &url), async || {
        qr::svg(&url, side).map(Bytes::from).map_err(Problem::internal)
    })
    .await
}

/// A QR code as PNG
///
/// Leads to the public page.
#[utoipa::path(
    get, path = "/api/u/{username}/qr.png", tag = "pages",
    params(("username" = String, Path, description = "The name, in any case", example = "ada"),
           ("size" = Option<u16>, Query, description = "The side, in pixels", minimum = 128, maximum = 2048),
           ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer before")),
    responses((status = 200, description = "The picture", content_type = "image/png", body = Vec<u8>),
              (status = 301, description = "The owner has another username now: the picture is at `Location`"),
              (status = 304, description = "It is as it was")),
)]
pub(super) async fn qr_png(
    state: Shared,
    request: HttpRequest,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let (side, url) = match asked(&state, &request, query, "qr.png").await? {
        Ok(asked) => asked,
        Err(absent) => return absent.answer(&request),
    };
    let tag = tag("png", side, &url);
    published::answer_picture(&request, "image/png", &tag, async || {
        let drawn = state.studio.run(move || qr::png(&url, side)).await?;
        drawn.map(Bytes::from).map_err(Problem::internal)
    })
    .await
}

/// How large a code is asked for, and where it leads.
async fn asked(
    state: &Shared,
    request: &HttpRequest,
    mut query: Query,
    file: &str,
) -> Result<Result<(u16, String), Absent>, Problem> {
    let side = query.parse("size", |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let side = text.parse().ok().filter(|side| digits && qr::SIDES.contains(side));
        side.ok_or_else(|| {
            let detail = format!("This is a whole number from {} to {}.", qr::SIDES.start(), qr::SIDES.end());
            Complaint::new(FieldCode::InvalidValue, detail)
        })
    });
    let side = query.finish(side)?.unwrap_or(qr::SIDE);
    let page = find(state, request, file).await?;
    Ok(page.map(|page| (side, reply::page_url(state, &page.card.username))))
}

async fn find(
    state: &Shared,
    request: &HttpRequest,
    file: &str,
) -> Result<Result<Arc<Published>, Absent>, Problem> {
    let username = request.match_info().get("username").unwrap_or_default();
    Ok(published::find(state, username).await?.page(|name| format!("/api/u/{name}/{file}")))
}

fn tag(kind: &str, side: u16, url: &str) -> [u8; 32] {
    Sha256::digest(format!("qr 1 {kind} {side} {url}")).into()
}
