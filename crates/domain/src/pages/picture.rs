//! Pictures of accounts and of links, as they were made by us, known by the digest of their bytes.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::store::{links as rows, pictures};
use super::{Link, Profile, touch};
use crate::db::{self, DbError, Pool, Tx};
pub use pictures::StoredPicture;

/// Whose picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureKind {
    /// Of an account.
    Avatar,
    /// Of a link.
    Thumbnail,
}

/// The digest of a picture, by which it is asked for.
pub fn picture_digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// Gives an account a picture; `None` when the account is gone.
pub async fn set_avatar(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    picture: &StoredPicture,
) -> Result<Option<Profile>, DbError> {
    change_avatar(pool, now, user_id, Some(picture)).await
}

/// Takes the picture of an account away; `None` when the account is gone.
pub async fn clear_avatar(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
) -> Result<Option<Profile>, DbError> {
    change_avatar(pool, now, user_id, None).await
}

async fn change_avatar(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    picture: Option<&StoredPicture>,
) -> Result<Option<Profile>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if touch(&mut tx, user_id, now).await?.is_none() {
        return Ok(None);
    }
    let profile = pictures::set_avatar(&mut tx, user_id, picture).await?;
    tx.commit().await?;
    Ok(Some(profile))
}

/// Gives a link a picture; `None` when there is no such link of this user.
pub async fn set_thumbnail(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    link_id: Uuid,
    picture: &StoredPicture,
) -> Result<Option<Link>, DbError> {
    change_thumbnail(pool, now, user_id, link_id, Some(picture)).await
}

/// Takes the picture of a link away; `None` when there is no such link of this user.
pub async fn clear_thumbnail(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    link_id: Uuid,
) -> Result<Option<Link>, DbError> {
    change_thumbnail(pool, now, user_id, link_id, None).await
}

async fn change_thumbnail(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    link_id: Uuid,
    picture: Option<&StoredPicture>,
) -> Result<Option<Link>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if touch(&mut tx, user_id, now).await?.is_none()
        || rows::find_link(&mut tx, user_id, link_id).await?.is_none()
    {
        return Ok(None);
    }
    let link = pictures::set_thumbnail(&mut tx, link_id, now, picture).await?;
    tx.commit().await?;
    Ok(Some(link))
}

/// The picture with a digest, while its account is neither blocked nor its page taken down. Whoever knows the digest was
/// shown the picture.
pub async fn find_picture(
    pool: &Pool,
    kind: PictureKind,
    digest: &[u8],
) -> Result<Option<StoredPicture>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(match kind {
        PictureKind::Avatar => pictures::find_avatar(&mut connection, digest).await?,
        PictureKind::Thumbnail => pictures::find_thumbnail(&mut connection, digest).await?,
    })
}
