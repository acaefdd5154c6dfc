//! `/api/profile/avatar/`: the caller's picture.

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use domain::pages::{self, StoredPicture};

use super::profile::{Reply, answer};
use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::body::{OptionalFields, PictureFile};
use crate::limits::Throttle;
use crate::pictures::{self, Picture, PictureError};
use crate::problem::Problem;

/// Makes a picture of ours out of a stranger's, on a thread that may be busy.
pub(super) async fn make(
    state: &State,
    file: Bytes,
    draw: fn(&[u8]) -> Result<Picture, PictureError>,
) -> Result<StoredPicture, Problem> {
    let picture = state.studio.run(move || draw(&file)).await??;
    Ok(StoredPicture { content_type: picture.content_type.to_owned(), body: picture.body })
}

/// Give oneself a picture
///
/// The file as it is, as the body: 5 MiB at most. It is cut to a square, made smaller and written anew, without what the
/// camera noted in it. Of an animation the first frame stays.
#[utoipa::path(
    put, path = "/api/profile/avatar/", tag = "pages",
    request_body(content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"), (Vec<u8> = "image/gif"))),
    responses((status = 200, description = "The profile", body = Reply)),
)]
pub(super) async fn put(
    state: Shared,
    caller: Caller,
    throttle: Throttle,
    PictureFile(file): PictureFile,
) -> Result<HttpResponse, Problem> {
    throttle.admit(&caller.user_id.to_string()).await?;
    let picture = make(&state, file, pictures::avatar).await?;
    let profile = pages::set_avatar(&state.pool, state.clock.now(), caller.user_id, &picture).await?;
    answer(&state, caller, profile.ok_or_else(Problem::unauthenticated)?).await
}

/// Take one's picture away
#[utoipa::path(
    delete, path = "/api/profile/avatar/", tag = "pages",
    responses((status = 200, description = "The profile", body = Reply)),
)]
pub(super) async fn delete(
    state: Shared,
    caller: Caller,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let profile = pages::clear_avatar(&state.pool, state.clock.now(), caller.user_id).await?;
    answer(&state, caller, profile.ok_or_else(Problem::unauthenticated)?).await
}
