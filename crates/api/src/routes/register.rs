//! `POST /api/register/`: makes an account, or with `REGISTRATION=verified` promises a mail whose link does. It does not
//! sign in.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse};
use domain::accounts::{
    self, AttemptKey, Email, NewAccount, NewRegistration, Password, Registered, Repeated, Username,
};
use domain::cache::{Entry, Kind};
use domain::referrals::{Claim, ReferralCode};
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::MaybeCaller;
use crate::body::Fields;
use crate::config::Registration;
use crate::idempotency::OptionalKey;
use crate::limits::Throttle;
use crate::passwords;
use crate::problem::{Code, Problem};
use crate::query::Query;
use crate::reply::User;

/// What to register with.
#[derive(ToSchema)]
#[schema(as = RegisterBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// Where the confirmation mail goes.
    #[schema(
        max_length = 254,
        pattern = "^[A-Za-z0-9]{1,32}@[a-z]{1,16}[.](com|org|net)$",
        example = "ada@example.org"
    )]
    email: String,
    /// Shown to others.
    #[schema(
        min_length = 3,
        max_length = 30,
        pattern = "^[A-Za-z0-9]([_.-]?[A-Za-z0-9]){2,14}$",
        example = "ada"
    )]
    username: String,
    /// Guessable ones are refused. With `REGISTRATION=verified` it may be left out, and is not kept: whoever opens the link
    /// of the mail chooses the password.
    #[schema(min_length = 8, max_length = 128, format = Password, example = "Vq7-tangerine-kiln")]
    password: String,
    /// The code of a friend, as typed.
    #[schema(max_length = 64, example = "0123456789")]
    referral_code: Option<String>,
}

/// The new account.
#[derive(Serialize, ToSchema)]
#[schema(as = RegisterReply)]
pub(super) struct Reply {
    user: User,
    /// What became of the referral; `null` when nobody brought this person.
    referral: Option<Referral>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Referral {
    /// `pending`; `review` when a manager looks at it first; `rejected` when the friend is oneself.
    status: Cow<'static, str>,
}

/// Register
///
/// Makes an account and mails a link that confirms the address. With `REGISTRATION=verified` there is no account yet: the
/// answer is 202 without a body, whether the address has an account or not, the username is kept for `CONFIRMATION_LIFETIME`
/// (48 hours), and the mail's link leads to `POST /api/register/confirm/`. The same browser, known by a cookie, may correct a
/// wrong address: the same name with another one replaces the registration. `?referral=` takes a code or a user id from a link: an
/// unknown one does not stand in the way. Registering does not sign in.
///
/// Whoever lost the answer sends the same again: with an `Idempotency-Key`, for a day, it is answered as it was the first
/// time and makes nothing more. With `REGISTRATION=verified` that is so without a key.
#[utoipa::path(
    post, path = "/api/register/", tag = "accounts", request_body = Body,
    params(("referral" = Option<String>, Query, description = "A referral code or a user id, from a link"),
           ("Idempotency-Key" = Option<String>, Header, description = "A name for this registration, such as a UUID", min_length = 1,
            max_length = 255, pattern = "^[A-Za-z0-9-]{1,255}$")),
    responses((status = 201, description = "The account was made", body = Reply),
              (status = 202, description = "With `REGISTRATION=verified`: a mail is on its way"),
              (status = 409, description = "`email_taken` or `username_taken`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    request: HttpRequest,
    caller: MaybeCaller,
    throttle: Throttle,
    key: OptionalKey,
    query: Query,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    // Nobody mends a link while registering: whatever is no code leads to nobody, and is no error.
    let from_link = query.first("referral");

    let email = fields.parse("email", Email::parse);
    let username = fields.parse("username", |text| Username::choose(text, &state.config.reserved_usernames));
    let own: Vec<&str> = [email.as_ref().map(Email::as_str), username.as_ref().map(Username::as_str)]
        .into_iter()
        .flatten()
        .collect();
    let shortest = state.config.password_min_length;
    let verified = state.config.registration == Registration::Verified;
    let choose = |text: &str| Password::choose(text, shortest, &own);
    let password = if verified {
        fields.parse_optional("password", choose)
    } else {
        fields.parse("password", choose).map(Some)
    };
    let typed = fields.parse_optional("referral_code", ReferralCode::parse);
    let (email, username, password, typed) = fields.finish((email, username, password, typed))?;

    throttle.admit(email.as_str()).await?;
    let Traced(trace) = Traced::of(&request)?;
    let attempt = key.0.map(|key| {
        let code = typed.as_ref().map(ReferralCode::as_str);
        AttemptKey::new(state.keys(), &key.0, &email, &username, code, from_link.as_deref())
    });
    let from_cookie = || state.browser.referral_code(request.headers()).map(|code| code.as_str().to_owned());
    let claim = match typed {
        Some(code) => Some(Claim::Typed(code)),
        None => from_link.or_else(from_cookie).map(Claim::Link),
    };
    let known_as = known_as(&state, &request, caller);
    let confirmation = state.config.common.lifetimes.confirmation;
    let (Some(password), false) = (password, verified) else {
        let (earlier, lifetime) = (state.browser.registration(request.headers()), confirmation);
        let new = NewRegistration { email, username, claim, known_as, earlier, lifetime, trace };
        let id = accounts::begin_registration(&state.pool, state.clock.now(), state.keys(), new).await?;
        state.wake.wake();
        let remembered = state.browser.registration_cookie(id);
        return Ok(HttpResponse::Accepted().cookie(remembered).finish());
    };
    let secret = attempt.is_some().then(|| password.secret().clone());
    let password_hash = Some(passwords::hash_chosen(&state, password).await?);
    let new = NewAccount { email, username, password_hash, claim, known_as, confirmation, trace };
    let (pool, now, policy) = (&state.pool, state.clock.now(), state.config.common.referrals);
    let (Some(attempt), Some(secret)) = (attempt, secret) else {
        return Ok(made(&state, accounts::register(pool, now, state.keys(), policy, new).await?).await);
    };
    match accounts::register_once(pool, now, state.keys(), policy, new, &attempt).await? {
        accounts::Registration::Made(registered) => Ok(made(&state, registered).await),
        accounts::Registration::Repeated(repeated) => made_before(&state, repeated, secret).await,
    }
}

/// Answers as the first time, to whoever has the password that the account was made with.
async fn made_before(
    state: &State,
    repeated: Repeated,
    password: SecretString,
) -> Result<HttpResponse, Problem> {
    let hash = repeated.password_hash.ok_or_else(|| Problem::new(Code::IdempotencyKeyReused))?;
    if !passwords::verify(state, repeated.account.id, password, &hash).await?.ok {
        return Err(Problem::new(Code::IdempotencyKeyReused));
    }
    let referral = repeated.referral_status.map(|status| Referral { status: status.into() });
    Ok(HttpResponse::Created().json(Reply { user: User::new(state, repeated.account), referral }))
}

/// Users that a browser is known to belong to.
pub(super) fn known_as(state: &State, request: &HttpRequest, caller: MaybeCaller) -> Vec<Uuid> {
    let known_as = [caller.0.map(|caller| caller.user_id), state.browser.device_user(request.headers())];
    known_as.into_iter().flatten().collect()
}

/// Answers that an account was made.
pub(super) async fn made(state: &State, registered: Registered) -> HttpResponse {
    announce(state, &registered).await;
    let referral = status(&registered).map(|status| Referral { status: status.into() });
    let user = User::new(state, registered.account);
    HttpResponse::Created().json(Reply { user, referral })
}

/// What follows from a new account: its jobs are begun, and its referrer's figures are read anew.
pub(super) async fn announce(state: &State, registered: &Registered) {
    state.wake.wake();
    if let Some(referral) = &registered.referral {
        let entry = Entry { kind: Kind::ReferralStats, id: referral.referrer_id };
        state.cache.invalidate(entry, referral.version).await;
    }
    tracing::info!(user_id = %registered.account.id, referral = status(registered), "registered an account");
}

fn status(registered: &Registered) -> Option<&'static str> {
    registered.referral.as_ref().map(|referral| referral.status.as_str())
}
