//! What every request passes on its way in and out.
//!
//! One layer does it all, because each layer costs every request: a request id, one form of the path, CORS, and on the way
//! out problems, headers, the access log and metrics. What depends on the route is in [`crate::routes`].

mod context;
mod cors;
mod edge;
mod fence;
mod headers;
mod path;
mod record;
mod unread;

pub use context::RequestId;
pub(crate) use context::{Context, context};
pub(crate) use edge::Edge;
pub(crate) use fence::Fence;
