//! Spending credits: what is offered, and buying it, once for a key and never with credits that are not there.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::{
    Cause, Entry, Source, add_to_balance, insert_discount, insert_entries, insert_period, lock_balance,
    premium_end, take_from_balance,
};
use super::{Amount, RewardKind, coupons};
use crate::accounts;
use crate::db::{self, DbError, Pool, Tx};
use crate::referrals;
use crate::webhooks::{self, Event};
pub use store::{CatalogOption, Redemption};

/// Why nothing is bought.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The account is gone or blocked.
    #[error("there is no such account")]
    NoSuchAccount,
    /// It is not offered, or not any more.
    #[error("there is no such option")]
    UnknownOption,
    /// It costs more than there is.
    #[error("there are only {0} credits")]
    Insufficient(Amount),
    /// The key was used for another option.
    #[error("the key was used for something else")]
    KeyReused,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<db::QueryError> for RedeemError {
    fn from(error: db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// What credits buy.
pub async fn catalog(pool: &Pool) -> Result<Vec<CatalogOption>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::catalog(&mut connection).await?)
}

/// A redemption and who made it.
pub(super) async fn find(tx: &mut Tx, id: Uuid) -> Result<Option<(Uuid, Redemption)>, DbError> {
    Ok(store::find(tx, id).await?)
}

/// A user's wish to buy something.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Who.
    pub user_id: Uuid,
    /// What.
    pub option: &'a str,
    /// The same key of the same user buys once.
    pub idempotency_key: &'a str,
    /// The request, for the logs and for what is announced of it.
    pub request_id: Option<&'a str>,
}

/// Buys something. The same wish again gives the redemption that was made then, and changes nothing. With it, the version
/// of the user's statistics.
///
/// The counters' lock lets one of a user's redemptions through at a time; the balance's check is what never overdraws.
pub async fn redeem(
    pool: &Pool,
    now: DateTime<Utc>,
    wish: Wish<'_>,
) -> Result<(Redemption, i64), RedeemError> {
    let mut tx = Tx::begin(pool).await?;
    let redeemed = redeem_in(&mut tx, now, wish).await?;
    tx.commit().await?;
    Ok(redeemed)
}

async fn redeem_in(
    tx: &mut Tx,
    now: DateTime<Utc>,
    wish: Wish<'_>,
) -> Result<(Redemption, i64), RedeemError> {
    let Wish { user_id, option, idempotency_key, .. } = wish;
    // Looked at here again: somebody may be blocked after the request was let in.
    if !accounts::lock_alive(tx, user_id).await? {
        return Err(RedeemError::NoSuchAccount);
    }
    let version = referrals::touch(tx, now, user_id).await?;
    if let Some(made) = store::made_before(tx, user_id, idempotency_key).await? {
        return if made.option == option { Ok((made, version)) } else { Err(RedeemError::KeyReused) };
    }
    let Some(offer) = store::offer(tx, option).await? else { return Err(RedeemError::UnknownOption) };
    let Some(kind) = RewardKind::parse(&offer.reward_type) else { return Err(RedeemError::UnknownOption) };
    let balance = lock_balance(tx, user_id, RewardKind::Credits).await?;
    if balance < offer.cost {
        return Err(RedeemError::Insufficient(balance));
    }
    let credits_left = take_from_balance(tx, user_id, RewardKind::Credits, offer.cost).await?;
    let gained = kind.entry(offer.amount);
    let held = add_to_balance(tx, user_id, kind, gained).await?;
    let (mut period, mut code) = (None, None);
    match kind {
        RewardKind::Premium => {
            let starts_at = premium_end(tx, user_id, now).await?;
            let length = TimeDelta::try_days(offer.amount.whole()).unwrap_or_default();
            period = Some((starts_at, starts_at + length));
        }
        RewardKind::Discount => code = Some(coupons::new_code()),
        RewardKind::Credits => {}
    }
    let redemption = Redemption {
        id: Uuid::now_v7(),
        option: offer.option,
        cost: offer.cost,
        reward_type: offer.reward_type,
        amount: offer.amount,
        credits_left,
        premium_until: period.map(|(_, ends_at)| ends_at),
        code,
        created_at: now,
    };
    let redemption = store::insert(tx, user_id, idempotency_key, &redemption).await?;
    let redemption_id = redemption.id;
    let cause = || Cause::Redemption { redemption_id };
    let spent = Entry::new((user_id, RewardKind::Credits), -offer.cost, credits_left, cause(), now);
    let bought = Entry::new((user_id, kind), gained, held, cause(), now);
    insert_entries(tx, &[spent, bought]).await?;
    let source = Source::Redemption(redemption_id);
    if let Some(period) = period {
        insert_period(tx, source, user_id, period).await?;
    }
    if let Some(code) = &redemption.code {
        insert_discount(tx, source, user_id, code, redemption.amount, now).await?;
    }
    webhooks::announce(tx, Event::RewardRedeemed, &[redemption_id], None, wish.request_id).await?;
    Ok((redemption, version))
}
