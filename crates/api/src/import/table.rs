//! Links as rows of CSV, read and written.
//!
//! The first row names the columns: `title` and `url`, and if they are there `kind`, `enabled`, `pinned`, `highlighted`,
//! `visible_from` and `visible_until`, in any order; others are left out. Without such a row the first column is the title
//! and the second the address, or the other way round where the first one looks like one. Commas, semicolons and tabs part
//! columns, whichever the first line has.
//!
//! A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, whatever quotes are around it. So what is
//! written gets an apostrophe before such a beginning, which is taken off when it is read: what went out comes in as it was.

use chrono::{DateTime, Utc};
use csv::{ReaderBuilder, StringRecord, Terminator, WriterBuilder};

use super::{Item, Lines, MOST_ITEMS, Refusal, SourceError, is_link_or_header, one_line};

/// What a cell must not begin with.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// The columns that are written.
const COLUMNS: [&str; 8] =
    ["kind", "title", "url", "enabled", "pinned", "highlighted", "visible_from", "visible_until"];

/// Reads rows.
pub(super) fn read(source: &str) -> Result<Vec<Item>, SourceError> {
    let head = source.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |delimiter: char| head.chars().filter(|letter| *letter == delimiter).count();
    let delimiter =
        [',', ';', '\t'].into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(',');
    let mut reader = ReaderBuilder::new()
        .delimiter(u8::try_from(delimiter).unwrap_or(b','))
        .has_headers(false)
        .flexible(true)
        .from_reader(source.as_bytes());
    let mut items = Vec::new();
    let mut columns: Option<Vec<String>> = None;
    let mut lines = Lines::new(source);
    for record in reader.records() {
        let record = record.map_err(|_| SourceError::WrongFormat)?;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let Some(known) = &columns else {
            let (names, is_header) = columns_of(&record);
            if !is_header {
                items.push(item(&names, &record, lines.of(&record)));
            }
            columns = Some(names);
            continue;
        };
        items.push(item(known, &record, lines.of(&record)));
        if items.len() > MOST_ITEMS {
            return Err(SourceError::TooMany);
        }
    }
    Ok(items)
}

impl Lines<'_> {
    /// Where a row begins: the reader counts the breaks before it to the row.
    fn of(&mut self, record: &StringRecord) -> usize {
        let at = record.position().and_then(|at| usize::try_from(at.byte()).ok()).unwrap_or_default();
        let rest = self.source.get(at..).unwrap_or_default();
        self.at(at + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count())
    }
}

/// The names of the columns, and whether this row is where they are named.
fn columns_of(first: &StringRecord) -> (Vec<String>, bool) {
    let names: Vec<String> = first.iter().map(|cell| cell.trim().to_lowercase()).collect();
    let has = |name: &str| names.iter().any(|known| known == name);
    if has("url") && has("title") {
        return (names, true);
    }
    let is_address = |cell: Option<&str>| cell.is_some_and(|cell| cell.trim().contains(':'));
    let order = if is_address(first.get(0)) && !is_address(first.get(1)) {
        ["url", "title"]
    } else {
        ["title", "url"]
    };
    (order.map(str::to_owned).to_vec(), false)
}

fn item(columns: &[String], record: &StringRecord, line: usize) -> Item {
    let cell = |name: &str| {
        let index = columns.iter().position(|known| known == name)?;
        record.get(index).map(|cell| fused(cell.trim())).filter(|cell| !cell.is_empty())
    };
    let mut malformed = false;
    let mut flag = |name: &str, default: bool| match cell(name).map(str::to_lowercase).as_deref() {
        None => default,
        Some("true" | "yes" | "1") => true,
        Some("false" | "no" | "0") => false,
        Some(_) => {
            malformed = true;
            default
        }
    };
    let (enabled, pinned, highlighted) =
        (flag("enabled", true), flag("pinned", false), flag("highlighted", false));
    let mut time = |name: &str| {
        let read = cell(name).map(str::parse::<DateTime<Utc>>).transpose();
        read.unwrap_or_else(|_| {
            malformed = true;
            None
        })
    };
    let (visible_from, visible_until) = (time("visible_from"), time("visible_until"));
    let url = cell("url").map(str::to_owned);
    malformed |= !is_link_or_header(cell("kind"), url.as_deref());
    Item {
        line,
        title: one_line(cell("title").unwrap_or_default()),
        url,
        hidden: !enabled,
        pinned,
        highlighted,
        visible_from,
        visible_until,
        refused: malformed.then_some(Refusal::Malformed),
    }
}

/// Writes items as rows, with the names of the columns above them (RFC 4180).
pub fn csv(items: &[Item]) -> anyhow::Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for item in items {
        let kind = if item.url.is_some() { "link" } else { "header" };
        let time = |time: Option<DateTime<Utc>>| time.map(|time| time.to_rfc3339()).unwrap_or_default();
        let cells = [
            kind.to_owned(),
            item.title.clone(),
            item.url.clone().unwrap_or_default(),
            (!item.hidden).to_string(),
            item.pinned.to_string(),
            item.highlighted.to_string(),
            time(item.visible_from),
            time(item.visible_until),
        ];
        writer.write_record(cells.map(|cell| defused(&cell)))?;
    }
    Ok(writer.into_inner()?)
}

/// The cell as no spreadsheet runs it.
pub fn defused(cell: &str) -> String {
    let apostrophe = if cell.starts_with(FORMULA) { "'" } else { "" };
    format!("{apostrophe}{cell}")
}

/// The cell as it was before it was defused.
fn fused(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA)).unwrap_or(cell)
}
