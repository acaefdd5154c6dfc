//! Link pages: the profile of an account and the links on its page.
//!
//! Whoever changes anything that shows on a page calls [`touch`] first, in the same transaction: the lock on the profile row
//! orders writers and guards what is counted, and the version that it raises tells copies apart.

mod store;
mod text;
mod url;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::accounts;
use crate::db::{DbError, Tx};
pub use store::Profile;
pub use text::{Bio, DisplayName, TextError, Title};
pub use url::{LinkUrl, LinkUrlError, Scheme};

/// Takes the lock on a profile, makes it if it was never edited, and raises its version. `None` when the account is gone.
/// The account stays until the transaction ends.
pub async fn touch(tx: &mut Tx, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Profile>, DbError> {
    if accounts::lock_shared(tx, user_id).await?.is_none() {
        return Ok(None);
    }
    Ok(Some(store::touch(tx, user_id, now).await?))
}
