//! What may be told, and the words it is told in.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::db::{DbError, Tx};
use crate::{referrals, rewards};

/// The event of a try: it tells of nothing, and every endpoint takes it.
pub const PING: &str = "ping";

macro_rules! events {
    ($($name:ident = $slug:literal, $meaning:literal;)*) => {
        /// What happened. A closed set: add, never rename.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Event {
            $(#[doc = $meaning] #[serde(rename = $slug)] $name,)*
        }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its `type`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// When it happens, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

events! {
    ReferralPending = "referral.pending", "A referral was made, or let pass by a manager, and waits.";
    ReferralReview = "referral.review", "A referral was laid before the managers.";
    ReferralSuccessful = "referral.successful", "A referral counted, and earned what `rewards` lists.";
    ReferralRejected = "referral.rejected", "A referral was refused.";
    ReferralExpired = "referral.expired", "A referral waited too long.";
    ReferralReversed = "referral.reversed", "A referral that had counted was taken back, with what it earned.";
    RewardRedeemed = "reward.redeemed", "Credits were spent.";
    UserRegistered = "user.registered", "An account was made.";
    UserVerified = "user.verified", "An account confirmed its address for the first time.";
    UserRenamed = "user.renamed", "An account has another username: links to the old one lead on.";
    UserDeleted = "user.deleted", "An account was deleted: forget what you keep of it.";
}

impl Event {
    /// Reads its `type`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.as_str() == word)
    }
}

/// An event as its job carries it.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    /// What happened.
    pub event: Event,
    /// To what.
    pub subject_id: Uuid,
    /// Why, of referrals.
    pub reason: Option<&'a str>,
}

/// The body of an event, to the byte.
pub(super) fn body(kind: &str, at: DateTime<Utc>, data: &Value) -> String {
    json!({ "type": kind, "timestamp": at.to_rfc3339_opts(SecondsFormat::Micros, true), "data": data })
        .to_string()
}

/// What an event tells, beside what it is. `None` when what it is about cannot be found.
pub(super) async fn data(tx: &mut Tx, announced: Announced<'_>) -> Result<Option<Value>, DbError> {
    let Announced { event, subject_id, reason } = announced;
    match event {
        Event::UserRegistered | Event::UserVerified | Event::UserRenamed | Event::UserDeleted => {
            Ok(Some(json!({ "user_id": subject_id })))
        }
        Event::RewardRedeemed => {
            let redemption = rewards::find_redemption(tx, subject_id).await?;
            Ok(redemption.map(|(user_id, redemption)| {
                json!({
                    "redemption_id": redemption.id,
                    "user_id": user_id,
                    "option": redemption.option,
                    "cost": redemption.cost.to_string(),
                    "reward_type": redemption.reward_type,
                    "amount": redemption.amount.to_string(),
                })
            }))
        }
        Event::ReferralPending
        | Event::ReferralReview
        | Event::ReferralSuccessful
        | Event::ReferralRejected
        | Event::ReferralExpired
        | Event::ReferralReversed => {
            let Some((referrer_id, referred_user_id)) = referrals::sides(tx, subject_id).await? else {
                return Ok(None);
            };
            let mut data = json!({
                "referral_id": subject_id,
                "referrer_id": referrer_id,
                "referred_user_id": referred_user_id,
                "status": event.as_str().strip_prefix("referral."),
                "reason": reason,
            });
            if matches!(event, Event::ReferralSuccessful | Event::ReferralReversed) {
                let earned = rewards::of_referral(tx, subject_id).await?;
                let is_reversed = event == Event::ReferralReversed;
                let rewards: Vec<Value> = earned.iter().map(|reward| render(reward, is_reversed)).collect();
                if let Some(members) = data.as_object_mut() {
                    members.insert("rewards".to_owned(), rewards.into());
                }
            }
            Ok(Some(data))
        }
    }
}

/// A grant; of one that is taken back also what had been spent, and stays.
fn render(reward: &rewards::Earned, is_reversed: bool) -> Value {
    let mut value = json!({
        "reward_id": reward.id,
        "user_id": reward.user_id,
        "reward_type": reward.reward_type,
        "amount": reward.amount.to_string(),
    });
    if let (true, Some(members)) = (is_reversed, value.as_object_mut()) {
        members.insert("shortfall".to_owned(), reward.shortfall.unwrap_or_default().to_string().into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_by_their_words() {
        for event in Event::ALL {
            assert_eq!(Event::parse(event.as_str()), Some(*event));
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
        }
        assert_eq!(Event::parse(PING), None);
        assert_eq!(Event::parse("referral"), None);
    }

    #[test]
    fn a_body_has_the_three_members_of_standard_webhooks() {
        let at = "2026-11-28T12:00:00.5Z".parse().unwrap();
        let body: Value = serde_json::from_str(&body("ping", at, &json!({ "a": 1 }))).unwrap();
        let wanted =
            json!({ "type": "ping", "timestamp": "2026-11-28T12:00:00.500000Z", "data": { "a": 1 } });
        assert_eq!(body, wanted);
    }
}
