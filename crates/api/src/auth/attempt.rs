//! An attempt to prove who one is with a password: counted before it is looked at, and what becomes of the count after.
//!
//! Strangers are counted by the name they type and by their network; somebody in a browser that the owner signed in with
//! before is counted by that browser, so that nobody can keep an owner out by failing in their name. The limits end by
//! themselves within a quarter of an hour; nobody is ever locked out.

use actix_web::HttpRequest;
use domain::accounts::{self, Email};
use uuid::Uuid;

use crate::app::State;
use crate::limits::policy::{LOGIN_FROM_KNOWN_BROWSER, PASSWORD_CHECK};
use crate::limits::{Decision, Throttle};
use crate::problem::Problem;

/// An attempt that was let through.
pub struct Attempt {
    throttle: Throttle,
    pass: Decision,
    subject: String,
}

impl Attempt {
    /// Counts an attempt to sign in as whom `identifier` names, or refuses it with 429.
    pub async fn to_sign_in(
        state: &State,
        request: &HttpRequest,
        throttle: Throttle,
        identifier: &str,
    ) -> Result<Self, Problem> {
        let subject = subject(identifier);
        let known = match state.browser.device(request.headers()) {
            Some(device) => {
                let credentials = accounts::credentials(&state.pool, identifier).await?;
                credentials.filter(|credentials| device.is_known_for(credentials)).map(|_| device)
            }
            None => None,
        };
        if let Some(device) = known {
            let pass = throttle.check_by(LOGIN_FROM_KNOWN_BROWSER, &device.subject()).await;
            // Used up, perhaps by whoever stole the cookie: then its owner is a stranger like any other.
            if pass.is_allowed() {
                let pass = throttle.tell(pass)?;
                return Ok(Self { throttle, pass, subject });
            }
        }
        let pass = throttle.admit(&subject).await?;
        Ok(Self { throttle, pass, subject })
    }

    /// Counts an attempt of a signed-in user to type the password again, or refuses it with 429. One count for all routes
    /// that ask for it, whatever else their rows limit.
    pub async fn to_prove_again(throttle: Throttle, user_id: Uuid) -> Result<Self, Problem> {
        let subject = user_id.to_string();
        let pass = throttle.tell(throttle.check_by(PASSWORD_CHECK, &subject).await)?;
        Ok(Self { throttle, pass, subject })
    }

    /// The password was right: the owner is not charged.
    pub async fn succeeded(self) {
        self.throttle.give_back(self.pass).await;
    }

    /// The password was wrong.
    pub async fn failed(self) {
        self.throttle.failed(&self.subject).await;
    }
}

/// What attempts are counted by: the name that was typed, in its one form. Were they counted by the account that it names,
/// the count would tell that an address and a username belong together, and so that the address has an account.
fn subject(identifier: &str) -> String {
    let identifier = accounts::login_name(identifier);
    if let Ok(email) = Email::parse(identifier) {
        return email.as_str().to_owned();
    }
    identifier.to_lowercase()
}
