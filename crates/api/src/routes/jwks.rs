//! `/.well-known/jwks.json`: the public keys of access tokens (RFC 7517), for whoever verifies them elsewhere.
//!
//! The set is empty while tokens are signed with HS256: there is nothing to publish then, and a client that caches the
//! answer learns of new keys the same way as ever. It is in memory, so nothing here can fail.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::auth::jwt::PublicKey;

/// Where it is (RFC 8615).
pub(super) const PATH: &str = "/.well-known/jwks.json";

/// How long others may go without asking again: a new key has to be published for longer before it signs.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A set of public keys.
#[derive(Serialize, ToSchema)]
#[schema(as = KeySet)]
pub(super) struct Reply {
    keys: Vec<PublicKey>,
}

/// The public keys of access tokens
///
/// Empty while tokens are signed with HS256. Tokens have `iss` (the address of this service), `aud` (`trellis`), and `typ`
/// `at+jwt` in their header. Whether a session still lives only this API knows: a token is good for 15 minutes at most.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "accounts",
    responses((status = 200, description = "The keys", body = Reply, content_type = "application/jwk-set+json")),
)]
pub(super) async fn get(state: Shared) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, CACHED))
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json")))
        .json(Reply { keys: state.jwt.public_keys().to_vec() })
}
