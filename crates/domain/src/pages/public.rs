//! A page as anybody sees it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::social::Social;
use super::store;
use super::theme::Theme;
use crate::accounts::Username;
use crate::db::{DbError, Pool, Tx};
use crate::{moderation, rewards};

/// A public page.
#[derive(Clone, Debug)]
pub struct PublicPage {
    /// Whose. Never shown.
    pub owner: Uuid,
    /// The name of the account.
    pub username: String,
    /// The name on the page; empty for the username.
    pub display_name: String,
    /// A few lines.
    pub bio: String,
    /// How it looks now: the default where premium lapsed.
    pub theme: Theme,
    /// Whether search engines may list it.
    pub listed: bool,
    /// Places elsewhere.
    pub social: Vec<Social>,
    /// The digest of the picture.
    pub avatar: Option<Vec<u8>>,
    /// The code of the owner's invitation.
    pub referral_code: String,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// What shows now: pinned ones first, else in the owner's order.
    pub links: Vec<PublicLink>,
}

impl PublicPage {
    /// The name to show.
    pub fn name(&self) -> &str {
        if self.display_name.is_empty() { &self.username } else { &self.display_name }
    }
}

/// A link or header as anybody sees it. Where a link leads is only told to whoever follows it.
#[derive(Clone, Debug)]
pub struct PublicLink {
    /// The id.
    pub id: Uuid,
    /// Whether it leads nowhere.
    pub is_header: bool,
    /// What it says.
    pub title: String,
    /// The digest of the picture.
    pub thumbnail: Option<Vec<u8>>,
    /// Above the others.
    pub pinned: bool,
    /// Set off from the others.
    pub highlighted: bool,
}

/// The page of whoever has this name now; `None` when there is none, or none for the public.
pub async fn public_page(
    pool: &Pool,
    now: DateTime<Utc>,
    username: &Username,
) -> Result<Option<PublicPage>, DbError> {
    let mut tx = Tx::snapshot(pool).await?;
    let Some((owner, profile)) = store::public_profile(&mut tx, username).await? else { return Ok(None) };
    let links = match &profile {
        Some(_) => store::public_links(&mut tx, owner.id, now).await?,
        None => Vec::new(),
    };
    let chosen = profile.as_ref().map(super::Profile::theme).unwrap_or_default();
    let lapsed = chosen.is_premium() && !rewards::has_premium(&mut tx, owner.id, now).await?;
    let mut social = profile.as_ref().map(super::Profile::social).unwrap_or_default();
    if !social.is_empty() {
        let addresses: Vec<&str> = social.iter().map(|place| place.url.as_str()).collect();
        let mut blocked = moderation::are_blocked(&mut tx, &addresses).await?.into_iter();
        social.retain(|_| !blocked.next().unwrap_or_default());
    }
    tx.commit().await?;
    let theme = if lapsed { Theme::default() } else { chosen };
    Ok(Some(PublicPage {
        owner: owner.id,
        username: owner.username,
        referral_code: owner.referral_code,
        theme,
        listed: profile.as_ref().is_none_or(|profile| profile.listed),
        social,
        updated_at: profile.as_ref().map_or(owner.created_at, |profile| profile.updated_at),
        links,
        avatar: profile.as_ref().and_then(|profile| profile.avatar.clone()),
        display_name: profile.as_ref().map(|profile| profile.display_name.clone()).unwrap_or_default(),
        bio: profile.map(|profile| profile.bio).unwrap_or_default(),
    }))
}
