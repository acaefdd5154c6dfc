//! What templates know of the installation.

use domain::config::AppEnv;

use super::assets;
use crate::app::State;
use crate::config::Registration;
use crate::oidc::Providers;

/// The installation, as templates see it.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    /// The address people reach it under, without a trailing slash.
    pub(super) public_url: &'a str,
    /// Whether the pages for developers exist.
    pub(super) development: bool,
    /// The fewest characters a new password may have.
    pub(super) password_min_length: usize,
    /// Whether an account exists only once its address is confirmed (`REGISTRATION=verified`).
    pub(super) verified_registration: bool,
    /// The identity providers that people may sign in with.
    pub(super) providers: &'a Providers,
    /// The version in the addresses of the assets.
    pub(super) version: &'static str,
}

impl<'a> Site<'a> {
    /// The installation that a state describes.
    pub(super) fn of(state: &'a State) -> Self {
        Self {
            public_url: state.origin(),
            development: state.config.common.env == AppEnv::Development,
            version: assets::version(),
            verified_registration: state.config.registration == Registration::Verified,
            providers: &state.providers,
            password_min_length: state.config.password_min_length,
        }
    }

    /// The address of an asset, which changes whenever any asset changes.
    pub(super) fn asset(&self, name: &str) -> String {
        format!("/assets/{}/{name}", self.version)
    }

    /// The hint beside a field for a new password.
    pub(super) fn password_hint(&self) -> String {
        format!(
            "At least {} characters. A few unrelated words are easier to remember than one odd one.",
            self.password_min_length
        )
    }
}
