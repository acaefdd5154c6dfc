//! No provider: this build is without the cargo feature `oidc`.

use domain::clock::Clock;
use domain::identities::Profile;

use super::{ProviderError, Secrets};
use crate::config::{Prompt, ProviderConfig};

/// There is none.
pub enum Provider {}

#[allow(clippy::unused_async, reason = "as the provider that is one")]
impl Provider {
    pub(super) fn new(_: ProviderConfig, _: String, _: bool, _: &Clock) -> anyhow::Result<Self> {
        anyhow::bail!("OIDC_PROVIDERS wants a build with the cargo feature `oidc`")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match *self {}
    }

    /// What people call it.
    pub fn title(&self) -> &str {
        match *self {}
    }

    /// Where to send a person.
    pub async fn authorization_url(&self, _: &Secrets, _: Option<Prompt>) -> Result<String, ProviderError> {
        match *self {}
    }

    /// Whether an answer that names this issuer, or none, can be its own.
    pub async fn is_issuer(&self, _: Option<&str>) -> Result<bool, ProviderError> {
        match *self {}
    }

    /// Whom a code stands for.
    pub async fn identify(&self, _: String, _: &Secrets) -> Result<Profile, ProviderError> {
        match *self {}
    }
}
