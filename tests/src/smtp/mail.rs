//! A mail that was taken, as a reader of mail sees it.

use mail_parser::MessageParser;

/// A mail.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// The sender on the envelope.
    pub from: String,
    /// The recipients on the envelope.
    pub to: Vec<String>,
    /// As it came, without the dots of the transport.
    pub raw: Vec<u8>,
    /// The headers, decoded, in order. A header that is no text, such as an address list, is given as it came.
    pub headers: Vec<(String, String)>,
    /// The subject.
    pub subject: String,
    /// `Message-ID`, without the angle brackets.
    pub message_id: String,
    /// The addresses in `To`, `Cc` and `Bcc`.
    pub recipients: Vec<String>,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

impl Mail {
    /// Reads a mail, such as an `.eml` file's content. It has no envelope.
    pub fn parse(raw: Vec<u8>) -> Self {
        let Some(message) = MessageParser::default().parse(&raw) else {
            return Self { raw, ..Self::default() };
        };
        let lists = [message.to(), message.cc(), message.bcc()];
        let addresses = lists.into_iter().flatten().flat_map(mail_parser::Address::iter);
        let recipients = addresses.filter_map(|address| address.address().map(str::to_owned)).collect();
        let headers =
            message.headers_raw().map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        // A part that is missing stays empty; the parser would make one from the other.
        let part = |index: Option<&u32>, html: bool| {
            let part = message.part(*index?)?;
            (part.is_text_html() == html).then(|| part.text_contents().unwrap_or_default().to_owned())
        };
        let text = part(message.text_body.first(), false).unwrap_or_default();
        let html = part(message.html_body.first(), true).unwrap_or_default();
        let (subject, message_id) =
            (message.subject().unwrap_or_default(), message.message_id().unwrap_or_default());
        Self {
            headers,
            recipients,
            text,
            html,
            subject: subject.to_owned(),
            message_id: message_id.to_owned(),
            raw,
            ..Self::default()
        }
    }

    /// The values of a header, which is named in any case.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The links in the text part.
    pub fn links(&self) -> Vec<String> {
        let words = self.text.split_ascii_whitespace();
        words
            .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
            .map(str::to_owned)
            .collect()
    }

    /// The value of `token=` in the first link that has one.
    pub fn token(&self) -> Option<String> {
        let tail = self.links().iter().find_map(|link| Some(link.split_once("token=")?.1.to_owned()))?;
        Some(tail.split('&').next().unwrap_or_default().to_owned())
    }
}
