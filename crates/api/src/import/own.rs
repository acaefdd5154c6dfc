//! What our own export writes as JSON: an object whose `links` say of each link all that a new one takes.
//!
//! What is left out is as it is of a new link, and members that we do not know are left out: a list that somebody edited or
//! wrote by hand is read too.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Item, MOST_ITEMS, Refusal, SourceError, is_link_or_header, one_line};

/// Reads an export.
pub(super) fn read(source: &str) -> Result<Vec<Item>, SourceError> {
    let document: Value = serde_json::from_str(source).map_err(|_| SourceError::WrongFormat)?;
    let rows = document.get("links").and_then(Value::as_array).ok_or(SourceError::WrongFormat)?;
    if rows.len() > MOST_ITEMS {
        return Err(SourceError::TooMany);
    }
    Ok(rows.iter().enumerate().map(|(index, row)| item(index + 1, row)).collect())
}

fn item(line: usize, row: &Value) -> Item {
    let mut malformed = !row.is_object();
    let mut text = |name: &str| match row.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            malformed = true;
            None
        }
    };
    let (kind, title, url) = (text("kind"), text("title"), text("url"));
    let (from, until) = (text("visible_from"), text("visible_until"));
    let mut flag = |name: &str, default: bool| match row.get(name) {
        None => default,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            malformed = true;
            default
        }
    };
    let (enabled, pinned, highlighted) =
        (flag("enabled", true), flag("pinned", false), flag("highlighted", false));
    let mut time = |text: Option<String>| {
        let read = text.map(|text| text.parse::<DateTime<Utc>>()).transpose();
        read.unwrap_or_else(|_| {
            malformed = true;
            None
        })
    };
    let (visible_from, visible_until) = (time(from), time(until));
    malformed |= !is_link_or_header(kind.as_deref(), url.as_deref());
    Item {
        line,
        title: one_line(&title.unwrap_or_default()),
        url,
        hidden: !enabled,
        pinned,
        highlighted,
        visible_from,
        visible_until,
        refused: malformed.then_some(Refusal::Malformed),
    }
}
