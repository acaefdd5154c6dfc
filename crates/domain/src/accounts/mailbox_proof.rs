//! The first proof of a mailbox: what was added to the account before it is removed.
//!
//! An account may be used before its address is confirmed, so anyone can register the address of another person and prepare
//! the account for the day that the owner of the mailbox takes it over ("Pre-hijacked accounts", Sudhodanan and Paverd, USENIX
//! Security 2022): link an identity, add a second factor, keep a session, ask for another address. The proof of the mailbox is
//! therefore the point from which the account is trusted. Every way that proves a mailbox for the first time calls
//! [`prove_mailbox`]: a reset link, a confirmation link, an applied change of address, the word of an operator. A table that
//! holds a credential is emptied here, whatever its type; a test asks the database which tables there are.
//!
//! Two things stay. The password: a person who registers in one place and opens the link in another has to get in with it; a
//! reset link replaces it. And the session that comes with the request that proves the mailbox, because one person then holds
//! both; an ordinary registration that is confirmed in the same browser stays signed in. Such a session of an account without
//! a password can only have come from its identity: if there is just one, it stays, too, or no way in would be left.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, email_change};
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::ReferralPolicy;
use crate::db::{DbError, Tx};
use crate::outbox::{self, Job};
use crate::{factors, identities, sessions};

/// What was removed from an account. Words of a closed set: they are stored in jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removed {
    /// Accounts at identity providers.
    Identities,
    /// An authenticator app, confirmed or not.
    SecondFactor,
    /// Recovery codes.
    RecoveryCodes,
    /// Sessions other than the one that was presented.
    Sessions,
    /// A change of address that waited for its confirmation.
    EmailChange,
}

impl Removed {
    /// In words for the record and the mail.
    pub fn words(self) -> &'static str {
        match self {
            Self::Identities => "linked accounts of identity providers",
            Self::SecondFactor => "the second factor",
            Self::RecoveryCodes => "recovery codes",
            Self::Sessions => "other sessions",
            Self::EmailChange => "a change of the e-mail address that waited for its confirmation",
        }
    }

    /// Several in words.
    pub fn list(removed: &[Self]) -> String {
        removed.iter().map(|removed| removed.words()).collect::<Vec<_>>().join(", ")
    }
}

/// Sets the time at which the address of an account was confirmed. The caller holds the lock on its row.
pub(crate) async fn set_verified(
    tx: &mut Tx,
    now: DateTime<Utc>,
    account: &Account,
) -> Result<bool, DbError> {
    Ok(super::store::verify(tx, account.id, &account.email, now).await?)
}

/// Removes what was added to an account before its mailbox was proved for the first time, records it and mails the owner;
/// nothing of both when nothing was there. A referral that waited for the confirmation goes on.
///
/// An account that confirmed an earlier address keeps what it has: an operator may have corrected the address, which must not
/// be a way around the second factor.
///
/// The caller holds the lock on the user's row, has seen under it that the address was never confirmed, and marks it as
/// confirmed in the same transaction. `presented` is the session that came with the proof, which stays. Returns the sessions
/// that ended.
pub(crate) async fn prove_mailbox(
    tx: &mut Tx,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    user_id: Uuid,
    presented: Option<Uuid>,
    trace: &Trace,
) -> Result<Vec<Uuid>, DbError> {
    if super::store::has_former_identities(tx, user_id).await? {
        super::verified(tx, now, policy, user_id, trace.request_id.clone()).await?;
        return Ok(Vec::new());
    }
    let keep = match presented {
        Some(id) if sessions::is_of(tx, id, user_id).await? => Some(id),
        _ => None,
    };
    let mut removed = Vec::new();
    if !is_only_way_in(tx, user_id, keep).await? && identities::forget(tx, user_id).await? > 0 {
        removed.push(Removed::Identities);
    }
    let factors = factors::forget(tx, user_id).await?;
    if factors.apps > 0 {
        removed.push(Removed::SecondFactor);
    }
    if factors.codes > 0 {
        removed.push(Removed::RecoveryCodes);
    }
    if email_change::void_all(tx, now, user_id).await? > 0 {
        removed.push(Removed::EmailChange);
    }
    // Raises the epoch: sign-ins that are under way and remembered browsers end, too.
    let ended = sessions::end_all(tx, now, user_id, keep, "mailbox_proved").await?;
    if !ended.is_empty() {
        removed.push(Removed::Sessions);
    }
    if !removed.is_empty() {
        let reason = Removed::list(&removed);
        let entry =
            Entry { actor: Actor::System, reason: Some(&reason), ..Entry::own(user_id, Event::TrustReset) };
        audit::record(tx, now, entry, trace).await?;
        let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
        outbox::enqueue(tx, &Job::SendTrustReset { user_id, removed }, options).await?;
    }
    super::verified(tx, now, policy, user_id, trace.request_id.clone()).await?;
    Ok(ended)
}

/// Whether the kept session can only have come from the one identity of an account without a password.
async fn is_only_way_in(tx: &mut Tx, user_id: Uuid, keep: Option<Uuid>) -> Result<bool, DbError> {
    if keep.is_none() {
        return Ok(false);
    }
    let credentials = super::credentials_in(tx, user_id).await?;
    let has_password = credentials.is_some_and(|credentials| credentials.password_hash.is_some());
    Ok(!has_password && identities::count(tx, user_id).await? == 1)
}
