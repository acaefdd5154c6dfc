//! What a provider publishes about itself: its endpoints and keys, kept for an hour.
//!
//! Keys change whenever the provider likes: whoever meets a signature by an unknown one asks for them again. While the
//! provider is away, what is known stays in use, and it is not asked by every request.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::Clock;
use openidconnect::core::CoreJsonWebKeySet;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::ProviderError;
use super::claims::{self, Members};
use super::http::{Http, unavailable};
use crate::config::Issuer;

/// How long what was read is taken for true.
const FRESH: TimeDelta = TimeDelta::hours(1);

/// How long a provider that failed is left alone.
const PAUSE: TimeDelta = TimeDelta::seconds(5);

/// What of a provider's metadata is used (OpenID Connect Discovery 1.0, 3). Nothing else is parsed.
pub(super) struct Metadata {
    /// As tokens have it; of a multi-tenant provider with [`claims::TENANT`].
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    /// Whether the client secret goes into the body, because HTTP Basic is not supported.
    pub(super) takes_secret_in_body: bool,
    /// Whether each answer names the issuer (RFC 9207, 3).
    pub(super) always_sends_issuer: bool,
    pub(super) keys: CoreJsonWebKeySet,
}

/// The metadata of one provider.
pub(super) struct Discovery {
    issuer: Issuer,
    http: Http,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<Arc<Metadata>>,
    read_at: DateTime<Utc>,
    failed: Option<(DateTime<Utc>, String)>,
}

impl Discovery {
    pub(super) fn new(issuer: Issuer, http: Http, clock: Clock) -> Self {
        Self { issuer, http, clock, known: Mutex::default() }
    }

    /// The metadata. All who ask at once share one reading.
    pub(super) async fn get(&self) -> Result<Arc<Metadata>, ProviderError> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        match &known.metadata {
            Some(metadata) if now - known.read_at < FRESH => Ok(Arc::clone(metadata)),
            Some(stale) => {
                let stale = Arc::clone(stale);
                Ok(self.read(&mut known, now).await.unwrap_or(stale))
            }
            None => self.read(&mut known, now).await,
        }
    }

    /// Metadata that is newer than `seen`, whose keys did not do.
    pub(super) async fn newer_than(&self, seen: &Arc<Metadata>) -> Result<Arc<Metadata>, ProviderError> {
        let mut known = self.known.lock().await;
        match &known.metadata {
            Some(metadata) if !Arc::ptr_eq(metadata, seen) => Ok(Arc::clone(metadata)),
            _ => self.read(&mut known, self.clock.now()).await,
        }
    }

    async fn read(&self, known: &mut Known, now: DateTime<Utc>) -> Result<Arc<Metadata>, ProviderError> {
        if let Some((at, why)) = &known.failed
            && now - *at < PAUSE
        {
            return Err(unavailable(why));
        }
        match self.discover().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Known { metadata: Some(Arc::clone(&metadata)), read_at: now, failed: None };
                Ok(metadata)
            }
            Err(error) => {
                let (ProviderError::Unavailable(why), issuer) = (&error, self.issuer.address()) else {
                    return Err(error);
                };
                tracing::warn!(issuer, error = why, "identity provider discovery failed");
                known.failed = Some((self.clock.now(), why.clone()));
                Err(error)
            }
        }
    }

    async fn discover(&self) -> Result<Metadata, ProviderError> {
        let address =
            format!("{}/.well-known/openid-configuration", self.issuer.address().trim_end_matches('/'));
        let address = Url::parse(&address).map_err(|_| unavailable("its issuer is not a URL"))?;
        let metadata: Members = self.http.get(&address, None).await?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let issuer = text("issuer").filter(|issuer| is_issuer(&self.issuer, issuer));
        let issuer = issuer.ok_or_else(|| {
            unavailable("its metadata have another issuer: check OIDC_.._ISSUER to the letter")
        })?;
        let url = |name: &str| {
            let url = text(name).and_then(|text| Url::parse(text).ok());
            url.ok_or_else(|| unavailable(&format!("its metadata have no valid {name}")))
        };
        // RFC 8414, 2: the default is `client_secret_basic`.
        let methods = metadata.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let takes = |method: &str| methods.is_some_and(|all| all.iter().any(|known| *known == method));
        Ok(Metadata {
            issuer: issuer.to_owned(),
            authorization_endpoint: url("authorization_endpoint")?,
            token_endpoint: url("token_endpoint")?,
            userinfo_endpoint: url("userinfo_endpoint").ok(),
            takes_secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            always_sends_issuer: metadata
                .get("authorization_response_iss_parameter_supported")
                .is_some_and(|value| *value == true),
            keys: self.http.get(&url("jwks_uri")?, None).await?,
        })
    }
}

/// Whether metadata with this issuer are of the configured provider.
fn is_issuer(configured: &Issuer, issuer: &str) -> bool {
    match configured {
        Issuer::Exact(exact) => issuer == exact,
        // `common` and `organizations` give the template, a tenant gives its own issuer, by its id whatever it was asked by.
        Issuer::Microsoft { authority, tenant } => {
            let rest = issuer.strip_prefix(authority.as_str()).and_then(|rest| rest.strip_prefix('/'));
            let given = rest.and_then(|rest| rest.strip_suffix("/v2.0"));
            given.is_some_and(|given| {
                if claims::is_tenant(tenant) {
                    given == tenant
                } else {
                    given == claims::TENANT || claims::is_tenant(given)
                }
            })
        }
    }
}
