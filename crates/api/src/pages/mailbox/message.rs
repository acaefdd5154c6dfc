//! One message, taken apart for display.
//!
//! Whatever the bytes are, the result is something to show: a part that is missing or broken is left out.

use mail_parser::{Address, MessageParser};

/// A message as the page shows it.
pub(super) struct Message {
    /// Its subject line.
    pub(super) subject: String,
    /// Whom it is for.
    pub(super) to: String,
    /// Whom it is from.
    pub(super) from: String,
    /// Its HTML part.
    pub(super) html: Option<String>,
    /// Its text part, cut at its links.
    pub(super) text: Vec<Piece>,
}

/// A stretch of the text part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The characters.
    pub(super) text: String,
    /// Whether they are the address of a page.
    pub(super) link: bool,
}

/// Takes a message apart.
pub(super) fn parse(raw: &[u8]) -> Message {
    let parsed = MessageParser::default().parse(raw);
    let parsed = parsed.as_ref();
    let text_part = parsed.and_then(|message| {
        let part = message.text_bodies().find(|part| !part.is_text_html())?;
        part.text_contents()
    });
    let html_part = parsed.and_then(|message| {
        let part = message.html_bodies().find(|part| part.is_text_html())?;
        part.text_contents()
    });
    Message {
        subject: parsed.and_then(|message| message.subject()).unwrap_or("(no subject)").to_owned(),
        to: addresses(parsed.and_then(|message| message.to())),
        from: addresses(parsed.and_then(|message| message.from())),
        html: html_part.map(str::to_owned),
        text: text_part.map(pieces).unwrap_or_default(),
    }
}

fn addresses(header: Option<&Address<'_>>) -> String {
    let all: Vec<&str> = header.into_iter().flat_map(Address::iter).filter_map(|one| one.address()).collect();
    all.join(", ")
}

/// Cuts a text at its web addresses; the pieces joined again are the text.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| c.is_whitespace() || "<>\"'`".contains(c)).unwrap_or(from.len());
        let (address, _) = from.split_at(end);
        let address = address.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']']);
        let (address, after) = from.split_at(address.len());
        if !before.is_empty() {
            pieces.push(Piece { text: before.to_owned(), link: false });
        }
        pieces.push(Piece { text: address.to_owned(), link: true });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece { text: rest.to_owned(), link: false });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_cut_out_of_the_text() {
        let text = "Open http://a.test/verify-email?token=x_-1.\nOr <https://b.test/>, bye";
        let cut = pieces(text);
        let links: Vec<&str> =
            cut.iter().filter(|piece| piece.link).map(|piece| piece.text.as_str()).collect();
        assert_eq!(links, ["http://a.test/verify-email?token=x_-1", "https://b.test/"]);
        assert_eq!(cut.iter().map(|piece| piece.text.as_str()).collect::<String>(), text);
        assert!(pieces("javascript:alert(1)").iter().all(|piece| !piece.link));
        assert!(pieces("").is_empty());
    }

    #[test]
    fn both_parts_and_the_encoded_subject_are_found() {
        let raw = b"From: Trellis <no-reply@example.test>\r\nTo: ada@example.test\r\nSubject: =?utf-8?q?Best=C3=A4tigen?=\r\n\
            MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
            --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhttp://a.test/?token=3D1\r\n\
            --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hi</p>\r\n--b--\r\n";
        let message = parse(raw);
        assert_eq!(
            (message.subject.as_str(), message.to.as_str(), message.from.as_str()),
            ("Best\u{e4}tigen", "ada@example.test", "no-reply@example.test")
        );
        assert!(message.html.is_some_and(|html| html.contains("<p>Hi</p>")));
        assert!(message.text.iter().any(|piece| piece.link && piece.text == "http://a.test/?token=1"));
    }

    #[test]
    fn a_message_of_one_kind_has_no_other() {
        let text_only = parse(b"Subject: a\r\n\r\nplain");
        assert!(text_only.html.is_none() && !text_only.text.is_empty());
        let html_only = parse(b"Subject: a\r\nContent-Type: text/html\r\n\r\n<b>x</b>");
        assert!(html_only.html.is_some() && html_only.text.is_empty());
    }

    #[test]
    fn any_bytes_are_shown_as_something() {
        for raw in
            [&b""[..], b"\0\xff\xfe", b"Subject:", b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n"]
        {
            assert!(!parse(raw).subject.contains('\n'));
        }
    }
}
