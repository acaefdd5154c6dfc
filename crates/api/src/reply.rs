//! Replies that several endpoints share.

use chrono::{DateTime, Utc};
use domain::accounts::Account;
use domain::pages::PictureKind;
use domain::token::hex;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::State;

/// An account, as its holder sees it.
#[derive(Serialize, ToSchema)]
pub struct User {
    /// The id (UUID v7).
    id: Uuid,
    /// The name.
    username: String,
    /// The normalised e-mail address.
    email: String,
    /// Whether the address was confirmed.
    email_verified: bool,
    /// The code that friends register with.
    referral_code: String,
    /// The link to share.
    referral_url: String,
    /// When the account was made.
    created_at: DateTime<Utc>,
    /// `user` or `admin`.
    #[schema(pattern = "^(user|admin)$")]
    role: String,
}

impl User {
    /// The reply about an account.
    pub fn new(state: &State, account: Account) -> Self {
        Self {
            id: account.id,
            username: account.username,
            email: account.email,
            email_verified: account.email_verified_at.is_some(),
            referral_url: referral_url(state, &account.referral_code),
            referral_code: account.referral_code,
            created_at: account.created_at,
            role: account.role,
        }
    }
}

/// The link that brings friends: visits of it are counted.
pub fn referral_url(state: &State, code: &str) -> String {
    state.config.common.public_url.join(&format!("/r/{code}"))
}

/// The address of somebody's page.
pub fn page_url(state: &State, username: &str) -> String {
    state.config.common.public_url.join(&format!("/@{username}"))
}

/// What people follow in place of a link, so that it is counted.
pub fn follow_url(state: &State, id: Uuid) -> String {
    state.config.common.public_url.join(&format!("/l/{id}"))
}

/// Where a picture is, by its digest.
pub fn picture_url(state: &State, kind: PictureKind, digest: &[u8]) -> String {
    state.config.common.public_url.join(&picture_path(kind, digest))
}

/// The path of a picture, for a page that may be open under another origin than the public one.
pub fn picture_path(kind: PictureKind, digest: &[u8]) -> String {
    let folder = match kind {
        PictureKind::Avatar => "avatars",
        PictureKind::Thumbnail => "thumbnails",
    };
    format!("/{folder}/{}", hex(digest))
}

/// Why a manager took something down.
#[derive(Serialize, ToSchema)]
pub struct Disabled {
    /// In the manager's words.
    reason: String,
}

impl Disabled {
    /// Of what has a reason.
    pub fn new(reason: Option<String>) -> Option<Self> {
        reason.map(|reason| Self { reason })
    }
}
