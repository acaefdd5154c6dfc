//! Spending credits: `GET /api/rewards/catalog/` and `POST /api/rewards/redeem/`.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::cache::{Entry, Kind};
use domain::rewards::{self, CatalogOption, Redemption, Wish};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::Fields;
use crate::idempotency::IdempotencyKey;
use crate::problem::Problem;

/// The longest name of an option.
const LONGEST_OPTION: usize = 40;

/// What credits buy.
#[derive(Serialize, ToSchema)]
pub(super) struct Catalog {
    items: Vec<Offer>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Offer {
    /// Its name in requests.
    #[schema(example = "premium_30_days")]
    option: String,
    /// Its name for people.
    title: String,
    /// In credits.
    #[schema(example = "50.00")]
    cost: String,
    reward: OfferedReward,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OfferedReward {
    /// `premium` or `discount`.
    reward_type: String,
    /// Days of premium, or percent.
    #[schema(example = "30.00")]
    amount: String,
}

impl From<CatalogOption> for Offer {
    fn from(offer: CatalogOption) -> Self {
        let reward = OfferedReward { reward_type: offer.reward_type, amount: offer.amount.to_string() };
        Self { option: offer.option, title: offer.title, cost: offer.cost.to_string(), reward }
    }
}

/// What to buy.
#[derive(ToSchema)]
#[schema(as = RedeemBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// An `option` of the catalogue.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z0-9_]{1,40}$", example = "premium_30_days")]
    option: String,
}

/// What was bought.
#[derive(Serialize, ToSchema)]
#[schema(as = RedeemReply)]
pub(super) struct Reply {
    id: Uuid,
    option: String,
    /// In credits.
    cost: String,
    reward: RedeemedReward,
    /// The credits that were left.
    credits: String,
    created_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RedeemedReward {
    /// `premium` or `discount`.
    reward_type: String,
    /// Days of premium, or percent.
    amount: String,
    /// When premium ended by then; `null` for a coupon.
    premium_until: Option<DateTime<Utc>>,
    /// What to type at the till; `null` for premium.
    code: Option<String>,
}

impl From<Redemption> for Reply {
    fn from(redemption: Redemption) -> Self {
        Self {
            id: redemption.id,
            option: redemption.option,
            cost: redemption.cost.to_string(),
            reward: RedeemedReward {
                reward_type: redemption.reward_type,
                amount: redemption.amount.to_string(),
                premium_until: redemption.premium_until,
                code: redemption.code,
            },
            credits: redemption.credits_left.to_string(),
            created_at: redemption.created_at,
        }
    }
}

/// What credits buy
#[utoipa::path(
    get, path = "/api/rewards/catalog/", tag = "rewards",
    responses((status = 200, description = "The catalogue", body = Catalog)),
)]
pub(super) async fn catalog(state: Shared) -> Result<HttpResponse, Problem> {
    let items = rewards::catalog(&state.pool).await?.into_iter().map(Offer::from).collect();
    Ok(HttpResponse::Ok().json(Catalog { items }))
}

/// Spend credits
///
/// Once for an `Idempotency-Key`: the same request again is answered as the first was, and buys nothing more. The same key
/// with another option is refused. A refusal is not kept: the key may be used again.
#[utoipa::path(
    post, path = "/api/rewards/redeem/", tag = "rewards", request_body = Body,
    params(("Idempotency-Key" = String, Header, description = "A name for this purchase, such as a UUID", min_length = 1,
            max_length = 255, pattern = "^[A-Za-z0-9-]{1,255}$")),
    responses((status = 201, description = "It was bought, now or before by this key", body = Reply),
              (status = 400, description = "`bad_request`: no key", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`insufficient_credits`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    caller: Caller,
    Traced(trace): Traced,
    key: IdempotencyKey,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let option = fields.text("option", LONGEST_OPTION);
    let option = fields.finish(option)?;

    let request_id = trace.request_id.as_deref();
    let wish = Wish { user_id: caller.user_id, option: &option, idempotency_key: &key.0, request_id };
    let (redemption, version) = rewards::redeem(&state.pool, state.clock.now(), wish).await?;
    let entry = Entry { kind: Kind::ReferralStats, id: caller.user_id };
    state.cache.invalidate(entry, version).await;
    tracing::info!(user_id = %caller.user_id, redemption_id = %redemption.id, option, "redeemed credits");
    Ok(HttpResponse::Created().json(Reply::from(redemption)))
}
