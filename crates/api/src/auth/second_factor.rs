//! Between the first and the second factor of a sign-in: the challenge, and what codes are counted by.
//!
//! Nothing is started and nothing stored before the second factor is there. The client holds the challenge, signed and good
//! for five minutes, which says who proved what: it is bound to the user and to the session epoch, so that whatever ends
//! all sessions (a new password, a deletion, a block, another factor) ends it too. It is no session: without a code it
//! opens nothing.

use actix_web::HttpRequest;
use chrono::{DateTime, TimeDelta, Utc};
use domain::accounts::Credentials;
use domain::factors::Code;
use domain::token::Key;
use serde_json::json;
use uuid::Uuid;

use super::{Caller, signed};
use crate::app::State;
use crate::limits::{Decision, Throttle, policy};
use crate::problem::{self, Problem};

/// How long somebody has to type a code.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// Who proved the first factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The user.
    pub user_id: Uuid,
    /// Of which session epoch the account was.
    pub session_epoch: i32,
}

impl Challenge {
    fn sign(self, key: &Key, now: DateTime<Utc>) -> String {
        let ends = (now + LIFETIME).timestamp();
        signed::sign(key, &format!("{}-{}-{ends}", self.user_id.simple(), self.session_epoch))
    }

    fn verify(key: &Key, text: &str, now: DateTime<Utc>) -> Option<Self> {
        let mut parts = signed::verify(key, text)?.split('-');
        let user_id = Uuid::try_parse(parts.next()?).ok()?;
        let session_epoch = parts.next()?.parse().ok()?;
        let ends: i64 = parts.next()?.parse().ok()?;
        (now.timestamp() < ends).then_some(Self { user_id, session_epoch })
    }

    /// The challenge that a client sent back, if it is one of ours and still good.
    pub fn read(state: &State, text: &str) -> Option<Self> {
        Self::verify(&key(state), text, state.clock.now())
    }
}

/// The key of nothing but challenges, so that nothing else that we sign can be taken for one.
fn key(state: &State) -> Key {
    state.keys().token.derive("sign-in challenge")
}

/// The challenge for somebody who proved the first factor.
pub fn challenge(state: &State, checked: &Credentials) -> String {
    let challenge = Challenge { user_id: checked.user_id, session_epoch: checked.session_epoch };
    challenge.sign(&key(state), state.clock.now())
}

/// The answer to somebody who proved the first factor of an account that has a second. A page that cannot answer so, being
/// come to by a redirect, sends on to `/login#challenge=` with the challenge.
pub fn required(state: &State, checked: &Credentials) -> Problem {
    Problem::new(problem::Code::SecondFactorRequired)
        .member("challenge", challenge(state, checked).into())
        .member("expires_in", LIFETIME.num_seconds().into())
        .member("factors", json!(["totp", "recovery_code"]))
}

/// Counts a code that is sent to finish a sign-in, or refuses it with 429. Guesses with a known password use up what unknown
/// browsers have, not what a browser has in which the owner signed in before, nor recovery codes from other networks.
pub async fn admit(
    state: &State,
    request: &HttpRequest,
    throttle: &Throttle,
    checked: &Credentials,
    code: &Code,
) -> Result<Decision, Problem> {
    let account = checked.user_id.simple().to_string();
    let device = state.browser.device(request.headers()).filter(|device| device.is_known_for(checked));
    let (policies, subject) = match (code, device) {
        (Code::Recovery(_), _) => (policy::RECOVERY, account),
        (Code::Totp(_), Some(device)) => (policy::FACTOR_FROM_KNOWN, device.subject()),
        (Code::Totp(_), None) => (policy::FACTOR, account),
    };
    throttle.tell(throttle.check_by(policies, &subject).await)
}

/// Counts a code that a signed-in user sends, or refuses it with 429. By session: a session of an account with a second
/// factor began with a code, or with setting the factor up.
pub async fn admit_in_session(throttle: &Throttle, caller: Caller, code: &Code) -> Result<Decision, Problem> {
    let (policies, subject) = match code {
        Code::Recovery(_) => (policy::RECOVERY, caller.user_id.simple().to_string()),
        Code::Totp(_) => (policy::FACTOR_FROM_KNOWN, format!("session:{}", caller.session_id.simple())),
    };
    throttle.tell(throttle.check_by(policies, &subject).await)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn s3_a_challenge_is_good_for_five_minutes_and_for_whom_it_was_made() {
        let key = Key::new([1; 32]);
        let challenge = Challenge { user_id: Uuid::from_u128(7), session_epoch: 3 };
        let text = challenge.sign(&key, now());
        for (seconds, good) in [(0, true), (299, true), (300, false), (100_000, false)] {
            let read = Challenge::verify(&key, &text, now() + TimeDelta::seconds(seconds));
            assert_eq!(read, good.then_some(challenge), "{seconds}");
        }
        let read = |text: &str| Challenge::verify(&key, text, now());
        assert_eq!(Challenge::verify(&Key::new([2; 32]), &text, now()), None);
        let (before, mac) = text.split_once('.').unwrap();
        let later = format!("{before}0.{mac}");
        let raised = text.replacen("-3-", "-4-", 1);
        for bad in ["", ".", before, mac, &later, &raised, &text[1..], &format!("{text}A")] {
            assert_eq!(read(bad), None, "{bad}");
        }
        // Signed by this key, and nothing that a challenge could say.
        for odd in
            ["", "x", "0-0-0", "00000000000000000000000000000007-3", "00000000000000000000000000000007-x-9"]
        {
            assert_eq!(read(&signed::sign(&key, odd)), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn t10_any_challenge_is_refused_without_a_panic(text in ".*") {
            let key = Key::new([1; 32]);
            prop_assert_eq!(Challenge::verify(&key, &text, now()), None);
            prop_assert_eq!(Challenge::verify(&key, &signed::sign(&key, &text.replace('.', "")), now()), None);
        }
    }
}
