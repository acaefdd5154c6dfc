//! The figures as one table, for spreadsheets.
//!
//! A cell that begins like a formula would be run as one (OWASP, "CSV Injection"), and referrers and titles are whatever
//! people write: such a cell gets an apostrophe in front, which makes it a text.

use std::borrow::Cow;

use csv::{QuoteStyle, WriterBuilder};

use super::{Item, Numbers, Reply, Totals};

/// What a spreadsheet takes for the beginning of a formula, or skips on its way to one.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '＠'];

/// The table, with a row for each total, piece and value.
pub(super) fn write(reply: &Reply) -> anyhow::Result<Vec<u8>> {
    let mut sheet = Sheet(WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(Vec::new()));
    sheet.0.write_record([
        "section",
        "value",
        "title",
        "clicks",
        "unique",
        "bots",
        "views",
        "unique_views",
        "own",
        "click_through_rate",
    ])?;
    sheet.totals(&reply.totals)?;
    for piece in &reply.series {
        sheet.row(
            "series",
            &piece.from.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "",
            piece.numbers,
        )?;
    }
    for link in reply.links.iter().flatten() {
        sheet.row("links", &link.id.to_string(), &link.title, link.numbers)?;
    }
    let lists: [(&str, &[Item]); 5] = [
        ("referrers", &reply.referrers),
        ("devices", &reply.devices),
        ("browsers", &reply.browsers),
        ("systems", &reply.systems),
        ("countries", &reply.countries),
    ];
    for (section, items) in lists {
        for item in items {
            sheet.row(section, &item.value, "", item.numbers)?;
        }
    }
    Ok(sheet.0.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

struct Sheet(csv::Writer<Vec<u8>>);

impl Sheet {
    /// The one row that has figures of its own.
    fn totals(&mut self, totals: &Totals) -> csv::Result<()> {
        let rate = totals.click_through_rate.map(|rate| rate.to_string()).unwrap_or_default();
        self.record("totals", "", "", totals.numbers, [&totals.own.to_string(), &rate])
    }

    fn row(&mut self, section: &str, value: &str, title: &str, numbers: Numbers) -> csv::Result<()> {
        self.record(section, value, title, numbers, ["", ""])
    }

    fn record(
        &mut self,
        section: &str,
        value: &str,
        title: &str,
        numbers: Numbers,
        [own, rate]: [&str; 2],
    ) -> csv::Result<()> {
        let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        self.0.write_record([
            section,
            &inert(value),
            &inert(title),
            &numbers.clicks.to_string(),
            &numbers.unique.to_string(),
            &numbers.bots.to_string(),
            &number(numbers.views),
            &number(numbers.unique_views),
            own,
            rate,
        ])
    }
}

/// A text that no spreadsheet runs.
fn inert(text: &str) -> Cow<'_, str> {
    let begins = text.trim_start_matches([' ', '\u{a0}', '\u{feff}']);
    if begins.starts_with(FORMULA) || text.starts_with(FORMULA) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h7_no_cell_is_a_formula() {
        for (text, cell) in [
            ("=HYPERLINK(\"https://evil.example\")", "'=HYPERLINK(\"https://evil.example\")"),
            ("+1", "'+1"),
            ("-1+1|cmd", "'-1+1|cmd"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            (" =1", "' =1"),
            ("\u{feff}=1", "'\u{feff}=1"),
            ("＝1", "'＝1"),
            ("", ""),
            ("My page", "My page"),
            ("(other)", "(other)"),
            ("instagram.com", "instagram.com"),
        ] {
            assert_eq!(inert(text), cell, "{text}");
        }
    }
}
