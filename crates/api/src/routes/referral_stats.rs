//! `GET /api/referral-stats/`: the figures of the caller's referrals.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::Bytes;
use chrono::{DateTime, Utc};
use domain::cache::{Entry, Kind};
use domain::referrals::{self, Stats};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::cache::Prefetched;
use crate::problem::Problem;
use crate::reply::referral_url;

/// The figures.
#[derive(Serialize, ToSchema)]
#[schema(as = ReferralStats)]
pub(super) struct Reply {
    referral_code: String,
    referral_url: String,
    /// Visits of the referral link.
    clicks: i64,
    /// Referrals in all.
    total: i64,
    /// Those that wait.
    pending: i64,
    /// Those that a manager looks at.
    in_review: i64,
    /// Those that count.
    successful: i64,
    /// Those that do not.
    rejected: i64,
    /// `successful` of `total`, from 0 to 1.
    conversion_rate: f64,
    rewards: Rewards,
    /// `null` when none is left.
    next_milestone: Option<Milestone>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Rewards {
    /// Credits to spend.
    #[schema(example = "10.00")]
    credits: String,
    /// When premium ends; `null` without premium.
    premium_until: Option<DateTime<Utc>>,
    /// Coupons that were not used.
    discounts: Vec<Discount>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Discount {
    code: String,
    /// Percent off.
    #[schema(example = "20.00")]
    percent: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Milestone {
    /// At how many successful referrals.
    at: i64,
    /// How many are missing.
    remaining: i64,
    reward: MilestoneReward,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MilestoneReward {
    /// `credits`, `premium` or `discount`.
    reward_type: &'static str,
    /// Credits, days of premium, or percent.
    #[schema(example = "30.00")]
    amount: String,
}

impl Reply {
    fn new(state: &State, stats: Stats) -> Self {
        let discounts = stats
            .discounts
            .into_iter()
            .map(|discount| Discount { code: discount.code, percent: discount.percent.to_string() });
        Self {
            referral_url: referral_url(state, &stats.referral_code),
            referral_code: stats.referral_code,
            clicks: stats.clicks,
            total: stats.total,
            pending: stats.pending,
            in_review: stats.in_review,
            successful: stats.successful,
            rejected: stats.rejected,
            conversion_rate: ratio(stats.successful, stats.total),
            rewards: Rewards {
                credits: stats.credits.to_string(),
                premium_until: stats.premium_until,
                discounts: discounts.collect(),
            },
            next_milestone: stats.next_milestone.map(|next| Milestone {
                at: next.at,
                remaining: next.remaining,
                reward: MilestoneReward { reward_type: next.kind.as_str(), amount: next.amount.to_string() },
            }),
        }
    }
}

/// To four decimals; nothing of nothing is 0.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a ratio need not be exact beyond 2^53"
)]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0 }
}

/// One's figures
///
/// They cost the same at any number of referrals, and are at most two seconds old.
#[utoipa::path(
    get, path = "/api/referral-stats/", tag = "referrals",
    responses((status = 200, description = "The figures", body = Reply)),
)]
pub(super) async fn get(
    state: Shared,
    caller: Caller,
    prefetched: Prefetched,
) -> Result<HttpResponse, Problem> {
    let body = body(&state, caller.user_id, prefetched).await?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
}

/// The figures of a user, as they are sent.
pub(super) async fn body(state: &State, user_id: Uuid, copy: Prefetched) -> Result<Bytes, Problem> {
    let load = async || {
        let stats = referrals::stats(&state.pool, state.clock.now(), user_id).await?;
        let stats = stats.ok_or_else(Problem::unauthenticated)?;
        let version = stats.version;
        let body = serde_json::to_vec(&Reply::new(state, stats)).map_err(Problem::internal)?;
        Ok((version, body.into()))
    };
    state.cache.get_or_load(Entry { kind: Kind::ReferralStats, id: user_id }, copy, load).await
}
