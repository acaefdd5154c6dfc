//! Where a request came from, as the record of security events keeps it.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::audit::Trace;

use crate::app::State;
use crate::client_ip;
use crate::middleware::{RequestId, context};
use crate::problem::Problem;

/// The trace of a request: its id, and a keyed hash of the client's network.
#[derive(Clone, Debug)]
pub struct Traced(pub Trace);

impl Traced {
    /// Reads it off a request.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let state = State::of(request)?;
        let id = RequestId::from_request(request, &mut Payload::None).into_inner()?;
        let ip = client_ip::of(request, &state.config.trusted_proxies);
        let ip_hash = client_ip::blinded_prefix(ip, &state.keys().privacy);
        let caller = context(request).ok().and_then(|context| context.caller.get());
        Ok(Self(Trace {
            request_id: Some(id.to_string()),
            ip_hash: Some(ip_hash.to_vec()),
            is_public: client_ip::is_public(ip),
            session_id: caller.map(|caller| caller.session_id),
        }))
    }
}

impl FromRequest for Traced {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}
