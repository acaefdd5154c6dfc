//! OpenID Connect: the authorization code flow with PKCE and nonce (OpenID Connect Core 1.0, 3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::clock::Clock;
use openidconnect::http::{Request, StatusCode, header};
use openidconnect::{PkceCodeChallenge, PkceCodeVerifier};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::claims::{self, Expected, Members};
use super::discovery::{Discovery, Metadata};
use super::http::{Http, unavailable};
use super::id_token::{self, Unverified};
use super::provider::Claims;
use super::{ProviderError, Secrets, client_secret};
use crate::config::{ClientAuthentication, Issuer, Prompt, ProviderConfig, ResponseMode};

/// An OpenID provider.
pub(super) struct OpenId {
    client_id: String,
    authentication: ClientAuthentication,
    scope: String,
    response_mode: ResponseMode,
    prompt: Option<Prompt>,
    is_microsoft: bool,
    redirect_uri: String,
    discovery: Discovery,
    http: Http,
    clock: Clock,
}

/// What of the token endpoint's answer is used. `expires_in`, which Microsoft has sent as text, is not.
struct Tokens {
    access_token: String,
    id_token: String,
}

impl OpenId {
    pub(super) fn new(config: ProviderConfig, redirect_uri: String, http: Http, clock: Clock) -> Self {
        Self {
            client_id: config.client_id,
            authentication: config.authentication,
            scope: config.scopes.join(" "),
            response_mode: config.response_mode,
            prompt: config.prompt,
            is_microsoft: matches!(config.issuer, Issuer::Microsoft { .. }),
            redirect_uri,
            discovery: Discovery::new(config.issuer, http.clone(), clock.clone()),
            http,
            clock,
        }
    }

    pub(super) async fn authorization_url(
        &self,
        secrets: &Secrets,
        prompt: Option<Prompt>,
    ) -> Result<String, ProviderError> {
        let metadata = self.discovery.get().await?;
        let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("state", &secrets.state)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.scope)
            .append_pair("nonce", &secrets.nonce);
        if self.response_mode == ResponseMode::FormPost {
            url.query_pairs_mut().append_pair("response_mode", "form_post");
        }
        if let Some(prompt) = prompt.or(self.prompt) {
            url.query_pairs_mut().append_pair("prompt", prompt.as_str());
        }
        self.http.check(&url)?;
        Ok(url.into())
    }

    /// Whether an answer that names this issuer, or none, can be the provider's (RFC 9207, 2.4).
    pub(super) async fn is_issuer(&self, given: Option<&str>) -> Result<bool, ProviderError> {
        let metadata = self.discovery.get().await?;
        Ok(match given {
            None => !metadata.always_sends_issuer,
            Some(given) => match metadata.issuer.split_once(claims::TENANT) {
                Some((before, after)) => given
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after))
                    .is_some_and(claims::is_tenant),
                None => given == metadata.issuer,
            },
        })
    }

    pub(super) async fn identify(&self, code: &str, secrets: &Secrets) -> Result<Claims, ProviderError> {
        let metadata = self.discovery.get().await?;
        let tokens = self.exchange(&metadata, code, secrets).await?;
        let verified = match id_token::verify(&tokens.id_token, &metadata.keys, &tokens.access_token) {
            Err(Unverified::UnknownKey) => {
                let newer = self.discovery.newer_than(&metadata).await?;
                id_token::verify(&tokens.id_token, &newer.keys, &tokens.access_token)
            }
            verified => verified,
        };
        let members = verified.map_err(|unverified| match unverified {
            Unverified::UnknownKey => ProviderError::Refused("the ID token is signed by an unknown key"),
            Unverified::Refused(error) => error,
        })?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client_id: &self.client_id,
            nonce: &secrets.nonce,
            now: self.clock.now(),
            is_microsoft: self.is_microsoft,
        };
        let mut person = claims::read(&members, &expected)?;
        if person.email.is_none()
            && let Some(endpoint) = &metadata.userinfo_endpoint
        {
            let info: Members = self.http.get(endpoint, Some(&tokens.access_token)).await?;
            claims::add_user_info(&mut person, &info)?;
        }
        Ok(person)
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        secrets: &Secrets,
    ) -> Result<Tokens, ProviderError> {
        let secret = match &self.authentication {
            ClientAuthentication::Secret(secret) => secret.clone(),
            ClientAuthentication::Apple(key) => {
                let audience = &metadata.issuer;
                client_secret::sign(key, &self.client_id, audience, self.clock.now())
                    .map_err(|error| unavailable_key(&error))?
            }
        };
        let secret = secret.expose_secret();
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("code_verifier", &secrets.verifier);
        let mut request = Request::post(metadata.token_endpoint.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if metadata.takes_secret_in_body {
            form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret);
        } else {
            // RFC 6749, 2.3.1: both parts are form-encoded first.
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(&self.client_id), encode(secret)));
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        let request = request
            .body(form.finish().into_bytes())
            .map_err(|_| unavailable("the token endpoint has no valid address"))?;
        let answer = self.http.call(request).await?;
        if answer.status().is_client_error() {
            return Err(ProviderError::Refused("the code was refused"));
        }
        if answer.status() != StatusCode::OK {
            return Err(unavailable("the token endpoint answers with an unexpected status"));
        }
        tokens(answer.body())
    }
}

fn unavailable_key(error: &jsonwebtoken::errors::Error) -> ProviderError {
    ProviderError::Unavailable(format!("the client secret cannot be signed: {error}"))
}

fn tokens(body: &[u8]) -> Result<Tokens, ProviderError> {
    let refused = ProviderError::Refused;
    let members: Members =
        serde_json::from_slice(body).map_err(|_| refused("the tokens are not a JSON object"))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    // RFC 6749, 7.1: a token of an unknown type must not be used. The type is not case-sensitive.
    let is_bearer = |kind: &Value| kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !members.get("token_type").is_none_or(is_bearer) {
        return Err(refused("the access token is not a bearer token"));
    }
    Ok(Tokens {
        access_token: text("access_token").ok_or(refused("there is no access token"))?,
        id_token: text("id_token").ok_or(refused("there is no ID token"))?,
    })
}
