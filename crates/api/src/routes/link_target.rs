//! `GET /l/{link_id}`: to where a link leads, and the click is counted.
//!
//! On the way of a click there is neither PostgreSQL nor Redis: the target is a copy in this process, and the click is noted.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use domain::pages::{self, Destination};
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::nearby::Nearby;
use crate::problem::{Code, Problem};

/// How much memory targets take, in bytes: some hundred thousand of them.
const ROOM: u64 = 64 * 1024 * 1024;

/// A target with its header.
#[derive(Debug)]
pub(super) struct Way {
    destination: Destination,
    location: HeaderValue,
}

/// Where links lead, as this process knows; `None` for a link that leads nowhere.
pub struct Targets(Nearby<Uuid, Option<Arc<Way>>>);

impl Targets {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Nearby::new("target", ROOM, |_, way| {
            way.as_ref().map_or(0, |way| size_of::<Way>() + 2 * way.location.len())
        }))
    }

    async fn find(&self, state: &State, link_id: Uuid) -> Result<Option<Arc<Way>>, Problem> {
        if let Some(way) = self.0.get(&link_id) {
            return Ok(way);
        }
        let pool = state.pool.clone();
        let load = |_| async move {
            let Some(destination) = pages::destination(&pool, link_id).await? else { return Ok(None) };
            let location = HeaderValue::from_str(destination.url.as_str()).map_err(Problem::internal)?;
            Ok(Some(Arc::new(Way { destination, location })))
        };
        self.0.get_or_load(link_id, load).await
    }
}

/// Follow a link
///
/// Leads to where the link leads, and counts the click. A HEAD request, a prefetch, a robot and the owner of the link are
/// led there too, and counted apart. A link that is not on a public page at this moment is not there.
#[utoipa::path(
    get, path = "/l/{link_id}", tag = "pages",
    params(("link_id" = Uuid, Path, description = "The link")),
    responses((status = 302, description = "To where the link leads")),
)]
pub(super) async fn get(
    state: Shared,
    request: HttpRequest,
    link_id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let nowhere = || Problem::new(Code::NotFound);
    let link_id = Uuid::parse_str(&link_id).map_err(|_| nowhere())?;
    let way = state.targets.find(&state, link_id).await?.ok_or_else(nowhere)?;
    if !way.destination.is_open(state.clock.now()) {
        return Err(nowhere());
    }
    state.clicks.click(&state, &request, link_id, &way.destination);
    let mut response = HttpResponse::Found();
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Ok(response.insert_header((header::LOCATION, way.location.clone())).finish())
}
