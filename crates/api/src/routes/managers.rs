//! What decisions of managers have in common: who decides, and why.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::audit::{Actor, Trace};
use domain::moderation::Decision;
use utoipa::ToSchema;

use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::Fields;
use crate::problem::Problem;

/// The longest reason, in characters.
pub(super) const LONGEST_REASON: usize = 500;

/// Why a manager does it.
#[derive(ToSchema)]
#[schema(as = AdminReason)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Because` reads it")]
pub(super) struct Body {
    /// For the audit record. The people concerned do not read it.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "thirty accounts in one evening, none of which signed in"
    )]
    reason: String,
}

/// A manager's decision, of a request whose body is a [`Body`].
pub(super) struct Because {
    /// The manager.
    pub(super) actor: Actor,
    /// Why.
    pub(super) reason: String,
    /// The request.
    pub(super) trace: Trace,
}

impl Because {
    /// As moderation takes it.
    pub(super) fn decision(&self) -> Decision<'_> {
        Decision { actor: self.actor, reason: &self.reason }
    }
}

impl FromRequest for Because {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload).into_inner();
        let trace = Traced::of(request);
        let fields = Fields::from_request(request, payload);
        Box::pin(async move {
            let mut fields = fields.await?;
            let reason = fields.text("reason", LONGEST_REASON);
            let reason = fields.finish(reason)?;
            Ok(Self { actor: Actor::Manager(caller?.user_id), reason, trace: trace?.0 })
        })
    }
}
