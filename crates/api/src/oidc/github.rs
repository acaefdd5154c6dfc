//! GitHub: OAuth 2.0 with an API of its own in place of ID tokens.
//!
//! What comes from its API over TLS is as good as the access token that it was asked with, and that came for a code of this
//! browser's state and verifier. Also speaks to a GitHub Enterprise Server, by `OIDC_GITHUB_ISSUER`.

use anyhow::Context as _;
use openidconnect::PkceCodeVerifier;
use openidconnect::http::{Request, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::http::{Http, json, unavailable};
use super::provider::Claims;
use super::{ProviderError, Secrets};
use crate::config::{ClientAuthentication, Prompt, ProviderConfig};

/// GitHub, or an installation of it.
pub(super) struct GitHub {
    client_id: String,
    client_secret: SecretString,
    prompt: Option<Prompt>,
    scope: String,
    redirect_uri: String,
    authorize: Url,
    token: Url,
    user: Url,
    emails: Url,
    http: Http,
}

/// The token endpoint answers 200 for failures too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Good { access_token: String },
    Bad { error: String },
}

#[derive(Deserialize)]
struct User {
    /// Never given to anybody else, unlike the login.
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    pub(super) fn new(config: ProviderConfig, redirect_uri: String, http: Http) -> anyhow::Result<Self> {
        let site = config.issuer.address();
        let site = site.trim_end_matches('/');
        let api =
            if site == "https://github.com" { "https://api.github.com" } else { &format!("{site}/api/v3") };
        let url = |base: &str, path: &str| Url::parse(&format!("{base}{path}")).context("OIDC_GITHUB_ISSUER");
        Ok(Self {
            authorize: url(site, "/login/oauth/authorize")?,
            token: url(site, "/login/oauth/access_token")?,
            user: url(api, "/user")?,
            emails: url(api, "/user/emails")?,
            client_id: config.client_id,
            client_secret: match config.authentication {
                ClientAuthentication::Secret(secret) => secret,
                ClientAuthentication::Apple(_) => anyhow::bail!("GitHub takes a client secret only"),
            },
            prompt: config.prompt,
            scope: config.scopes.join(" "),
            redirect_uri,
            http,
        })
    }

    pub(super) fn authorization_url(&self, secrets: &Secrets, prompt: Option<Prompt>) -> String {
        let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
        let challenge = openidconnect::PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let mut url = self.authorize.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.scope)
            .append_pair("state", &secrets.state)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256");
        if let Some(prompt) = prompt.or(self.prompt) {
            url.query_pairs_mut().append_pair("prompt", prompt.as_str());
        }
        url.into()
    }

    pub(super) async fn identify(&self, code: &str, secrets: &Secrets) -> Result<Claims, ProviderError> {
        let token = self.exchange(code, secrets).await?;
        let user: User = self.http.get(&self.user, Some(&token)).await?;
        let addresses: Vec<Address> = self.http.get(&self.emails, Some(&token)).await?;
        // Only the primary address is shown as the person's; the rest is none of our business.
        let primary = addresses.into_iter().find(|address| address.primary);
        let email_verified = primary.as_ref().is_some_and(|address| address.verified);
        Ok(Claims {
            issuer: None,
            subject: user.id.to_string(),
            email: primary.map(|address| address.email),
            email_verified,
            names: vec![user.login],
        })
    }

    async fn exchange(&self, code: &str, secrets: &Secrets) -> Result<String, ProviderError> {
        let body = Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", self.client_secret.expose_secret())
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("code_verifier", &secrets.verifier)
            .finish();
        let request = Request::post(self.token.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .map_err(|_| unavailable("the token endpoint has no address"))?;
        match json(&self.http.call(request).await?)? {
            Token::Good { access_token } => Ok(access_token),
            Token::Bad { error } => {
                tracing::debug!(length = error.len(), "GitHub refused a code");
                Err(ProviderError::Refused("the code was refused"))
            }
        }
    }
}
