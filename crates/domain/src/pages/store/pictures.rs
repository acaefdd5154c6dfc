//! The SQL of pictures. The digest beside a profile or link says which picture shows; the bytes are apart.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Link, Profile};
use crate::db::{Connection, Tx};
use crate::pages::picture_digest;
use crate::schema::{avatars, links, profiles, thumbnails, users};

/// A picture as it is kept.
#[derive(Clone, PartialEq, Eq, Queryable)]
pub struct StoredPicture {
    /// The media type.
    pub content_type: String,
    /// The file.
    pub body: Vec<u8>,
}

/// Half a megabyte is nothing for a log.
impl std::fmt::Debug for StoredPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredPicture({}, {} bytes)", self.content_type, self.body.len())
    }
}

pub(in crate::pages) async fn set_avatar(
    tx: &mut Tx,
    user_id: Uuid,
    picture: Option<&StoredPicture>,
) -> QueryResult<Profile> {
    let digest = picture.map(|picture| picture_digest(&picture.body));
    diesel::delete(avatars::table.find(user_id)).execute(&mut **tx).await?;
    if let Some((picture, digest)) = picture.zip(digest) {
        diesel::insert_into(avatars::table)
            .values((
                avatars::user_id.eq(user_id),
                avatars::digest.eq(&digest[..]),
                avatars::content_type.eq(&picture.content_type),
                avatars::body.eq(&picture.body),
            ))
            .execute(&mut **tx)
            .await?;
    }
    diesel::update(profiles::table.find(user_id))
        .set(profiles::avatar.eq(digest.as_ref().map(|digest| &digest[..])))
        .returning(Profile::as_returning())
        .get_result(&mut **tx)
        .await
}

pub(in crate::pages) async fn set_thumbnail(
    tx: &mut Tx,
    link_id: Uuid,
    now: DateTime<Utc>,
    picture: Option<&StoredPicture>,
) -> QueryResult<Link> {
    let digest = picture.map(|picture| picture_digest(&picture.body));
    diesel::delete(thumbnails::table.find(link_id)).execute(&mut **tx).await?;
    if let Some((picture, digest)) = picture.zip(digest) {
        diesel::insert_into(thumbnails::table)
            .values((
                thumbnails::link_id.eq(link_id),
                thumbnails::digest.eq(&digest[..]),
                thumbnails::content_type.eq(&picture.content_type),
                thumbnails::body.eq(&picture.body),
            ))
            .execute(&mut **tx)
            .await?;
    }
    diesel::update(links::table.find(link_id))
        .set((links::thumbnail.eq(digest.as_ref().map(|digest| &digest[..])), links::updated_at.eq(now)))
        .returning(Link::as_returning())
        .get_result(&mut **tx)
        .await
}

pub(in crate::pages) async fn find_avatar(
    connection: &mut Connection,
    digest: &[u8],
) -> QueryResult<Option<StoredPicture>> {
    avatars::table
        .inner_join(users::table.on(users::id.eq(avatars::user_id)))
        .inner_join(profiles::table.on(profiles::user_id.eq(avatars::user_id)))
        .filter(
            avatars::digest.eq(digest).and(users::blocked_at.is_null()).and(profiles::disabled_at.is_null()),
        )
        .select((avatars::content_type, avatars::body))
        .first(connection)
        .await
        .optional()
}

pub(in crate::pages) async fn find_thumbnail(
    connection: &mut Connection,
    digest: &[u8],
) -> QueryResult<Option<StoredPicture>> {
    thumbnails::table
        .inner_join(links::table.on(links::id.eq(thumbnails::link_id)))
        .inner_join(users::table.on(users::id.eq(links::user_id)))
        .inner_join(profiles::table.on(profiles::user_id.eq(links::user_id)))
        .filter(
            thumbnails::digest
                .eq(digest)
                .and(links::disabled_at.is_null())
                .and(users::blocked_at.is_null())
                .and(profiles::disabled_at.is_null()),
        )
        .select((thumbnails::content_type, thumbnails::body))
        .first(connection)
        .await
        .optional()
}
