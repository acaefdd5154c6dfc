//! Links and headers: made, changed, taken away, put in order. Each change under the lock on the profile.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::store::{self, Changes};
use super::text::Title;
use super::url::LinkUrl;
use super::{Link, touch};
use crate::db::{self, DbError, Pool, Tx};
use crate::{clicks, moderation, rewards};

/// Where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To an address.
    Url(LinkUrl),
    /// Nowhere: a title between links.
    Header,
}

/// A link to be made, at the end of the list.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// What it says.
    pub title: Title,
    /// Where it leads.
    pub target: Target,
    /// Whether it shows.
    pub enabled: bool,
    /// From when on it shows.
    pub visible_from: Option<DateTime<Utc>>,
    /// From when on it shows no more.
    pub visible_until: Option<DateTime<Utc>>,
    /// Above the others.
    pub pinned: bool,
    /// Set off from the others.
    pub highlighted: bool,
}

impl NewLink {
    /// A digest of all that it says, to know a request again.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(format!("{self:?}")).into()
    }
}

/// What is to change; the rest stays.
#[derive(Clone, Debug, Default)]
#[allow(clippy::option_option, reason = "the outer one says whether it changes, the inner one to what")]
pub struct LinkEdit {
    /// What it says.
    pub title: Option<Title>,
    /// Where it leads; of a link only.
    pub url: Option<LinkUrl>,
    /// Whether it shows.
    pub enabled: Option<bool>,
    /// From when on it shows.
    pub visible_from: Option<Option<DateTime<Utc>>>,
    /// From when on it shows no more.
    pub visible_until: Option<Option<DateTime<Utc>>>,
    /// Above the others.
    pub pinned: Option<bool>,
    /// Set off from the others.
    pub highlighted: Option<bool>,
}

/// How many links and headers a page may have. Those that are there stay when premium lapses.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Anybody's.
    pub free: u32,
    /// With premium.
    pub premium: u32,
}

impl LinkLimits {
    /// What holds for a user now.
    pub async fn of(
        self,
        connection: &mut db::Connection,
        user_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<u32, DbError> {
        Ok(if rewards::has_premium(connection, user_id, now).await? { self.premium } else { self.free })
    }
}

/// The key by which a request is known that was sent again.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a>(pub &'a str);

/// Why links were not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The account is gone.
    #[error("there is no such account")]
    NoSuchAccount,
    /// The page is full.
    #[error("a page has {0} links at most")]
    LimitReached(u32),
    /// No link may lead there.
    #[error("links to this domain are not allowed here")]
    BlockedDomain,
    /// The same key came with something else before.
    #[error("the key was used for something else")]
    KeyReused,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for CreateError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Why a link was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is no such link of this user.
    #[error("there is no such link")]
    NoSuchLink,
    /// A header leads nowhere.
    #[error("a header has no address")]
    HeaderWithUrl,
    /// No link may lead there.
    #[error("links to this domain are not allowed here")]
    BlockedDomain,
    /// It would end before it begins.
    #[error("it ends before it begins to show")]
    EmptyWindow,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for EditError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReorderError {
    /// The ids are not exactly those of the page, each once.
    #[error("an order names every link of the page once, and no other")]
    NotTheLinks,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for ReorderError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Every link and header of a user, in their order.
pub async fn links(pool: &Pool, user_id: Uuid) -> Result<Vec<Link>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::links(&mut connection, user_id).await?)
}

/// One link of a user.
pub async fn find_link(pool: &Pool, user_id: Uuid, id: Uuid) -> Result<Option<Link>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::find_link(&mut connection, user_id, id).await?)
}

/// Makes a link. With a key, the same request again finds the link that it made.
pub async fn create_link(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    limits: LinkLimits,
    new: &NewLink,
    once: Option<Once<'_>>,
) -> Result<Link, CreateError> {
    let mut tx = Tx::begin(pool).await?;
    touch(&mut tx, user_id, now).await?.ok_or(CreateError::NoSuchAccount)?;
    let hash = new.hash();
    if let Some(Once(key)) = once
        && let Some((link, known)) = store::find_by_request(&mut tx, user_id, key).await?
    {
        // Nothing changed: the version stays with it.
        return if known == hash { Ok(link) } else { Err(CreateError::KeyReused) };
    }
    if let Target::Url(url) = &new.target
        && moderation::is_blocked(&mut tx, url).await?
    {
        return Err(CreateError::BlockedDomain);
    }
    let request = once.map(|Once(key)| (key, &hash[..]));
    let mut made = insert(&mut tx, now, user_id, limits, std::slice::from_ref(new), request).await?;
    tx.commit().await?;
    made.pop().ok_or(CreateError::NoSuchAccount)
}

/// Makes several links, all or none, in a transaction that [`touch`]ed the profile. Whether they lead to blocked domains
/// was looked at.
pub async fn insert_links(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    limits: LinkLimits,
    new: &[NewLink],
) -> Result<Vec<Link>, CreateError> {
    insert(tx, now, user_id, limits, new, None).await
}

/// The lock on the profile makes the count right.
async fn insert(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    limits: LinkLimits,
    new: &[NewLink],
    request: Option<(&str, &[u8])>,
) -> Result<Vec<Link>, CreateError> {
    let limit = limits.of(tx, user_id, now).await?;
    let (count, last) = store::count_links(tx, user_id).await?;
    if count.saturating_add(i64::try_from(new.len()).unwrap_or(i64::MAX)) > i64::from(limit) {
        return Err(CreateError::LimitReached(limit));
    }
    Ok(store::insert_links(tx, now, user_id, last.map_or(0, |last| last + 1), new, request).await?)
}

/// Changes a link.
pub async fn edit_link(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    id: Uuid,
    edit: &LinkEdit,
) -> Result<Link, EditError> {
    let mut tx = Tx::begin(pool).await?;
    touch(&mut tx, user_id, now).await?.ok_or(EditError::NoSuchLink)?;
    let link = store::find_link(&mut tx, user_id, id).await?.ok_or(EditError::NoSuchLink)?;
    if link.is_header() && edit.url.is_some() {
        return Err(EditError::HeaderWithUrl);
    }
    if let Some(url) = &edit.url
        && moderation::is_blocked(&mut tx, url).await?
    {
        return Err(EditError::BlockedDomain);
    }
    let from = edit.visible_from.unwrap_or(link.visible_from);
    let until = edit.visible_until.unwrap_or(link.visible_until);
    if from.zip(until).is_some_and(|(from, until)| from >= until) {
        return Err(EditError::EmptyWindow);
    }
    let link = store::edit_link(&mut tx, id, &Changes::of(edit, now)).await?;
    tx.commit().await?;
    Ok(link)
}

/// Takes a link away. Returns whether there was one.
pub async fn delete_link(pool: &Pool, now: DateTime<Utc>, user_id: Uuid, id: Uuid) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if touch(&mut tx, user_id, now).await?.is_none() || !store::delete_link(&mut tx, user_id, id).await? {
        return Ok(false);
    }
    clicks::forget_link(&mut tx, user_id, id).await?;
    tx.commit().await?;
    Ok(true)
}

/// Puts the links in another order, all at once or not at all.
pub async fn reorder_links(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    ids: &[Uuid],
) -> Result<Vec<Link>, ReorderError> {
    let mut tx = Tx::begin(pool).await?;
    touch(&mut tx, user_id, now).await?.ok_or(ReorderError::NotTheLinks)?;
    let mut known = store::link_ids(&mut tx, user_id).await?;
    let mut wanted = ids.to_vec();
    known.sort_unstable();
    wanted.sort_unstable();
    if known != wanted {
        return Err(ReorderError::NotTheLinks);
    }
    store::reorder(&mut tx, user_id, ids).await?;
    let links = store::links(&mut tx, user_id).await?;
    tx.commit().await?;
    Ok(links)
}
