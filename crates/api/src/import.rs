//! Link lists, read: our own in JSON and CSV, and of other houses exports of LinkStack, pages of LittleLink, and any page pasted
//! as HTML; and our own lists written as CSV.
//!
//! Reading gives [`Item`]s, each with its place in the source; what is wrong with one is noted on it and never stops the
//! others. Nothing is fetched, nothing is run: of HTML only the tokens are looked at, and what is in scripts, styles and
//! comments is no link. Work and memory grow with the length of the source, which the body limit bounds, and never more
//! than [`MOST_ITEMS`] items are looked at.

mod html;
mod linkstack;
mod own;
mod table;

pub use table::{csv, defused};

use chrono::{DateTime, Utc};

/// The most items of a source.
pub const MOST_ITEMS: usize = 1_000;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What our own export writes as JSON.
    Json,
    /// What LinkStack exports: JSON.
    LinkStack,
    /// The `index.html` of a LittleLink page.
    LittleLink,
    /// Rows of titles and addresses.
    Csv,
    /// Any page.
    Html,
}

impl Format {
    /// Every format by its word.
    pub const ALL: [(&str, Self); 5] = [
        ("json", Self::Json),
        ("linkstack", Self::LinkStack),
        ("littlelink", Self::LittleLink),
        ("csv", Self::Csv),
        ("html", Self::Html),
    ];
}

/// A link or header as somebody else's list has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Its place: the line of a text, the number of an entry.
    pub line: usize,
    /// What it says; empty for the host of its address.
    pub title: String,
    /// Where it leads; `None` for a header.
    pub url: Option<String>,
    /// Hidden by its owner.
    pub hidden: bool,
    /// Above the others.
    pub pinned: bool,
    /// Set off from the others.
    pub highlighted: bool,
    /// Shown from,
    pub visible_from: Option<DateTime<Utc>>,
    /// until.
    pub visible_until: Option<DateTime<Utc>>,
    /// Why it cannot be taken whatever its address says.
    pub refused: Option<Refusal>,
}

/// Why an item is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A kind of block that pages here do not have.
    Unsupported,
    /// An address that leads nowhere yet, such as `#`.
    Placeholder,
    /// A row that has too few columns, or something else in one than it should have.
    Malformed,
}

/// Why a source cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not the format that it was said to be.
    #[error("this is not of the format")]
    WrongFormat,
    /// Too much of it.
    #[error("there are more than 1000 links in it")]
    TooMany,
}

/// Reads a source.
pub fn read(format: Format, source: &str) -> Result<Vec<Item>, SourceError> {
    let source = source.trim_start_matches('\u{feff}');
    let items = match format {
        Format::Json => own::read(source)?,
        Format::LinkStack => linkstack::read(source)?,
        Format::LittleLink => html::read(source, html::Which::Buttons)?,
        Format::Csv => table::read(source)?,
        Format::Html => html::read(source, html::Which::All)?,
    };
    if items.len() > MOST_ITEMS { Err(SourceError::TooMany) } else { Ok(items) }
}

/// Whether our own lists may say so: a header leads nowhere, and a link somewhere.
fn is_link_or_header(kind: Option<&str>, url: Option<&str>) -> bool {
    matches!((kind, url), (Some("header"), None) | (None | Some("link"), Some(_)))
}

/// One line of what was written over several.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Tells lines, from front to back.
struct Lines<'a> {
    source: &'a [u8],
    line: usize,
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        Self { source: source.as_bytes(), line: 1, at: 0 }
    }

    /// The line of a byte.
    fn at(&mut self, to: usize) -> usize {
        let passed = self.source.get(self.at..to).unwrap_or_default();
        self.line += passed.split(|byte| *byte == b'\n').count().saturating_sub(1);
        self.at = self.at.max(to);
        self.line
    }
}

#[cfg(test)]
mod tests;
