//! Requests to providers: within limits of time and size, to https only, and no redirect is followed.

use std::time::Duration;

use openidconnect::http::{Response, StatusCode, header};
use openidconnect::{HttpRequest, HttpResponse};
use reqwest::redirect;
use serde::de::DeserializeOwned;
use url::Url;

use super::ProviderError;
use crate::config::oidc::may_be_called;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How long an answer may take, to its last byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The largest answer, in bytes. Keys and metadata of the great providers are a tenth of it.
const LARGEST_ANSWER: usize = 256 * 1024;

/// What calls a provider.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    production: bool,
}

/// Why a call failed. Holds no address with its query, and nothing of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("an address of it is neither https nor of this machine in development")]
    NotAllowed,
    #[error("an answer is larger than {LARGEST_ANSWER} bytes")]
    TooLarge,
    #[error("an answer makes no sense")]
    Garbled,
    #[error("no answer")]
    Failed(#[source] reqwest::Error),
}

impl Http {
    pub(super) fn new(production: bool) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .https_only(production)
            // Each thread of the server has a runtime of its own, on which its connections live: none is lent to another.
            .pool_max_idle_per_host(0)
            .user_agent("trellis")
            .build()?;
        Ok(Self { client, production })
    }

    /// Refuses an address that nothing secret may be sent to.
    pub(super) fn check(&self, url: &Url) -> Result<(), HttpError> {
        if may_be_called(url, self.production) { Ok(()) } else { Err(HttpError::NotAllowed) }
    }

    /// Sends a request as the client library makes it.
    pub(super) async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        self.check(request.url())?;
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let mut answer = Response::builder().status(response.status());
        if let Some(media_type) = response.headers().get(header::CONTENT_TYPE) {
            answer = answer.header(header::CONTENT_TYPE, media_type);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        answer.body(body).map_err(|_| HttpError::Garbled)
    }

    /// GET of JSON, with the access token `token` if there is one.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &Url,
        token: Option<&str>,
    ) -> Result<T, ProviderError> {
        let mut request =
            openidconnect::http::Request::get(url.as_str()).header(header::ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Vec::new());
        let answer = self.call(request.map_err(|_| ProviderError::Refused("the access token is not valid"))?);
        json(&answer.await?)
    }
}

/// The body of a good answer.
pub(super) fn json<T: DeserializeOwned>(answer: &HttpResponse) -> Result<T, ProviderError> {
    if answer.status() != StatusCode::OK {
        return Err(unavailable("an answer of an unexpected status"));
    }
    serde_json::from_slice(answer.body())
        .map_err(|_| unavailable("an answer that is not the JSON it has to be"))
}

pub(super) fn unavailable(why: &str) -> ProviderError {
    ProviderError::Unavailable(why.to_owned())
}

fn failed(error: reqwest::Error) -> HttpError {
    HttpError::Failed(error.without_url())
}

impl From<HttpError> for ProviderError {
    fn from(error: HttpError) -> Self {
        Self::Unavailable(format!("{:#}", anyhow::Error::from(error)))
    }
}
