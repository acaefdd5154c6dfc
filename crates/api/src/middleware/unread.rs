//! Closing on clients that are refused while they still send.
//!
//! The HTTP library closes a connection whose request has an unread rest of a known length. A chunked one it reads to its
//! end first, however long that takes; but only once nobody holds its body any more. So the answer to a refused chunked
//! request holds it, and the connection closes.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::web::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;

/// The body of a chunked request, which its handler reads meanwhile.
pub(super) struct Unread(Rc<RefCell<Payload>>);

impl Unread {
    /// Of a chunked request; others need nothing.
    pub(super) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !request.chunked().unwrap_or(false) {
            return None;
        }
        let payload = Rc::new(RefCell::new(request.take_payload()));
        let held = Self(Rc::clone(&payload));
        let chunks = poll_fn(move |context| payload.borrow_mut().poll_next_unpin(context));
        request.set_payload(Payload::Stream { payload: Box::pin(chunks) });
        Some(held)
    }

    /// Lets an answer hold it until it is sent.
    pub(super) fn close_after(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        response.map_body(|_, answer| BoxBody::new(Holding { answer, _unread: self.0 }))
    }
}

struct Holding {
    answer: BoxBody,
    _unread: Rc<RefCell<Payload>>,
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}
