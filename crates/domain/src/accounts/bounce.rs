//! Addresses that mail servers refuse for good.
//!
//! The flag is on the account and about its present address: it is set and cleared by address, so that a mail to a former
//! one changes nothing. A trigger clears it when the address changes or is confirmed.

use chrono::{DateTime, Utc};

use super::store;
use crate::db::{self, DbError, Pool};

/// Flags the account that has this address, if there is one: a mail server refuses the recipient for good.
pub async fn record_bounce(pool: &Pool, now: DateTime<Utc>, email: &str) -> Result<(), DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::set_bounced(&mut connection, email, now).await?)
}

/// Clears the flag of the account that has this address: a mail arrived.
pub async fn record_delivery(pool: &Pool, email: &str) -> Result<(), DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::clear_bounced(&mut connection, email).await?)
}

/// When mail to this address of an account was last refused for good, if none has arrived since.
pub async fn bounced_at(pool: &Pool, email: &str) -> Result<Option<DateTime<Utc>>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::bounced_at(&mut connection, email).await?)
}
