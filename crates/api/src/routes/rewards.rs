//! `GET /api/rewards/`: what was decided for the caller, granted or not.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::referrals;
use domain::rewards::{self, RewardView};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Shared;
use crate::auth::Caller;
use crate::list::{List, Page};
use crate::problem::Problem;
use crate::query::Query;

const PATH: &str = "/api/rewards/";

/// A decision about a reward.
#[derive(Serialize, ToSchema)]
pub(super) struct Reward {
    id: Uuid,
    /// `granted`, `capped` or `ineligible`.
    decision: String,
    /// Why.
    reason: String,
    /// The referral it is about.
    referral_id: Uuid,
    /// Which side of it the caller is: `referrer` or `referred`.
    beneficiary: String,
    /// `credits`, `premium` or `discount`; `null` when no rule was in force.
    reward_type: Option<String>,
    /// What was granted, or what the rule would have given: credits, days of premium, or percent of discount.
    amount: Option<String>,
    /// At how many successful referrals, for the reward of a milestone.
    milestone: Option<i32>,
    /// What to type at the till, for a discount.
    code: Option<String>,
    /// When it was decided.
    date_earned: DateTime<Utc>,
    /// When the grant was taken back, because the referral was reversed.
    reversed_at: Option<DateTime<Utc>>,
    /// What had been spent of it by then, and stays.
    shortfall: Option<String>,
}

impl From<RewardView> for Reward {
    fn from(view: RewardView) -> Self {
        Self {
            id: view.id,
            decision: view.decision,
            reason: view.reason,
            referral_id: view.referral_id,
            beneficiary: view.beneficiary,
            reward_type: view.reward_type,
            amount: view.granted.or(view.offered).map(|amount| amount.to_string()),
            milestone: view.milestone,
            code: view.code,
            date_earned: view.decided_at,
            reversed_at: view.reversed_at,
            shortfall: view.shortfall.map(|amount| amount.to_string()),
        }
    }
}

/// A page of decisions, and what is not decided yet.
#[derive(Serialize, ToSchema)]
#[schema(as = RewardList)]
pub(super) struct Reply {
    #[serde(flatten)]
    page: Page<Reward>,
    waiting: Waiting,
}

/// Referrals that may still earn the caller something.
#[derive(Serialize, ToSchema)]
pub(super) struct Waiting {
    /// Those whom the caller brought and that wait; `/api/referrals/?status=pending` says what for, and until when.
    #[schema(minimum = 0)]
    pending: i64,
    /// Those whom the caller brought and that a manager looks at.
    #[schema(minimum = 0)]
    in_review: i64,
    /// The one by which the caller was brought: while it is not decided, and when it earned nothing.
    own: Option<OwnReferral>,
}

/// The referral by which the caller was brought.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnReferral {
    id: Uuid,
    /// `pending`, `review`, `rejected` or `expired`.
    status: String,
    /// What it waits for, or why it earned nothing, in the words of `/api/referrals/`.
    reason: String,
    /// It is not decided before. The hold begins anew when the address is confirmed.
    qualifies_at: DateTime<Utc>,
    /// It expires then, unless the caller confirms the address before.
    expires_at: Option<DateTime<Utc>>,
}

impl From<referrals::Waiting> for Waiting {
    fn from(waiting: referrals::Waiting) -> Self {
        let own = waiting.own.map(|view| OwnReferral {
            id: view.id,
            status: view.status,
            reason: view.reason,
            qualifies_at: view.qualifies_at,
            expires_at: view.expires_at,
        });
        Self { pending: waiting.pending, in_review: waiting.in_review, own }
    }
}

/// One's rewards
///
/// Each grant, and each one withheld with its reason; newest first. And what is still waiting.
#[utoipa::path(
    get, path = "/api/rewards/", tag = "rewards",
    params(("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Reply),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let asked = query.page();
    let asked = query.finish(asked)?;

    let list = List::new(&state, caller, PATH, "", asked)?;
    let rows = rewards::list(&state.pool, caller.user_id, list.after, list.rows).await?;
    let waiting = referrals::waiting(&state.pool, state.clock.now(), caller.user_id).await?;
    let (mut reply, page) = list.page(rows, |row| (row.decided_at, row.id), Reward::from);
    Ok(reply.json(Reply { page, waiting: waiting.into() }))
}
