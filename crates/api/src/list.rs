//! Lists in pages: how many items, after which, and the link to the next page (RFC 8288).

use std::borrow::Cow;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use chrono::{DateTime, Utc};
use domain::page::Cursor;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::State;
use crate::auth::Caller;
use crate::body::Complaint;
use crate::cursor::Cursors;
use crate::problem::{FieldCode, Problem};
use crate::query::Query;

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, in order.
    items: Vec<T>,
    /// What to send as `cursor` for the next page; `null` on the last.
    next_cursor: Option<String>,
}

/// Which page is asked for.
#[derive(Debug)]
pub struct Asked {
    pub(crate) limit: u8,
    cursor: Option<String>,
}

impl Query {
    /// `limit`, from 1 to 100, 20 unless given; and `cursor`.
    pub fn page(&mut self) -> Option<Asked> {
        let limit = self.parse("limit", |text| match text.parse() {
            Ok(limit @ 1..=100) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(limit),
            _ => Err(Complaint::new(FieldCode::InvalidValue, "This must be a number from 1 to 100.")),
        });
        let cursor = self.parse("cursor", |text| Ok::<_, Complaint>(text.to_owned()));
        Some(Asked { limit: limit?.unwrap_or(20), cursor: cursor? })
    }
}

/// A list, and the page of it that is asked for.
pub struct List {
    path: Cow<'static, str>,
    filters: String,
    limit: u8,
    cursors: Cursors,
    /// The page begins after this.
    pub after: Option<Cursor>,
    /// How many rows to read: one more than the page shows tells of a next page.
    pub rows: i64,
}

impl List {
    /// The list at `path`, for one user. `filters` are those parts of a link to the next page that narrow the list, such as
    /// `&status=pending`. A cursor of another list or user is `invalid_cursor`.
    pub fn new(
        state: &State,
        caller: Caller,
        path: impl Into<Cow<'static, str>>,
        filters: impl Into<String>,
        Asked { limit, cursor }: Asked,
    ) -> Result<Self, Problem> {
        let (path, filters) = (path.into(), filters.into());
        let cursors = Cursors::new(&state.keys().csrf, &format!("{path}{filters}"), caller.user_id);
        let after = cursor.map(|cursor| cursors.read(&cursor)).transpose()?;
        Ok(Self { path, filters, limit, cursors, after, rows: i64::from(limit) + 1 })
    }

    /// Answers with the page. `key_of` is what the list is in the order of.
    pub fn reply<R, T: Serialize>(
        self,
        rows: Vec<R>,
        key_of: impl Fn(&R) -> (DateTime<Utc>, Uuid),
        render: impl Fn(R) -> T,
    ) -> HttpResponse {
        let (mut reply, page) = self.page(rows, key_of, render);
        reply.json(page)
    }

    /// As [`List::reply`], for a reply that says more besides: the page, and the answer to send it in.
    pub fn page<R, T>(
        self,
        mut rows: Vec<R>,
        key_of: impl Fn(&R) -> (DateTime<Utc>, Uuid),
        render: impl Fn(R) -> T,
    ) -> (HttpResponseBuilder, Page<T>) {
        let Self { path, filters, limit, cursors, .. } = self;
        let more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        let next_cursor = rows.last().filter(|_| more).map(|row| {
            let (at, id) = key_of(row);
            cursors.write(Cursor { at, id })
        });
        let mut reply = HttpResponse::Ok();
        if let Some(cursor) = &next_cursor {
            // A cursor is made of characters that need no escaping.
            let link = format!("<{path}?limit={limit}{filters}&cursor={cursor}>; rel=\"next\"");
            if let Ok(value) = HeaderValue::from_str(&link) {
                reply.insert_header((header::LINK, value));
            }
        }
        (reply, Page { items: rows.into_iter().map(render).collect(), next_cursor })
    }
}

/// What people searched for, as a filter.
pub fn search(text: &str) -> String {
    let mut part = url::form_urlencoded::Serializer::new("&".to_owned());
    part.append_pair("q", text);
    part.finish()
}
