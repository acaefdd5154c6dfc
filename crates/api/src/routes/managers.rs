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
use crate::body::{Complaint, Fields, check_line};
use crate::problem::{FieldCode, Problem};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// Why a manager does it.
#[derive(ToSchema)]
#[schema(as = AdminReason)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Because` reads it")]
pub(super) struct Body {
    /// For the audit record. The people concerned do not read it.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"\S",
        example = "thirty accounts in one evening, none of which signed in"
    )]
    reason: String,
}

/// Why a manager blocks an account.
#[derive(ToSchema)]
#[schema(as = AdminBlockReason)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Because` reads it")]
pub(super) struct BlockBody {
    /// The holder of the account reads it, at sign-in and in a mail; the audit record keeps it.
    #[schema(min_length = 1, max_length = 500, pattern = r"\S", example = "thirty accounts in one evening")]
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

/// Reads why from a body that has more than that. Blanks are no reason.
pub(super) fn reason(fields: &mut Fields) -> Option<String> {
    fields.parse("reason", |text| {
        check_line(text, LONGEST_REASON)?;
        if text.trim().is_empty() { Err(Complaint::from(FieldCode::Empty)) } else { Ok(text.to_owned()) }
    })
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
            let reason = reason(&mut fields);
            let reason = fields.finish(reason)?;
            Ok(Self { actor: Actor::Manager(caller?.user_id), reason, trace: trace?.0 })
        })
    }
}
