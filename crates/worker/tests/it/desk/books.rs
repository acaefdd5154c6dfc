//! What managers and holders do to the books, as the api lets them.

use domain::audit::{Actor, Trace};
use domain::db::Tx;
use domain::rewards::{
    self, AdjustError, Adjusted, Adjustment, Amount, RedeemError, Redemption, Replacement, Reversal, RuleSet,
    RuleSpec, Wish,
};
use uuid::Uuid;

use super::Desk;

impl Desk {
    /// Reverses a successful referral; nothing the second time.
    pub(crate) async fn reverse(&self, referral: Uuid) -> Vec<Reversal> {
        self.sql(&format!(
            "WITH moved AS (UPDATE referrals SET status = 'reversed', reason = 'reversed_by_manager'
                            WHERE id = '{referral}' AND status = 'successful' RETURNING referrer_id, settled_at),
                  its_day AS (UPDATE referral_days SET successful = successful - 1 FROM moved
                              WHERE user_id = referrer_id AND day = (settled_at AT TIME ZONE 'UTC')::date)
             UPDATE referral_counters SET successful = successful - 1, reversed = reversed + 1
             FROM moved WHERE user_id = moved.referrer_id"
        ))
        .await;
        let mut tx = Tx::begin(&self.pool).await.unwrap();
        let reversals =
            rewards::reverse_referral(&mut tx, self.clock.now(), referral, "forged accounts").await.unwrap();
        tx.commit().await.unwrap();
        reversals
    }

    /// Gives or takes credits.
    pub(crate) async fn adjust(
        &self,
        user_id: Uuid,
        hundredths: i64,
        key: &str,
    ) -> Result<Adjusted, AdjustError> {
        let adjustment = Adjustment {
            user_id,
            amount: Amount::from_hundredths(hundredths),
            reason: "a gift",
            actor: Actor::Operator,
            idempotency_key: key,
        };
        let mut tx = Tx::begin(&self.pool).await.unwrap();
        let adjusted = rewards::adjust(&mut tx, self.clock.now(), adjustment).await?;
        tx.commit().await.unwrap();
        Ok(adjusted)
    }

    /// Buys something.
    pub(crate) async fn redeem(
        &self,
        user_id: Uuid,
        option: &str,
        idempotency_key: &str,
    ) -> Result<Redemption, RedeemError> {
        let wish = Wish { user_id, option, idempotency_key, request_id: None };
        Ok(rewards::redeem(&self.pool, self.clock.now(), wish).await?.0)
    }

    /// Buys something with credits that fell from heaven, and what was earned with them: of 15 that it costs, 5 of them.
    pub(crate) async fn redeem_after_gift(&self, user_id: Uuid, option: &str) -> Redemption {
        self.adjust(user_id, 1_000, &Uuid::now_v7().to_string()).await.unwrap();
        self.redeem(user_id, option, &Uuid::now_v7().to_string()).await.unwrap()
    }

    /// Changes the rules.
    pub(crate) async fn change_rules(&self, change: impl FnOnce(&mut Vec<RuleSpec>)) -> RuleSet {
        let RuleSet { version, mut rules, .. } = rewards::rules(&self.pool).await.unwrap();
        change(&mut rules);
        let replacement = Replacement { version, rules, actor: Actor::Operator };
        rewards::replace_rules(&self.pool, self.clock.now(), replacement, &Trace::default()).await.unwrap()
    }
}

/// The rule of this name.
pub(crate) fn rule<'a>(rules: &'a mut [RuleSpec], key: &str) -> &'a mut RuleSpec {
    rules.iter_mut().find(|rule| rule.key() == key).unwrap()
}
