//! `/api/admin/users/`: what managers see of accounts; keeping somebody out; giving and taking credits.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::accounts::{self, AccountView, Blocking, Email, Find};
use domain::audit::Actor;
use domain::cache::{Entry, Kind};
use domain::rewards::{self, Adjustment, Amount};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::managers::{self, Because, BlockBody, Body};
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::{Complaint, Fields};
use crate::idempotency::IdempotencyKey;
use crate::list::{self, List, Page};
use crate::path;
use crate::problem::{FieldCode, Problem};
use crate::query::Query;

const PATH: &str = "/api/admin/users/";

/// An account, as managers see it: no address.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminUser)]
pub(super) struct View {
    id: Uuid,
    username: String,
    email_verified: bool,
    /// `user` or `admin`.
    role: String,
    referral_code: String,
    /// Who brought it.
    referred_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    blocked_at: Option<DateTime<Utc>>,
    /// What its holder reads at sign-in.
    blocked_reason: Option<String>,
    deleted_at: Option<DateTime<Utc>>,
    referrals: Counts,
}

/// Whom it brought, by status.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminUserReferrals)]
pub(super) struct Counts {
    pending: i64,
    review: i64,
    successful: i64,
    rejected: i64,
    expired: i64,
    reversed: i64,
}

impl From<AccountView> for View {
    fn from(row: AccountView) -> Self {
        let (pending, review, successful, rejected, expired, reversed) = row.referrals;
        Self {
            id: row.id,
            username: row.username,
            email_verified: row.email_verified_at.is_some(),
            role: row.role,
            referral_code: row.referral_code,
            referred_by: row.referred_by,
            created_at: row.created_at,
            blocked_at: row.blocked_at,
            blocked_reason: row.blocked_reason,
            deleted_at: row.deleted_at,
            referrals: Counts { pending, review, successful, rejected, expired, reversed },
        }
    }
}

/// Credits to give or to take.
#[derive(ToSchema)]
#[schema(as = AdminAdjust)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct AdjustBody {
    /// With two decimals at most; below zero to take. Never takes more than there is.
    #[schema(pattern = "^-?[1-9][0-9]{0,5}([.][0-9]{2})?$", max_length = 20, example = "25.00")]
    amount: String,
    /// For the entry and the audit record.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"\S",
        example = "a referral that was lost in the move"
    )]
    reason: String,
}

/// What an adjustment made.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminAdjusted)]
pub(super) struct Adjusted {
    /// The entry in the ledger.
    entry_id: Uuid,
    /// The credits after it.
    #[schema(example = "35.00")]
    balance: String,
}

/// Everybody's accounts
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/admin/users/", tag = "managers",
    params(("q" = Option<String>, Query, description = "An id, a referral code, or the beginning of a username",
            min_length = 1, max_length = 64, pattern = "^[a-z0-9-]{1,64}$"),
           ("email" = Option<String>, Query, description = "The whole e-mail address of an account, never a part of one; percent-encode it. Access \
            logs of proxies may keep the query: `api admin users --email` leaves no such trace", min_length = 3, max_length = 254, format = Email),
           ("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<View>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let text = query.parse("q", |text| Ok::<_, Complaint>(text.to_owned()));
    let email = query.parse("email", |text| Email::parse(text).map_err(Complaint::from));
    let asked = query.page();
    let (text, email, asked) = query.finish((text, email, asked))?;

    let filters = text.as_deref().map(list::search).unwrap_or_default();
    let list = List::new(&state, caller, PATH, filters, asked)?;
    let find = Find { text: text.as_deref(), email: email.as_ref() };
    let rows = accounts::find_views(&state.pool, find, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.created_at, row.id), View::from))
}

/// Keep an account out
///
/// Its sessions end at once, its code brings nobody, and no referral with it is settled. Its holder is mailed the reason, and
/// reads it at sign-in. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/block/", tag = "managers", request_body = BlockBody,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "It is blocked")),
)]
pub(super) async fn block(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let blocking = Blocking { user_id: path::id(&id)?, actor: because.actor, reason: &because.reason };
    let blocked = accounts::block(&state.pool, state.clock.now(), blocking, &because.trace).await?;
    state.sessions.forget(&blocked.ended).await;
    state.wake.wake();
    if blocked.changed {
        tracing::info!(user_id = %blocking.user_id, "a manager blocked an account");
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Let an account in again
///
/// What waited for it is settled now. Its holder is mailed; sessions from before stay ended. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/unblock/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "It is not blocked")),
)]
pub(super) async fn unblock(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let blocking = Blocking { user_id: path::id(&id)?, actor: because.actor, reason: &because.reason };
    let unblocked = accounts::unblock(&state.pool, state.clock.now(), blocking, &because.trace).await?;
    state.wake.wake();
    if unblocked.changed {
        tracing::info!(user_id = %blocking.user_id, "a manager let an account in again");
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Give or take credits
///
/// Once for an `Idempotency-Key`: the same request again is answered alike and changes nothing.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/adjust/", tag = "managers", request_body = AdjustBody,
    params(("id" = Uuid, Path, description = "The account"),
           ("Idempotency-Key" = String, Header, description = "A name for this adjustment, such as a UUID", min_length = 1,
            max_length = 255, pattern = "^[A-Za-z0-9-]{1,255}$")),
    responses((status = 200, description = "What it made", body = Adjusted),
              (status = 409, description = "`insufficient_credits`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn adjust(
    state: Shared,
    caller: Caller,
    traced: Traced,
    key: Result<IdempotencyKey, Problem>,
    id: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let amount = fields.parse("amount", |text| {
        text.parse::<Amount>().ok().filter(|amount| *amount != Amount::ZERO).ok_or_else(|| {
            Complaint::new(
                FieldCode::InvalidValue,
                "This must be an amount such as 25.00 or -2.50, and not 0.",
            )
        })
    });
    let reason = managers::reason(&mut fields);
    let (amount, reason) = fields.finish((amount, reason))?;
    let key = key?;
    let adjustment = Adjustment {
        user_id: path::id(&id)?,
        amount,
        reason: &reason,
        actor: Actor::Manager(caller.user_id),
        idempotency_key: &key.0,
    };
    let adjusted = rewards::adjust_and_record(&state.pool, state.clock.now(), adjustment, &traced.0).await?;
    let entry = Entry { kind: Kind::ReferralStats, id: adjustment.user_id };
    if !adjusted.repeated {
        state.cache.invalidate(entry, adjusted.version).await;
        tracing::info!(user_id = %adjustment.user_id, "a manager adjusted credits");
    }
    Ok(HttpResponse::Ok()
        .json(Adjusted { entry_id: adjusted.entry_id, balance: adjusted.balance.to_string() }))
}
