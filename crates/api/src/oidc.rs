//! Identity providers: where people are sent to sign in, and what comes back of it.
//!
//! A sign-in is a redirect to the provider with a state, a nonce and a PKCE challenge (RFC 7636), and a redirect back with a
//! code that is exchanged here. Who may come in by it is not decided here: this gives a [`Profile`], which the domain judges.
//! Everything that a provider says is bounded in size and time, and believed only as far as its signature goes.
//!
//! The cargo feature `oidc` brings the client; without it there is no provider, and the same routes say so.

#[cfg(not(feature = "oidc"))]
mod absent;
#[cfg(feature = "oidc")]
mod claims;
pub(crate) mod client_secret;
#[cfg(feature = "oidc")]
mod connect;
#[cfg(feature = "oidc")]
mod discovery;
#[cfg(feature = "oidc")]
mod github;
#[cfg(feature = "oidc")]
mod http;
#[cfg(feature = "oidc")]
mod id_token;
#[cfg(feature = "oidc")]
mod provider;

use domain::clock::Clock;
use domain::config::AppEnv;
#[allow(unused_imports, reason = "named in the documentation")]
use domain::identities::Profile;

#[cfg(not(feature = "oidc"))]
pub use absent::Provider;
#[cfg(feature = "oidc")]
pub use provider::Provider;

use crate::config::Config;
use crate::problem::{Code, Problem};

/// The secrets of one sign-in, all derived from what its browser holds.
pub struct Secrets {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Goes to the provider with the code; its SHA-256 went before.
    pub verifier: String,
}

/// Why a provider was of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer, or not what it has to.
    #[error("the identity provider does not work: {0}")]
    Unavailable(String),
    /// It does not vouch for anybody, or what vouches is no good. Holds nothing that a provider wrote.
    #[error("the identity provider vouched for nobody: {0}")]
    Refused(&'static str),
    /// A claim is missing or wrong. Holds its name, never its value.
    #[error("the claim `{claim}` was refused: {why}")]
    Claim {
        /// The name.
        claim: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unavailable(_) => {
                Self::unavailable(error).detail("The identity provider does not answer as it should.")
            }
            ProviderError::Refused(_) | ProviderError::Claim { .. } => {
                Self::new(Code::ProviderRefused).because(error)
            }
        }
    }
}

/// The configured providers.
#[derive(Default)]
pub struct Providers(Vec<Provider>);

impl Providers {
    /// The providers of the configuration. Connects to nothing yet.
    pub fn new(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let production = config.common.env == AppEnv::Production;
        let made = config.providers.iter().map(|provider| {
            let path = format!("/api/oauth/{}/callback", provider.name);
            Provider::new(provider.clone(), config.common.public_url.join(&path), production, clock)
        });
        Ok(Self(made.collect::<anyhow::Result<_>>()?))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    /// The one of this name.
    pub fn find(&self, name: &str) -> Result<&Provider, Problem> {
        self.iter().find(|provider| provider.name() == name).ok_or_else(|| Problem::new(Code::NotFound))
    }
}
