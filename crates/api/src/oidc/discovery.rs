//! What a provider publishes about itself: its endpoints and keys, kept for an hour.
//!
//! Keys change whenever the provider likes: whoever meets a signature by an unknown one asks for them again. While the
//! provider is away, what is known stays in use, and it is not asked by every request.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::Clock;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, DiscoveryError, HttpRequest, IssuerUrl, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::ProviderError;
use super::http::{Http, HttpError, unavailable};

/// How long what was read is taken for true.
const FRESH: TimeDelta = TimeDelta::hours(1);

/// How long a provider that failed is left alone.
const PAUSE: TimeDelta = TimeDelta::seconds(5);

/// What we read beyond OpenID Connect Discovery.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct More {
    /// RFC 9207, 3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// What a provider publishes.
pub(super) type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The metadata of one provider.
pub(super) struct Discovery {
    issuer: IssuerUrl,
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
    pub(super) fn new(issuer: IssuerUrl, http: Http, clock: Clock) -> Self {
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
        let call = |request: HttpRequest| self.http.call(request);
        match Metadata::discover_async(self.issuer.clone(), &call).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Known { metadata: Some(Arc::clone(&metadata)), read_at: now, failed: None };
                Ok(metadata)
            }
            Err(error) => {
                let why = describe(error);
                tracing::warn!(
                    issuer = self.issuer.as_str(),
                    why,
                    "an identity provider cannot be discovered"
                );
                known.failed = Some((self.clock.now(), why.clone()));
                Err(ProviderError::Unavailable(why))
            }
        }
    }
}

/// What went wrong, without what the provider wrote.
fn describe(error: DiscoveryError<HttpError>) -> String {
    match error {
        DiscoveryError::Request(error) => format!("{:#}", anyhow::Error::from(error)),
        DiscoveryError::Response(status, ..) => {
            format!("its metadata or keys are answered with {status}, or not as JSON")
        }
        DiscoveryError::Parse(_) => "its metadata or keys are not what they have to be".to_owned(),
        DiscoveryError::Validation(_) => {
            "its metadata are another issuer's: check OIDC_.._ISSUER to the letter".to_owned()
        }
        _ => "its metadata cannot be read".to_owned(),
    }
}
