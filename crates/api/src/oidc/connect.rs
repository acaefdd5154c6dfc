//! OpenID Connect: the authorization code flow with PKCE and nonce (OpenID Connect Core 1.0, 3.1).

use std::sync::Arc;

use chrono::TimeDelta;
use domain::clock::Clock;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims,
    CoreIdTokenVerifier, CoreJwsSigningAlgorithm as Alg, CoreTokenResponse,
};
use openidconnect::{
    AccessTokenHash, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    TokenResponse as _,
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::discovery::{Discovery, Metadata};
use super::http::{Http, unavailable};
use super::provider::Claims;
use super::{ProviderError, Secrets};
use crate::config::ProviderConfig;

/// How far the provider's clock and ours may be apart.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// Signatures that are taken: none that is made with our client secret, and none that is none.
const ALGORITHMS: [Alg; 9] = [
    Alg::RsaSsaPkcs1V15Sha256,
    Alg::RsaSsaPkcs1V15Sha384,
    Alg::RsaSsaPkcs1V15Sha512,
    Alg::RsaSsaPssSha256,
    Alg::RsaSsaPssSha384,
    Alg::RsaSsaPssSha512,
    Alg::EcdsaP256Sha256,
    Alg::EcdsaP384Sha384,
    Alg::EdDsa,
];

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// An OpenID provider.
pub(super) struct OpenId {
    client_id: ClientId,
    client_secret: ClientSecret,
    scopes: Vec<Scope>,
    redirect_uri: RedirectUrl,
    discovery: Discovery,
    http: Http,
    clock: Clock,
}

/// What of the UserInfo endpoint's answer is read (OpenID Connect Core 1.0, 5.3.2).
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    email: Option<String>,
    email_verified: Option<serde_json::Value>,
    preferred_username: Option<String>,
    nickname: Option<String>,
}

impl OpenId {
    pub(super) fn new(
        config: ProviderConfig,
        redirect_uri: String,
        http: Http,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let scopes = config.scopes.into_iter().filter(|scope| scope != "openid").map(Scope::new);
        Ok(Self {
            client_id: ClientId::new(config.client_id),
            client_secret: ClientSecret::new(config.client_secret.expose_secret().to_owned()),
            scopes: scopes.collect(),
            redirect_uri: RedirectUrl::new(redirect_uri)?,
            discovery: Discovery::new(IssuerUrl::new(config.issuer)?, http.clone(), clock.clone()),
            http,
            clock,
        })
    }

    pub(super) async fn authorization_url(&self, secrets: &Secrets) -> Result<String, ProviderError> {
        let client = self.client(&*self.discovery.get().await?);
        let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
        let (state, nonce) = (secrets.state.clone(), secrets.nonce.clone());
        let (url, ..) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        self.http.check(&url)?;
        Ok(url.into())
    }

    /// Whether the provider says that it names itself in each of its answers (RFC 9207, 3).
    pub(super) async fn always_names_itself(&self) -> Result<bool, ProviderError> {
        let metadata = self.discovery.get().await?;
        Ok(metadata.additional_metadata().authorization_response_iss_parameter_supported)
    }

    pub(super) async fn identify(&self, code: String, secrets: &Secrets) -> Result<Claims, ProviderError> {
        let metadata = self.discovery.get().await?;
        let response = self.exchange(&self.client(&metadata), code, secrets).await?;
        let token = response.id_token().ok_or(ProviderError::Refused("there is no ID token"))?;
        let nonce = Nonce::new(secrets.nonce.clone());
        let claims = match self.verify(&metadata, &response, token, &nonce) {
            Err(Verdict::UnknownKey) => {
                let newer = self.discovery.newer_than(&metadata).await?;
                self.verify(&newer, &response, token, &nonce)
            }
            verdict => verdict,
        };
        let claims = claims.map_err(|verdict| match verdict {
            Verdict::UnknownKey => ProviderError::Refused("the ID token is signed by an unknown key"),
            Verdict::Refused(why) => ProviderError::Refused(why),
        })?;
        let mut person = person(claims);
        if person.email.is_none()
            && let Some(endpoint) = metadata.userinfo_endpoint()
        {
            let info: UserInfo = self.http.get(endpoint.url(), response.access_token().secret()).await?;
            // The answer is not signed: it counts only for the very person that the ID token is about.
            if info.sub != person.subject {
                return Err(ProviderError::Refused("the user info is somebody else's"));
            }
            person.email = info.email;
            person.email_verified = is_true(info.email_verified.as_ref());
            person.names.extend(info.preferred_username.into_iter().chain(info.nickname));
        }
        Ok(person)
    }

    fn client(&self, metadata: &Metadata) -> Client {
        let secret = Some(self.client_secret.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), self.client_id.clone(), secret);
        // RFC 8414, 2: what is not said is `client_secret_basic`.
        let posts = metadata.token_endpoint_auth_methods_supported().is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let auth_type = if posts { AuthType::RequestBody } else { AuthType::BasicAuth };
        client.set_redirect_uri(self.redirect_uri.clone()).set_auth_type(auth_type)
    }

    async fn exchange(
        &self,
        client: &Client,
        code: String,
        secrets: &Secrets,
    ) -> Result<CoreTokenResponse, ProviderError> {
        let call = |request: HttpRequest| self.http.call(request);
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| unavailable("its metadata name no token endpoint"))?
            .set_pkce_verifier(PkceCodeVerifier::new(secrets.verifier.clone()));
        request.request_async(&call).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(_) => ProviderError::Refused("the code was refused"),
            RequestTokenError::Request(error) => error.into(),
            RequestTokenError::Parse(..) => ProviderError::Refused("the tokens are not what they have to be"),
            RequestTokenError::Other(_) => unavailable("the token endpoint gives no tokens"),
        })
    }

    fn verify<'a>(
        &self,
        metadata: &Arc<Metadata>,
        response: &CoreTokenResponse,
        token: &'a CoreIdToken,
        nonce: &Nonce,
    ) -> Result<&'a CoreIdTokenClaims, Verdict> {
        let now = self.clock.now();
        let verifier = CoreIdTokenVerifier::new_confidential_client(
            self.client_id.clone(),
            self.client_secret.clone(),
            metadata.issuer().clone(),
            metadata.jwks().clone(),
        )
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || now - LEEWAY)
        .set_issue_time_verifier_fn(move |issued| {
            if issued <= now + LEEWAY { Ok(()) } else { Err("from the future".to_owned()) }
        });
        let claims = token.claims(&verifier, nonce)?;
        // Section 3.1.3.7, 5: who may use the token.
        if claims.authorized_party().is_some_and(|party| *party != self.client_id) {
            return Err(Verdict::Refused("the ID token is for another party"));
        }
        // Section 3.1.3.8: the access token is the one that came with it.
        if let Some(hash) = claims.access_token_hash() {
            let alg = token.signing_alg().map_err(ClaimsVerificationError::SignatureVerification)?;
            let key = token.signing_key(&verifier).map_err(ClaimsVerificationError::SignatureVerification)?;
            let actual = AccessTokenHash::from_token(response.access_token(), alg, key);
            if actual.ok().as_ref() != Some(hash) {
                return Err(Verdict::Refused("the access token was swapped"));
            }
        }
        Ok(claims)
    }
}

/// Why an ID token is not believed.
enum Verdict {
    /// Its key may be new.
    UnknownKey,
    Refused(&'static str),
}

impl From<ClaimsVerificationError> for Verdict {
    fn from(error: ClaimsVerificationError) -> Self {
        use SignatureVerificationError::{DisallowedAlg, NoMatchingKey, NoSignature, UnsupportedAlg};
        let why = match error {
            ClaimsVerificationError::SignatureVerification(NoMatchingKey) => return Self::UnknownKey,
            ClaimsVerificationError::SignatureVerification(NoSignature) => "the ID token is not signed",
            ClaimsVerificationError::SignatureVerification(DisallowedAlg(_) | UnsupportedAlg(_)) => {
                "the ID token is signed in a way that is not taken"
            }
            ClaimsVerificationError::SignatureVerification(_) => "the signature of the ID token is wrong",
            ClaimsVerificationError::Expired(_) => "the ID token is not of this time",
            ClaimsVerificationError::InvalidAudience(_) => "the ID token is for somebody else",
            ClaimsVerificationError::InvalidIssuer(_) => "the ID token is of another issuer",
            ClaimsVerificationError::InvalidNonce(_) => "the ID token is of another sign-in",
            _ => "the ID token is not valid",
        };
        Self::Refused(why)
    }
}

fn person(claims: &CoreIdTokenClaims) -> Claims {
    let nickname = claims.nickname().and_then(|nickname| nickname.get(None)).map(|name| name.as_str());
    let username = claims.preferred_username().map(|name| name.as_str());
    Claims {
        subject: claims.subject().as_str().to_owned(),
        email: claims.email().map(|email| email.as_str().to_owned()),
        email_verified: claims.email_verified().unwrap_or(false),
        names: username.into_iter().chain(nickname).map(str::to_owned).collect(),
    }
}

/// Some providers write it as a text.
fn is_true(value: Option<&serde_json::Value>) -> bool {
    value.is_some_and(|value| *value == true || *value == "true")
}
