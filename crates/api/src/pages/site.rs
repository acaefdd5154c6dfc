//! What every page shares: the configuration, and the addresses of the compiled-in assets.
//!
//! Made once per server thread and never changed.

use super::{PagesConfig, assets};

/// The state behind the pages.
pub(super) struct Site {
    /// The address people reach this installation under, without a trailing slash.
    pub(super) public_url: String,
    /// Whether the pages for developers exist.
    pub(super) development: bool,
    /// The hint beside a field for a new password.
    pub(super) password_hint: String,
    /// The configuration as it was given.
    pub(super) config: PagesConfig,
    version: String,
}

impl Site {
    pub(super) fn new(config: PagesConfig) -> Self {
        Self {
            public_url: config.public_url.trim_end_matches('/').to_owned(),
            development: config.development,
            password_hint: format!(
                "At least {} characters. A few unrelated words are easier to remember than one odd one.",
                config.password_min_length
            ),
            version: assets::version(),
            config,
        }
    }

    /// The address of an asset, which changes whenever any asset changes.
    pub(super) fn asset(&self, name: &str) -> String {
        format!("/assets/{}/{name}", self.version)
    }

    /// The version in the addresses of the assets.
    pub(super) fn version(&self) -> &str {
        &self.version
    }
}
