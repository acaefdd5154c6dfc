//! One provider, whatever it speaks.

use std::time::Duration;

use domain::accounts::Email;
use domain::clock::Clock;
use domain::identities::Profile;

use super::connect::OpenId;
use super::github::GitHub;
use super::http::Http;
use super::{ProviderError, Secrets};
use crate::config::{Prompt, Protocol, ProviderConfig};

/// How long a provider may take for all that one request of ours needs of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest code that is passed on, in bytes.
const LONGEST_CODE: usize = 4_096;

/// The longest subject (OpenID Connect Core 1.0, 2: 255 ASCII characters).
const LONGEST_SUBJECT: usize = 255;

/// An identity provider.
pub struct Provider {
    name: String,
    title: String,
    issuer: String,
    speaks: Speaks,
}

enum Speaks {
    OpenId(Box<OpenId>),
    GitHub(Box<GitHub>),
}

/// What a provider says of a person, not yet looked at.
pub(super) struct Claims {
    /// The issuer of the token, if there is a token.
    pub(super) issuer: Option<String>,
    pub(super) subject: String,
    pub(super) email: Option<String>,
    pub(super) email_verified: bool,
    pub(super) names: Vec<String>,
}

impl Provider {
    pub(super) fn new(
        config: ProviderConfig,
        redirect_uri: String,
        production: bool,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let (name, title, issuer) = (config.name.clone(), config.title.clone(), config.issuer.address());
        let http = Http::new(production)?;
        let speaks = match config.protocol {
            Protocol::OpenIdConnect => {
                Speaks::OpenId(Box::new(OpenId::new(config, redirect_uri, http, clock.clone())))
            }
            Protocol::GitHub => Speaks::GitHub(Box::new(GitHub::new(config, redirect_uri, http)?)),
        };
        Ok(Self { name, title, issuer, speaks })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What people call it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where to send a person. A `prompt` of the request takes the place of the configured one.
    pub async fn authorization_url(
        &self,
        secrets: &Secrets,
        prompt: Option<Prompt>,
    ) -> Result<String, ProviderError> {
        in_time(async {
            match &self.speaks {
                Speaks::OpenId(provider) => provider.authorization_url(secrets, prompt).await,
                Speaks::GitHub(provider) => Ok(provider.authorization_url(secrets, prompt)),
            }
        })
        .await
    }

    /// Whether an answer that names this issuer, or none, can be its own (RFC 9207): another provider may have had the
    /// person send its code here.
    pub async fn is_issuer(&self, given: Option<&str>) -> Result<bool, ProviderError> {
        match &self.speaks {
            Speaks::OpenId(provider) => in_time(provider.is_issuer(given)).await,
            Speaks::GitHub(_) => Ok(given.is_none_or(|given| given == self.issuer)),
        }
    }

    /// Whom a code stands for.
    pub async fn identify(&self, code: String, secrets: &Secrets) -> Result<Profile, ProviderError> {
        if code.len() > LONGEST_CODE {
            return Err(ProviderError::Refused("the code is too long"));
        }
        let claims = in_time(async {
            match &self.speaks {
                Speaks::OpenId(provider) => provider.identify(&code, secrets).await,
                Speaks::GitHub(provider) => provider.identify(&code, secrets).await,
            }
        })
        .await?;
        let fits = (1..=LONGEST_SUBJECT).contains(&claims.subject.len());
        if !fits || claims.subject.chars().any(char::is_control) {
            return Err(ProviderError::Refused("the subject is not valid"));
        }
        Ok(Profile {
            provider: self.name.clone(),
            // The issuer of the token: subjects of different tenants are different people.
            issuer: claims.issuer.unwrap_or_else(|| self.issuer.clone()),
            subject: claims.subject,
            email: claims.email.and_then(|email| Email::parse(&email).ok()),
            email_verified: claims.email_verified,
            names: claims.names,
        })
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let late = |_| Err(ProviderError::Unavailable(format!("it took longer than {} s", PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(late)
}
