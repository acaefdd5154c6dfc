//! Passwords: those that are being chosen are hashed here, and others compared with what is stored.
//!
//! Length and guessability were judged when the body was read; see `domain::accounts::Password`.

#[cfg(feature = "breach-check")]
mod breaches;

use domain::accounts::Password;
use secrecy::SecretString;
use uuid::Uuid;

use crate::app::State;
use crate::body::Complaint;
use crate::hashing::{Verdict, scheme};
use crate::problem::{FieldCode, Problem};
#[cfg(feature = "breach-check")]
pub use breaches::Breaches;

/// Nobody is asked: this build cannot.
#[cfg(not(feature = "breach-check"))]
#[derive(Clone)]
pub struct Breaches;

#[cfg(not(feature = "breach-check"))]
impl Breaches {
    /// A setting that names somebody is refused before this.
    pub fn new(_: Option<&url::Url>) -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// Not that anybody knew.
    pub async fn know(&self, _: &Password) -> bool {
        std::future::ready(false).await
    }
}

/// The hash of a password that somebody chose in the field `password`, unless it is known from a breach.
pub async fn hash_chosen(state: &State, password: Password) -> Result<String, Problem> {
    if state.breaches.know(&password).await {
        let detail = "This password is known from a breach of another service: take another one.";
        return Err(Problem::of_field("/password", Complaint::new(FieldCode::WeakPassword, detail)));
    }
    state.hasher.hash(password.into_secret()).await
}

/// Whether the password is the one of the account's stored hash. A hash that cannot be read is logged and equals no
/// password, after the work that is done for an account that does not exist.
pub async fn verify(
    state: &State,
    user_id: Uuid,
    password: SecretString,
    hash: &str,
) -> Result<Verdict, Problem> {
    match state.hasher.read(hash) {
        Ok(stored) => state.hasher.verify(password, stored).await,
        Err(error) => {
            // The hash itself stays out of the log.
            tracing::warn!(%user_id, scheme = scheme(hash), %error, "stored password hash cannot be read");
            state.hasher.verify_nobody(password).await?;
            Ok(Verdict { ok: false, needs_rehash: false })
        }
    }
}
