//! Addresses that somebody gave and nobody confirmed: who holds them, and how often they are written to.
//!
//! A request that names an address never looks up whether it has an account: it costs and answers the same either way. The
//! worker finds out, and writes to whoever reads that mailbox.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{BlockNotice, Email};
use crate::config::{Keys, MailRate};
use crate::db::{DbError, Tx};
use crate::token::{LENGTH, Token};

/// What is mailed to an address that somebody gave.
#[derive(Debug)]
pub enum AddressMail {
    /// A link that confirms it.
    Confirm {
        /// Where to.
        address: Email,
        /// The name that was chosen, or that the account has.
        username: String,
        /// The secret of the link.
        token: Token,
        /// When the link ends.
        expires_at: DateTime<Utc>,
    },
    /// That it has an account already.
    Taken {
        /// Where to.
        address: Email,
        /// The name of that account.
        username: String,
    },
    /// That it has an account, which is blocked.
    Blocked(BlockNotice),
}

/// The account that has an address.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) id: Uuid,
    pub(super) username: String,
    pub(super) email: String,
    pub(super) blocked_at: Option<DateTime<Utc>>,
    pub(super) blocked_reason: Option<String>,
}

impl Holder {
    /// What is mailed to the holder whose address was given for another account.
    pub(super) fn mail(self) -> AddressMail {
        let address = Email::from_stored(self.email);
        match self.blocked_at {
            None => AddressMail::Taken { address, username: self.username },
            Some(at) => AddressMail::Blocked(BlockNotice {
                address,
                username: self.username,
                reason: self.blocked_reason,
                at,
            }),
        }
    }
}

/// What an address is counted by.
pub(super) fn hash(keys: &Keys, email: &Email) -> [u8; LENGTH] {
    keys.privacy.mac(&[b"address", email.as_str().as_bytes()])
}

/// The account that has the address: `known` if that was found before, else whoever has it now. Its row is locked, before
/// any lock on what was asked for, as by whoever deletes the account.
pub(super) async fn lock_holder(
    tx: &mut Tx,
    known: Option<Uuid>,
    email: Option<&str>,
) -> Result<Option<Holder>, DbError> {
    let id = match (known, email) {
        (Some(id), _) => Some(id),
        (None, Some(email)) => store::holder_of(tx, email).await?,
        (None, None) => None,
    };
    match id {
        Some(id) => Ok(store::lock_holder(tx, id).await?),
        None => Ok(None),
    }
}

/// Lets others who ask about the address wait until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, hash: &[u8]) -> Result<(), DbError> {
    let first = hash.first_chunk().copied().unwrap_or_default();
    Ok(store::lock(tx, i64::from_be_bytes(first)).await?)
}

/// Whether the address, which is locked from here on, may be written to once more, one request aside.
pub(super) async fn admits(
    tx: &mut Tx,
    now: DateTime<Utc>,
    limit: MailRate,
    hash: &[u8],
    but: Uuid,
) -> Result<bool, DbError> {
    lock(tx, hash).await?;
    Ok(store::count_mailed(tx, hash, but, now - limit.window).await? < limit.quota)
}
