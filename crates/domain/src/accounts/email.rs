//! E-mail addresses, in the one form that identifies an account.

use std::fmt;

/// The longest address (RFC 5321, 4.5.3.1.3: a path of 256 octets with its angle brackets).
const LONGEST: usize = 254;

/// The longest local part (RFC 5321, 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;

/// A normalised address: trimmed, lower case, the domain in its ASCII form (IDNA). Two addresses that reach the same
/// mailbox by these rules are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// Why a text is no address we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Longer than 254 characters, or 64 before the `@`.
    #[error("must be at most 254 characters, with at most 64 before the @")]
    TooLong,
    /// No `@`, or nothing on one side of it.
    #[error("enter a valid e-mail address, such as ada@example.org")]
    Malformed,
    /// An address with a name or angle brackets, as mail programs copy it.
    #[error("enter the address alone, without a name and without angle brackets")]
    Decorated,
    /// More than one address.
    #[error("enter one e-mail address only")]
    Several,
    /// A character that the part before the `@` cannot have.
    #[error("the part before the @ has a character or a dot in a place that is not allowed")]
    BadLocal,
    /// The part after the `@` is not a domain on the Internet.
    #[error("the part after the @ must be a domain, such as example.org")]
    BadDomain,
}

impl Email {
    /// Reads an address: `local@domain`, where `local` is a dot-atom (RFC 5322, 3.2.3) and `domain` a host name of two
    /// labels at least. Quoted local parts, address literals and comments are refused: nobody signs up with them, and
    /// filters have been fooled by them.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.chars().count() > LONGEST {
            return Err(EmailError::TooLong);
        }
        if text.ends_with('>') && text.contains('<') && text.contains('@') {
            return Err(EmailError::Decorated);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Malformed)?;
        if local.is_empty() || domain.is_empty() {
            return Err(EmailError::Malformed);
        }
        if local.contains('@') && text.contains([',', ';', ' ']) {
            return Err(EmailError::Several);
        }
        if local.len() > LONGEST_LOCAL {
            return Err(EmailError::TooLong);
        }
        if !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_byte)) {
            return Err(EmailError::BadLocal);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError::BadDomain)?;
        if !domain.contains('.')
            || domain.rsplit('.').next().is_none_or(|top| top.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(EmailError::BadDomain);
        }
        let email = format!("{}@{domain}", local.to_ascii_lowercase());
        if email.len() > LONGEST { Err(EmailError::TooLong) } else { Ok(Self(email)) }
    }

    /// An address that was stored in its normalised form.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }

    /// The address that all spellings of one person's mailbox share: `+tag` cut; for Gmail the dots cut and
    /// googlemail.com read as gmail.com. Only ever compared, never written to.
    pub fn canonical(&self) -> String {
        let (local, domain) = self.0.split_once('@').unwrap_or((&self.0, ""));
        let local = local.split('+').next().filter(|base| !base.is_empty()).unwrap_or(local);
        match domain {
            "gmail.com" | "googlemail.com" => format!("{}@gmail.com", local.replace('.', "")),
            _ => format!("{local}@{domain}"),
        }
    }
}

/// An address never reaches a log by way of `{:?}`.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email([redacted])")
    }
}

fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_one_mailbox_has_one_form() {
        for (text, normal) in [
            ("ada@example.org", "ada@example.org"),
            ("  Ada@EXAMPLE.org ", "ada@example.org"),
            ("ada@bücher.example", "ada@xn--bcher-kva.example"),
            ("a.b+c_d-e'f@sub.example.co.uk", "a.b+c_d-e'f@sub.example.co.uk"),
        ] {
            assert_eq!(Email::parse(text).unwrap().as_str(), normal);
        }
    }

    #[test]
    fn r9_what_is_no_address_is_refused() {
        for bad in [
            "",
            "@",
            "a@",
            "@b.c",
            "a b@c.de",
            "a@b",
            "a@b..c",
            "a..b@c.de",
            ".a@c.de",
            "a.@c.de",
            "a@-c.de",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "\"a b\"@c.de",
            "a@c.de\r\nBcc: x@y.z",
            "a\r\n@c.de",
            "a\0@c.de",
            "а@c.de",
            "a@c.de,b@c.de",
            "Ada <a@c.de>",
            "a@c_d.de",
            "a@b@c.de",
            "a@c.de\u{202e}",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Email::parse(&format!("{}@c.de", "a".repeat(65))), Err(EmailError::TooLong));
        assert_eq!(Email::parse(&format!("a@{}.de", "b".repeat(300))), Err(EmailError::TooLong));
    }

    /// cases/accounts 23
    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (text, why) in [
            ("Ada <a@b.example>", EmailError::Decorated),
            ("<a@b.example>", EmailError::Decorated),
            ("ada", EmailError::Malformed),
            ("@b.example", EmailError::Malformed),
            ("a@b.example, c@d.example", EmailError::Several),
            ("a b@c.example", EmailError::BadLocal),
            ("a..b@c.example", EmailError::BadLocal),
            ("a@localhost", EmailError::BadDomain),
            ("a@c_d.example", EmailError::BadDomain),
        ] {
            assert_eq!(Email::parse(text).map(|_| ()), Err(why), "{text}");
        }
    }

    #[test]
    fn f3_spellings_of_one_mailbox_are_canonically_equal() {
        for (text, canonical) in [
            ("A.d.a+x@Gmail.com", "ada@gmail.com"),
            ("ada@googlemail.com", "ada@gmail.com"),
            ("ada+promo@example.org", "ada@example.org"),
            ("a.da@example.org", "a.da@example.org"),
            ("+x@example.org", "+x@example.org"),
        ] {
            assert_eq!(Email::parse(text).unwrap().canonical(), canonical);
        }
    }

    #[test]
    fn v1_nothing_prints_an_address() {
        assert!(!format!("{:?}", Email::parse("ada@example.org").unwrap()).contains("ada"));
    }
}
