//! Proving to be the holder once more, before what a stolen session must not do.
//!
//! The password does; for an account that has none, a sign-in of the last minutes does: whoever holds a session for longer
//! than that need not be its holder any more.

use chrono::TimeDelta;
use domain::accounts::{self, Credentials, Password};
use domain::sessions;

use crate::app::State;
use crate::auth::Caller;
use crate::auth::attempt::Attempt;
use crate::body::Fields;
use crate::limits::Throttle;
use crate::passwords;
use crate::problem::{Code, Problem};

/// How long a sign-in proves that its holder is there.
const RECENT: TimeDelta = TimeDelta::minutes(10);

/// What the account of a caller is guarded by.
pub(super) async fn credentials(state: &State, caller: Caller) -> Result<Credentials, Problem> {
    accounts::own_credentials(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)
}

/// The field with the password, which is required of an account that has one. `None` only when it is wrong.
#[allow(clippy::option_option, reason = "the outer one says whether there is an error, as everywhere here")]
pub(super) fn field(fields: &mut Fields, name: &str, credentials: &Credentials) -> Option<Option<Password>> {
    match credentials.password_hash {
        Some(_) => fields.parse(name, Password::typed).map(Some),
        None => fields.parse_optional(name, Password::typed),
    }
}

/// The credentials, if the password is theirs, or the sign-in recent where none was given or there is none.
pub(super) async fn check(
    state: &State,
    throttle: &Throttle,
    caller: Caller,
    credentials: Credentials,
    password: Option<Password>,
) -> Result<Credentials, Problem> {
    if let (Some(hash), Some(password)) = (&credentials.password_hash, password) {
        let attempt = Attempt::to_prove_again(throttle.clone(), caller.user_id).await?;
        if !passwords::verify(state, caller.user_id, password.into_secret(), hash).await?.ok {
            attempt.failed().await;
            return Err(Problem::new(Code::InvalidCredentials));
        }
        attempt.succeeded().await;
        return Ok(credentials);
    }
    let signed_in_at = sessions::signed_in_at(&state.pool, caller.session_id).await?;
    match signed_in_at {
        Some(at) if state.clock.now() - at < RECENT => Ok(credentials),
        _ => Err(Problem::new(Code::RecentSignInNeeded)),
    }
}
