//! The profile: what a page says about its owner, and how it looks.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::social::Social;
use super::store;
use super::text::{Bio, DisplayName};
use super::theme::Theme;
use super::{Profile, touch};
use crate::db::{self, DbError, Pool, Tx};
use crate::moderation;

/// What is to change; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct ProfileEdit {
    /// The name on the page.
    pub display_name: Option<DisplayName>,
    /// A few lines.
    pub bio: Option<Bio>,
    /// How it looks.
    pub theme: Option<Theme>,
    /// Whether search engines may list it.
    pub listed: Option<bool>,
    /// Places elsewhere, all of them.
    pub social: Option<Vec<Social>>,
}

impl Profile {
    /// The profile of somebody who never edited it.
    fn untouched(user_id: Uuid, since: DateTime<Utc>) -> Self {
        Self {
            user_id,
            display_name: String::new(),
            bio: String::new(),
            theme: Theme::default().as_str().to_owned(),
            listed: true,
            social: serde_json::Value::Array(Vec::new()),
            avatar: None,
            version: 0,
            updated_at: since,
            disabled_at: None,
            disabled_reason: None,
        }
    }

    /// The chosen theme.
    pub fn theme(&self) -> Theme {
        Theme::parse(&self.theme).unwrap_or_default()
    }

    /// The places elsewhere that may be shown.
    pub fn social(&self) -> Vec<Social> {
        Social::from_json(&self.social)
    }
}

/// The profile of an account; `None` when the account is gone.
pub async fn profile(pool: &Pool, user_id: Uuid) -> Result<Option<Profile>, DbError> {
    let mut connection = db::get(pool).await?;
    let found = store::profile(&mut connection, user_id).await?;
    Ok(found.map(|(since, profile)| profile.unwrap_or_else(|| Profile::untouched(user_id, since))))
}

/// Why a profile was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The account is gone.
    #[error("there is no such account")]
    NoSuchAccount,
    /// No link may lead where these of the places elsewhere do, by their number from 0.
    #[error("links to this domain are not allowed here")]
    BlockedDomains(Vec<usize>),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for ProfileError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Changes a profile.
pub async fn edit_profile(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    edit: &ProfileEdit,
) -> Result<Profile, ProfileError> {
    let mut tx = Tx::begin(pool).await?;
    touch(&mut tx, user_id, now).await?.ok_or(ProfileError::NoSuchAccount)?;
    let addresses: Vec<&str> = edit.social.iter().flatten().map(|social| social.url.as_str()).collect();
    if !addresses.is_empty() {
        let blocked = moderation::are_blocked(&mut tx, &addresses).await?;
        let blocked: Vec<usize> =
            blocked.iter().enumerate().filter_map(|(index, blocked)| blocked.then_some(index)).collect();
        if !blocked.is_empty() {
            return Err(ProfileError::BlockedDomains(blocked));
        }
    }
    let profile = store::edit_profile(&mut tx, user_id, now, edit).await?;
    tx.commit().await?;
    Ok(profile)
}
