//! `/api/links/{id}/thumbnail/`: the picture of a link.

use actix_web::{HttpResponse, web};
use domain::pages;

use super::links::Link;
use super::profile_avatar::make;
use crate::app::Shared;
use crate::auth::Caller;
use crate::body::{OptionalFields, PictureFile};
use crate::limits::Throttle;
use crate::path;
use crate::pictures;
use crate::problem::{Code, Problem};

/// Give a link a picture
///
/// As with one's own picture (`PUT /api/profile/avatar/`).
#[utoipa::path(
    put, path = "/api/links/{id}/thumbnail/", tag = "pages",
    params(("id" = uuid::Uuid, Path, description = "The link")),
    request_body(content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"), (Vec<u8> = "image/gif"))),
    responses((status = 200, description = "The link", body = Link)),
)]
pub(super) async fn put(
    state: Shared,
    caller: Caller,
    throttle: Throttle,
    id: web::Path<String>,
    PictureFile(file): PictureFile,
) -> Result<HttpResponse, Problem> {
    let id = path::id(&id)?;
    throttle.admit(&caller.user_id.to_string()).await?;
    // Nobody's link is worth no work.
    let missing = || Problem::new(Code::NotFound);
    pages::find_link(&state.pool, caller.user_id, id).await?.ok_or_else(missing)?;
    let picture = make(&state, file, pictures::thumbnail).await?;
    let link = pages::set_thumbnail(&state.pool, state.clock.now(), caller.user_id, id, &picture).await?;
    Ok(HttpResponse::Ok().json(Link::new(&state, link.ok_or_else(missing)?)))
}

/// Take the picture of a link away
#[utoipa::path(
    delete, path = "/api/links/{id}/thumbnail/", tag = "pages",
    params(("id" = uuid::Uuid, Path, description = "The link")),
    responses((status = 200, description = "The link", body = Link)),
)]
pub(super) async fn delete(
    state: Shared,
    caller: Caller,
    id: web::Path<String>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let link = pages::clear_thumbnail(&state.pool, state.clock.now(), caller.user_id, path::id(&id)?).await?;
    let link = link.ok_or_else(|| Problem::new(Code::NotFound))?;
    Ok(HttpResponse::Ok().json(Link::new(&state, link)))
}
