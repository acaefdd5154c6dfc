//! What LinkStack hands out under «Export links» and «Export all data»: an object whose `links` are rows of its table.
//!
//! A row says by `button_id` (a number, or one in quotes) and, in newer versions, by `type` what it is. Of the blocks,
//! headings become headers; mail addresses and telephone numbers get their scheme where it is missing; vCards, texts and
//! spacers have no place here. `up_link` is «pinned». The clicks, styles and icons stay behind, as do the profile and the
//! picture of the full export.

use serde_json::Value;

use super::{Item, Refusal, SourceError, one_line};

/// LinkStack's numbers for blocks that are no links.
const HEADING: i64 = 42;
const SPACER: i64 = 43;
const TELEPHONE: i64 = 44;
const TEXT: i64 = 93;
const ICON: i64 = 94;
const VCARD: i64 = 96;
const MAIL: i64 = 6;

/// Reads an export.
pub(super) fn read(source: &str) -> Result<Vec<Item>, SourceError> {
    let document: Value = serde_json::from_str(source).map_err(|_| SourceError::WrongFormat)?;
    let rows = document.get("links").and_then(Value::as_array).ok_or(SourceError::WrongFormat)?;
    if rows.len() > super::MOST_ITEMS {
        return Err(SourceError::TooMany);
    }
    let mut items: Vec<(i64, Item)> =
        rows.iter().enumerate().map(|(index, row)| (number(row, "order"), item(index + 1, row))).collect();
    // Rows come in the order they were made; those of equal place keep it.
    items.sort_by_key(|(order, _)| *order);
    // A spacer only parts what is around it.
    Ok(items
        .into_iter()
        .filter_map(|(_, item)| (item.refused != Some(Refusal::Placeholder)).then_some(item))
        .collect())
}

fn item(line: usize, row: &Value) -> Item {
    let kind = text(row, "type");
    let button = number(row, "button_id");
    let title = one_line(&text(row, "title"));
    let link = text(row, "link").trim().to_owned();
    let pinned = text(row, "up_link") == "yes";
    let known = Item { line, title, pinned, ..Item::default() };
    if button == HEADING || kind == "heading" {
        return known;
    }
    if button == SPACER || kind == "spacer" {
        return Item { refused: Some(Refusal::Placeholder), ..known };
    }
    let unsupported = matches!(button, TEXT | VCARD) || matches!(kind.as_str(), "text" | "vcard");
    let url = match (button, kind.as_str()) {
        (MAIL, _) | (_, "email") if !link.contains(':') => format!("mailto:{link}"),
        (TELEPHONE, _) | (_, "telephone") if !link.contains(':') => format!("tel:{link}"),
        _ => link,
    };
    let refused = match () {
        () if unsupported => Some(Refusal::Unsupported),
        () if !row.is_object() => Some(Refusal::Malformed),
        () => None,
    };
    // An icon's title is the name of its network, in small letters.
    let title = if button == ICON { capitalised(&known.title) } else { known.title };
    Item { title, url: Some(url), refused, ..known }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn text(row: &Value, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(row: &Value, name: &str) -> i64 {
    let value = row.get(name);
    value.and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok())).unwrap_or_default()
}
