//! Where a link may lead: web pages, mail addresses and telephone numbers, and nowhere that a browser would run something.
//!
//! Checked when a link is written and again when it is followed, so that a row from elsewhere leads nowhere either.

use std::borrow::Cow;
use std::fmt;

use url::Url;

/// The longest address, in bytes, as it is kept.
const LONGEST: usize = 2_048;

/// An address that a link may have, in the form that browsers give it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinkUrl {
    text: String,
    scheme: Scheme,
    host: Option<String>,
}

/// The kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http:`
    Http,
    /// `https:`
    Https,
    /// `mailto:`
    Mail,
    /// `tel:`
    Telephone,
}

/// Why a text is no address for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkUrlError {
    /// More than 2,048 bytes.
    #[error("an address has 2048 bytes at most")]
    TooLong,
    /// A character that nobody sees: a control character or a change of the direction of writing.
    #[error("an address has no control characters")]
    InvisibleCharacter,
    /// Another scheme than ours.
    #[error("an address begins with `https:`, `http:`, `mailto:` or `tel:`")]
    Scheme,
    /// A name or password before the host, which only serves to mislead.
    #[error("an address has no user name or password in it")]
    UserInfo,
    /// Anything else.
    #[error("this is not an address")]
    Malformed,
}

impl LinkUrl {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, LinkUrlError> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(LinkUrlError::TooLong);
        }
        // The parser would drop some of these without a word.
        if text.chars().any(|letter| letter.is_control() || super::text::turns_direction(letter)) {
            return Err(LinkUrlError::InvisibleCharacter);
        }
        let url = Url::parse(&without_spaces(text)).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => LinkUrlError::Scheme,
            _ => LinkUrlError::Malformed,
        })?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "mailto" => Scheme::Mail,
            "tel" => Scheme::Telephone,
            _ => return Err(LinkUrlError::Scheme),
        };
        match scheme {
            Scheme::Http | Scheme::Https => check_web(&url)?,
            Scheme::Mail => check_mail(&url)?,
            Scheme::Telephone => check_telephone(&url)?,
        }
        if url.as_str().len() > LONGEST {
            return Err(LinkUrlError::TooLong);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned);
        Ok(Self { text: url.into(), scheme, host })
    }

    /// The address: ASCII, with nothing in it that would end a header.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its kind.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host of a web address, lower case, as DNS has it.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_web(url: &Url) -> Result<(), LinkUrlError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(LinkUrlError::UserInfo);
    }
    if url.host_str().is_none_or(str::is_empty) { Err(LinkUrlError::Malformed) } else { Ok(()) }
}

/// One address or several, with a subject and the like if anybody wants; no line break smuggled into an address.
fn check_mail(url: &Url) -> Result<(), LinkUrlError> {
    let path = url.path().to_ascii_lowercase();
    let is_address = |part: &str| {
        let (name, domain) = part.rsplit_once('@').unwrap_or_default();
        !name.is_empty() && !domain.is_empty()
    };
    let breaks = ["%0", "%1", "%7f"].iter().any(|control| path.contains(control));
    if url.cannot_be_a_base() && !breaks && path.split(',').all(is_address) {
        Ok(())
    } else {
        Err(LinkUrlError::Malformed)
    }
}

/// A telephone number without the spaces that people write in it: an address has hyphens, dots and brackets only (RFC 3966,
/// 5.1.1). Any other address as it is.
fn without_spaces(text: &str) -> Cow<'_, str> {
    match text.split_once(':') {
        Some((scheme, number)) if scheme.eq_ignore_ascii_case("tel") => {
            let number: String = number.chars().filter(|letter| !letter.is_whitespace()).collect();
            Cow::Owned(format!("tel:{number}"))
        }
        _ => Cow::Borrowed(text),
    }
}

/// RFC 3966, as far as people write numbers.
fn check_telephone(url: &Url) -> Result<(), LinkUrlError> {
    let path = url.path();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.()*#;=".contains(&byte);
    let digits = path.bytes().filter(u8::is_ascii_digit).count();
    let plain = url.query().is_none() && url.fragment().is_none();
    if url.cannot_be_a_base() && plain && (2..=32).contains(&digits) && path.bytes().all(fits) {
        Ok(())
    } else {
        Err(LinkUrlError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h7_only_addresses_that_run_nothing_are_taken() {
        for (text, kept) in [
            ("https://example.org", "https://example.org/"),
            (" HTTP://Example.ORG/a b?q=<x>\"#f ", "http://example.org/a%20b?q=%3Cx%3E%22#f"),
            ("https://münchen.example/ü", "https://xn--mnchen-3ya.example/%C3%BC"),
            ("https:example.org", "https://example.org/"),
            ("https://@example.org/", "https://example.org/"),
            ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443/"),
            ("mailto:ada@example.org?subject=Hi%20there", "mailto:ada@example.org?subject=Hi%20there"),
            ("tel:+49-(0)89-123;ext=4", "tel:+49-(0)89-123;ext=4"),
            ("Tel: +49 (30)\u{a0}12 34", "tel:+49(30)1234"),
        ] {
            assert_eq!(LinkUrl::parse(text).map(|url| url.text), Ok(kept.to_owned()), "{text}");
        }
        for (text, why) in [
            ("javascript:alert(1)", LinkUrlError::Scheme),
            ("JaVaScRiPt://example.org/%0aalert(1)", LinkUrlError::Scheme),
            ("java\tscript:alert(1)", LinkUrlError::InvisibleCharacter),
            ("java\nscript:alert(1)", LinkUrlError::InvisibleCharacter),
            ("\u{1}javascript:alert(1)", LinkUrlError::InvisibleCharacter),
            ("data:text/html,<script>alert(1)</script>", LinkUrlError::Scheme),
            ("vbscript:x", LinkUrlError::Scheme),
            ("file:///etc/passwd", LinkUrlError::Scheme),
            ("blob:https://example.org/x", LinkUrlError::Scheme),
            ("ftp://example.org/", LinkUrlError::Scheme),
            ("//example.org/", LinkUrlError::Scheme),
            ("/path", LinkUrlError::Scheme),
            ("example.org", LinkUrlError::Scheme),
            ("example.org:80", LinkUrlError::Scheme),
            ("", LinkUrlError::Scheme),
            ("https://", LinkUrlError::Malformed),
            ("https://exa mple.org", LinkUrlError::Malformed),
            ("https://example.org:99999", LinkUrlError::Malformed),
            ("https://bank.example@evil.example/", LinkUrlError::UserInfo),
            ("https://:secret@example.org/", LinkUrlError::UserInfo),
            ("https:\\\\bank.example@evil.example", LinkUrlError::UserInfo),
            ("https://example.org/\r\nSet-Cookie: a=b", LinkUrlError::InvisibleCharacter),
            ("https://example.org/\u{202e}gpj.exe", LinkUrlError::InvisibleCharacter),
            ("https://example.org/\0", LinkUrlError::InvisibleCharacter),
            ("mailto:", LinkUrlError::Malformed),
            ("mailto:nobody", LinkUrlError::Malformed),
            ("mailto:a@b.example%0d%0abcc:x@y.example", LinkUrlError::Malformed),
            ("mailto://example.org/a@b", LinkUrlError::Malformed),
            ("tel:", LinkUrlError::Malformed),
            ("tel:call-me", LinkUrlError::Malformed),
            ("tel:+49 30/1234", LinkUrlError::Malformed),
            ("tel:+49\t30 1234", LinkUrlError::InvisibleCharacter),
            ("te l:12", LinkUrlError::Scheme),
            ("tel:<script>11", LinkUrlError::Malformed),
            ("tel://123456", LinkUrlError::Malformed),
            (&format!("https://example.org/{}", "a".repeat(2_048)), LinkUrlError::TooLong),
            (&format!("https://example.org/{}", "ü".repeat(400)), LinkUrlError::TooLong),
        ] {
            assert_eq!(LinkUrl::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn h7_what_is_kept_fits_a_header_and_reads_as_itself() {
        for text in ["https://example.org/'\"<>\\^`{|}\u{a0}é", "mailto:é@example.org?subject=é\"<>"] {
            let url = LinkUrl::parse(text).unwrap();
            assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
            assert_eq!(LinkUrl::parse(url.as_str()), Ok(url));
        }
    }

    #[test]
    fn the_host_is_told_as_dns_has_it() {
        let host = |text: &str| LinkUrl::parse(text).unwrap().host().map(str::to_owned);
        assert_eq!(host("https://WWW.MÜNCHEN.example:8080/").as_deref(), Some("www.xn--mnchen-3ya.example"));
        assert_eq!(host("tel:+123"), None);
        assert_eq!(host("mailto:a@b.example"), None);
    }
}
