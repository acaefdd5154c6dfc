//! `/api/me/factors/`: the second factor of the signed-in account.
//!
//! Whoever changes it proves again to be the owner: a session that was left open, or stolen, is not enough to lock the
//! owner out or to let somebody in. An account without a password has nothing to type; there, having signed in within the
//! last ten minutes counts, which took whatever that account signs in with.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::accounts::{self, Credentials};
use domain::factors::{self, Code as FactorCode, RecoveryCode, TotpCode};
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

use super::proof;
use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::{Caller, Transport, second_factor};
use crate::body::Fields;
use crate::limits::Throttle;
use crate::problem::Problem;
use crate::qr;

/// Whoever adds a factor proves to be the owner.
#[derive(ToSchema)]
#[schema(as = FactorEnrol)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Enrol {
    /// Left out by accounts that have none: they have to have signed in within ten minutes.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
}

/// The first code.
#[derive(ToSchema)]
#[schema(as = FactorConfirm)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Confirm {
    /// Six digits of the app.
    #[schema(min_length = 6, max_length = 64, example = "492039")]
    code: String,
}

/// Whoever changes a factor proves to be the owner, and to have it.
#[derive(ToSchema)]
#[schema(as = FactorChange)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Change {
    /// Left out by accounts that have none: they have to have signed in within ten minutes.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
    /// Six digits of the app, or a recovery code.
    #[schema(min_length = 6, max_length = 64, example = "492039")]
    code: String,
}

/// What an account has.
#[derive(Serialize, ToSchema)]
pub(super) struct Factors {
    /// What is asked for at sign-in: one at most. None that waits for its first code.
    factors: Vec<Factor>,
    /// Recovery codes that were not used.
    recovery_codes_left: i64,
    /// Whether changes want the password; without one, a sign-in within the last ten minutes.
    password_needed: bool,
}

/// A second factor.
#[derive(Serialize, ToSchema)]
pub(super) struct Factor {
    id: Uuid,
    /// `totp`
    #[schema(pattern = "^totp$")]
    kind: &'static str,
    /// When it was confirmed.
    created_at: DateTime<Utc>,
    /// When a code of it was last taken.
    last_used_at: DateTime<Utc>,
}

/// An app that waits for its first code. None of this is shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct Enrolment {
    id: Uuid,
    /// What is typed into the app (base 32).
    secret: String,
    /// The same for a QR code.
    otpauth_uri: String,
    /// That QR code, as an SVG image.
    qr_svg: String,
    /// How many seconds there are to confirm it.
    expires_in: i64,
}

/// What stands in for the app. None of it is shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryCodes {
    /// Each is good for one use.
    recovery_codes: Vec<String>,
}

impl RecoveryCodes {
    fn new(codes: &[RecoveryCode]) -> Self {
        Self { recovery_codes: codes.iter().map(RecoveryCode::expose).collect() }
    }
}

/// The second factor
#[utoipa::path(
    get, path = "/api/me/factors/", tag = "accounts",
    responses((status = 200, description = "What is asked for at sign-in", body = Factors)),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let summary = factors::summary(&state.pool, caller.user_id).await?;
    let credentials = accounts::own_credentials(&state.pool, caller.user_id).await?;
    let credentials = credentials.ok_or_else(Problem::unauthenticated)?;
    let factors = summary.totp.map(|totp| Factor {
        id: totp.id,
        kind: "totp",
        created_at: totp.created_at,
        last_used_at: totp.last_used_at,
    });
    Ok(HttpResponse::Ok().json(Factors {
        factors: factors.into_iter().collect(),
        recovery_codes_left: summary.recovery_codes_left,
        password_needed: credentials.password_hash.is_some(),
    }))
}

/// Add an authenticator app
///
/// It is not asked for before its first code was sent to `/api/me/factors/totp/confirm/`, within 15 minutes. Adding again
/// before that starts over.
#[utoipa::path(
    post, path = "/api/me/factors/totp/", tag = "accounts", request_body = Enrol,
    responses((status = 201, description = "The secret of the app", body = Enrolment),
              (status = 403, description = "`recent_sign_in_needed`, or `csrf_failed`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`factor_exists`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn enrol(
    state: Shared,
    caller: Caller,
    throttle: Throttle,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let credentials = proof::credentials(&state, caller).await?;
    let password = proof::field(&mut fields, "password", &credentials);
    let password = fields.finish(password)?;
    let checked = proof::check(&state, &throttle, caller, credentials, password).await?;
    let issuer = Url::parse(state.origin()).ok().and_then(|url| url.host_str().map(str::to_owned));
    let issuer = issuer.unwrap_or_else(|| "Trellis".to_owned());
    let (now, keys) = (state.clock.now(), &state.keys().factor);
    let enrolment = factors::begin_totp(&state.pool, now, keys, &checked, &issuer).await?;
    let qr_svg = qr::drawing(&enrolment.uri).map_err(Problem::internal)?;
    Ok(HttpResponse::Created().json(Enrolment {
        id: enrolment.id,
        secret: enrolment.secret,
        otpauth_uri: enrolment.uri,
        qr_svg,
        expires_in: factors::PENDING_LIFETIME.num_seconds(),
    }))
}

/// Confirm the authenticator app
///
/// From here on signing in takes a code. Every other session ends, and a notice is mailed.
#[utoipa::path(
    post, path = "/api/me/factors/totp/confirm/", tag = "accounts", request_body = Confirm,
    responses((status = 200, description = "The recovery codes, shown this once", body = RecoveryCodes),
              (status = 401, description = "`invalid_code`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 404, description = "No app waits for its first code", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn confirm(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let code = fields.parse("code", TotpCode::parse);
    let code = fields.finish(code)?;
    // Counted apart: what is mistyped here must not stand in the way of a sign-in.
    let pass = throttle.admit(&format!("{}:confirm", caller.user_id.simple())).await?;
    let (now, keys) = (state.clock.now(), &state.keys().factor);
    let confirmed =
        factors::confirm_totp(&state.pool, now, keys, caller.user_id, caller.session_id, &code, &trace)
            .await?;
    throttle.give_back(pass).await;
    state.sessions.forget(&confirmed.ended).await;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "a second factor was added");
    let mut response = HttpResponse::Ok();
    if caller.transport == Transport::Cookie {
        // What was known of every browser ended with the sessions; this one just proved to be the owner's.
        response.cookie(state.browser.device_cookie(caller.user_id, confirmed.session_epoch));
    }
    Ok(response.json(RecoveryCodes::new(&confirmed.recovery_codes)))
}

/// Make new recovery codes
///
/// The old ones are good for nothing any more.
#[utoipa::path(
    post, path = "/api/me/factors/recovery-codes/", tag = "accounts", request_body = Change,
    responses((status = 200, description = "The recovery codes, shown this once", body = RecoveryCodes),
              (status = 401, description = "`invalid_credentials` or `invalid_code`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`recent_sign_in_needed`, or `csrf_failed`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 404, description = "There is no second factor", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn renew_codes(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (checked, code) = prove_change(&state, &throttle, caller, fields).await?;
    let pass = second_factor::admit_in_session(&throttle, caller, &code).await?;
    let (now, keys) = (state.clock.now(), &state.keys().factor);
    let codes = factors::renew_codes(&state.pool, now, keys, &checked, &code, &trace).await?;
    throttle.give_back(pass).await;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "recovery codes were renewed");
    Ok(HttpResponse::Ok().json(RecoveryCodes::new(&codes)))
}

/// Remove the authenticator app
///
/// With its recovery codes. A notice is mailed.
#[utoipa::path(
    delete, path = "/api/me/factors/totp/", tag = "accounts", request_body = Change,
    responses((status = 204, description = "Signing in takes no code any more"),
              (status = 401, description = "`invalid_credentials` or `invalid_code`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`recent_sign_in_needed`, or `csrf_failed`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 404, description = "There is no second factor", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn remove(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (checked, code) = prove_change(&state, &throttle, caller, fields).await?;
    let pass = second_factor::admit_in_session(&throttle, caller, &code).await?;
    let (now, keys) = (state.clock.now(), &state.keys().factor);
    factors::remove_totp(&state.pool, now, keys, &checked, &code, &trace).await?;
    throttle.give_back(pass).await;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "a second factor was removed");
    Ok(HttpResponse::NoContent().finish())
}

/// Reads a [`Change`] and checks its password.
async fn prove_change(
    state: &State,
    throttle: &Throttle,
    caller: Caller,
    mut fields: Fields,
) -> Result<(Credentials, FactorCode), Problem> {
    let credentials = proof::credentials(state, caller).await?;
    let password = proof::field(&mut fields, "password", &credentials);
    let code = fields.parse("code", FactorCode::parse);
    let (password, code) = fields.finish((password, code))?;
    Ok((proof::check(state, throttle, caller, credentials, password).await?, code))
}
