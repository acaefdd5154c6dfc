//! The SQL of balances and entries.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::{Amount, RewardKind};
use crate::db::Tx;
use crate::schema::{balances, ledger_entries as entries};

/// Why an entry is there.
#[derive(Clone, Copy)]
pub(in super::super) enum Cause<'a> {
    /// A grant.
    Referral { reward_id: Uuid },
    /// Something that credits bought.
    Redemption { redemption_id: Uuid },
    /// A grant that is taken back, but for what was spent of it.
    Reversal { entry_id: Uuid, shortfall: Amount, reason: &'a str },
    /// A manager, or whoever holds the command line.
    Admin { reason: &'a str, actor_id: Option<Uuid>, idempotency_key: &'a str },
    /// The end of the account.
    Forfeit,
}

/// An entry to be.
#[derive(Insertable)]
#[diesel(table_name = entries)]
pub(in super::super) struct Entry<'a> {
    id: Uuid,
    user_id: Uuid,
    kind: &'static str,
    amount: Amount,
    balance_after: Amount,
    cause: &'static str,
    created_at: DateTime<Utc>,
    reward_id: Option<Uuid>,
    redemption_id: Option<Uuid>,
    reverses_id: Option<Uuid>,
    shortfall: Option<Amount>,
    reason: Option<&'a str>,
    actor_id: Option<Uuid>,
    idempotency_key: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// `amount` moved the balance to `balance_after`.
    pub(in super::super) fn new(
        (user_id, kind): (Uuid, RewardKind),
        amount: Amount,
        balance_after: Amount,
        cause: Cause<'a>,
        created_at: DateTime<Utc>,
    ) -> Self {
        let entry = Self {
            id: Uuid::now_v7(),
            user_id,
            kind: kind.as_str(),
            amount,
            balance_after,
            cause: "forfeit",
            created_at,
            reward_id: None,
            redemption_id: None,
            reverses_id: None,
            shortfall: None,
            reason: None,
            actor_id: None,
            idempotency_key: None,
        };
        match cause {
            Cause::Referral { reward_id } => Self { cause: "referral", reward_id: Some(reward_id), ..entry },
            Cause::Redemption { redemption_id } => {
                Self { cause: "redemption", redemption_id: Some(redemption_id), ..entry }
            }
            Cause::Reversal { entry_id, shortfall, reason } => Self {
                cause: "reversal",
                reverses_id: Some(entry_id),
                shortfall: Some(shortfall),
                reason: Some(reason),
                ..entry
            },
            Cause::Admin { reason, actor_id, idempotency_key } => Self {
                cause: "admin",
                reason: Some(reason),
                actor_id,
                idempotency_key: Some(idempotency_key),
                ..entry
            },
            Cause::Forfeit => entry,
        }
    }

    /// Its id.
    pub(in super::super) fn id(&self) -> Uuid {
        self.id
    }
}

/// Adds to a balance, which may be made by it; returns the new balance.
///
/// Never with a negative amount: an upsert checks the row that it would insert, whether or not it inserts it.
pub(in super::super) async fn add_to_balance(
    tx: &mut Tx,
    user_id: Uuid,
    kind: RewardKind,
    amount: Amount,
) -> QueryResult<Amount> {
    diesel::insert_into(balances::table)
        .values((
            balances::user_id.eq(user_id),
            balances::kind.eq(kind.as_str()),
            balances::amount.eq(amount),
        ))
        .on_conflict((balances::user_id, balances::kind))
        .do_update()
        .set(balances::amount.eq(balances::amount + excluded(balances::amount)))
        .returning(balances::amount)
        .get_result(&mut **tx)
        .await
}

/// Takes from a balance; returns the new one. Refused below zero.
pub(in super::super) async fn take_from_balance(
    tx: &mut Tx,
    user_id: Uuid,
    kind: RewardKind,
    amount: Amount,
) -> QueryResult<Amount> {
    diesel::update(balances::table.find((user_id, kind.as_str())))
        .set(balances::amount.eq(balances::amount - amount))
        .returning(balances::amount)
        .get_result(&mut **tx)
        .await
}

/// The balance, which nobody else changes until the transaction ends.
pub(in super::super) async fn lock_balance(
    tx: &mut Tx,
    user_id: Uuid,
    kind: RewardKind,
) -> QueryResult<Amount> {
    let row = balances::table.find((user_id, kind.as_str())).select(balances::amount).for_update();
    Ok(row.first(&mut **tx).await.optional()?.unwrap_or_default())
}

pub(in super::super) async fn insert_entries(tx: &mut Tx, new: &[Entry<'_>]) -> QueryResult<()> {
    diesel::insert_into(entries::table).values(new).execute(&mut **tx).await?;
    Ok(())
}
