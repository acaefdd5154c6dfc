//! Links of a page: its `a` elements, read token by token.
//!
//! A tokenizer without a tree: however deep elements are nested and whatever is left open, work grows with the length of
//! the text alone. It follows the standard, and goes into the states that scripts, styles, titles and text areas want, so
//! that what looks like a link within them is none.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};

use super::{Item, Lines, MOST_ITEMS, Refusal, SourceError, one_line};

/// The longest title that is kept while reading: longer ones are refused later on, and need not be whole for that.
const LONGEST: usize = 1_000;

/// Which `a` elements count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All that lead somewhere.
    All,
    /// Those of the class `button`, which LittleLink gives its links.
    Buttons,
}

/// An `a` element whose end is not reached.
struct Open {
    item: Item,
    /// What it is called where it has no text: by its attributes, or by a picture in it.
    other_title: String,
}

/// Reads a page.
pub(super) fn read(source: &str, which: Which) -> Result<Vec<Item>, SourceError> {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(true);
    let mut lines = Lines::new(source);
    let mut items = Vec::new();
    let mut open: Option<Open> = None;
    for Ok(token) in Tokenizer::new_with_emitter(source, emitter) {
        match token {
            Token::StartTag(tag) if *tag.name == *b"a" => {
                // Links are not nested: the next one ends the one before.
                items.extend(open.take().map(finished));
                open = begin(&tag, which, lines.at(tag.span.start));
            }
            Token::StartTag(tag) if *tag.name == *b"img" => {
                if let Some(link) = open.as_mut().filter(|link| link.other_title.is_empty()) {
                    link.other_title = attribute(&tag, b"alt").unwrap_or_default();
                }
            }
            // Words in elements of their own are words of their own.
            Token::StartTag(_) => push(open.as_mut(), " "),
            Token::EndTag(tag) if *tag.name == *b"a" => items.extend(open.take().map(finished)),
            Token::String(text) => push(open.as_mut(), &String::from_utf8_lossy(&text)),
            _ => {}
        }
        if items.len() > MOST_ITEMS {
            return Err(SourceError::TooMany);
        }
    }
    items.extend(open.map(finished));
    Ok(items)
}

fn begin(tag: &StartTag<usize>, which: Which, line: usize) -> Option<Open> {
    let classes = attribute(tag, b"class").unwrap_or_default();
    if which == Which::Buttons && !classes.split_ascii_whitespace().any(|class| class == "button") {
        return None;
    }
    let url = attribute(tag, b"href")?.trim().to_owned();
    // Within a page, or to another page of the same site: where that is, the text does not say.
    let refused = match url.as_bytes() {
        [] | [b'#', ..] => Some(Refusal::Placeholder),
        _ => None,
    };
    let other_title = attribute(tag, b"aria-label").or_else(|| attribute(tag, b"title")).unwrap_or_default();
    Some(Open { item: Item { line, url: Some(url), refused, ..Item::default() }, other_title })
}

fn finished(open: Open) -> Item {
    let written = one_line(&open.item.title);
    let title = if written.is_empty() { one_line(&open.other_title) } else { written };
    Item { title, ..open.item }
}

fn push(open: Option<&mut Open>, text: &str) {
    if let Some(link) = open.filter(|link| link.item.title.len() <= LONGEST) {
        link.item.title.extend(text.chars().take(LONGEST));
    }
}

fn attribute(tag: &StartTag<usize>, name: &[u8]) -> Option<String> {
    tag.attributes.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}
