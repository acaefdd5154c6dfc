//! Where a link leads, for whoever follows it.
//!
//! What may change by the minute (the times between which a link shows) is left to [`Destination::is_open`], so that a copy
//! stays right.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::LinkUrl;
use crate::db::{self, DbError, Pool};
pub use store::LinkName;

/// A link that shows on a page that is public, between two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Whose page it is on.
    pub owner: Uuid,
    /// Where it leads.
    pub url: LinkUrl,
    /// Since when it shows.
    pub from: Option<DateTime<Utc>>,
    /// Until when it shows; then no more.
    pub until: Option<DateTime<Utc>>,
}

impl Destination {
    /// Whether the link shows at this time.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// Where a link leads, if it is enabled, nobody took it, its page or the domain down, and its owner may have a public page. The
/// address is checked as it was when it was written: a row from elsewhere leads nowhere.
pub async fn destination(pool: &Pool, link_id: Uuid) -> Result<Option<Destination>, DbError> {
    let mut connection = db::get(pool).await?;
    let Some(row) = store::destination(&mut connection, link_id).await? else { return Ok(None) };
    let Ok(url) = LinkUrl::parse(&row.url) else { return Ok(None) };
    Ok(Some(Destination { owner: row.owner, url, from: row.from, until: row.until }))
}

/// Whether a link, shown or not, is on the page of this user.
pub async fn has_link(pool: &Pool, user_id: Uuid, link_id: Uuid) -> Result<bool, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::has_link(&mut connection, user_id, link_id).await?)
}

/// The links on the page of a user, with their titles.
pub async fn link_names(pool: &Pool, user_id: Uuid) -> Result<Vec<LinkName>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::link_names(&mut connection, user_id).await?)
}
