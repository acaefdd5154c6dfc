//! Link pages: the profile of an account and the links on its page.
//!
//! Whoever changes anything that shows on a page calls [`touch`] first, in the same transaction: the lock on the profile row
//! orders writers and guards what is counted, and the version that it raises tells copies apart.
//!
//! A page is public when its account is neither deleted nor blocked, has a confirmed address, and no manager took the page
//! down. Everything else is as if there were nothing.

mod destination;
mod import;
mod link;
mod picture;
mod profile;
mod public;
mod social;
mod store;
mod text;
mod theme;
mod url;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::accounts;
use crate::db::{DbError, Tx};
pub use destination::{Destination, LinkName, destination, has_link, link_names};
pub use import::{Imported, NotTaken, import_links};
pub use link::{
    CreateError, EditError, LinkEdit, LinkLimits, NewLink, Once, ReorderError, Target, create_link,
    delete_link, edit_link, find_link, insert_links, links, reorder_links,
};
pub use picture::{
    PictureKind, StoredPicture, clear_avatar, clear_thumbnail, find_picture, picture_digest, set_avatar,
    set_thumbnail,
};
pub use profile::{ProfileEdit, ProfileError, edit_profile, profile};
pub use public::{PublicLink, PublicPage, public_page};
pub use social::{Network, Social, SocialError};
pub use store::{Link, Profile};
pub use text::{Bio, DisplayName, TextError, Title};
pub use theme::Theme;
pub use url::{LinkUrl, LinkUrlError, Scheme};

/// Takes the lock on a profile, makes it if it was never edited, and raises its version. `None` when the account is gone.
/// The account stays until the transaction ends.
pub async fn touch(tx: &mut Tx, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Profile>, DbError> {
    if accounts::lock_shared(tx, user_id).await?.is_none() {
        return Ok(None);
    }
    Ok(Some(store::touch(tx, user_id, now).await?))
}

/// Removes a page with all that is on it, when its account is deleted. The caller holds the lock on the user's row, so
/// nobody makes it anew.
pub(crate) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::forget(tx, user_id).await?)
}
