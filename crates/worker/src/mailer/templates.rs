//! What the mails say: a subject, a text and an HTML page each, compiled from `templates/`.
//!
//! Invariants: subjects are constants, so nothing a person typed reaches a header; everything is escaped in HTML; each
//! link stands in both parts; the texts are ASCII with short lines, so a mail can be read as it travels.

use std::fmt;

use askama::Template;
use chrono::{DateTime, Utc};

/// A mail, with what differs from one to the next.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// Asks to confirm an e-mail address.
    Verification {
        /// Whom to greet.
        username: String,
        /// The link that confirms.
        link: String,
    },
    /// Lets somebody who forgot a password set a new one.
    PasswordReset {
        /// Whom to greet.
        username: String,
        /// The link to the form.
        link: String,
        /// How long the link works.
        valid_for_minutes: u32,
    },
    /// Tells that the password was changed.
    PasswordChanged {
        /// Whom to greet.
        username: String,
        /// When it was changed.
        at: DateTime<Utc>,
    },
    /// Tells that a session was ended because one of its tokens was used twice.
    SessionReuse {
        /// Whom to greet.
        username: String,
        /// When it was ended.
        at: DateTime<Utc>,
    },
    /// Tells that an account at an identity provider may sign in from now on.
    IdentityLinked {
        /// Whom to greet.
        username: String,
        /// What people call the provider.
        provider: String,
        /// When it was linked.
        at: DateTime<Utc>,
    },
}

impl Mail {
    /// The mail's name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verification { .. } => "verification",
            Self::PasswordReset { .. } => "password_reset",
            Self::PasswordChanged { .. } => "password_changed",
            Self::SessionReuse { .. } => "session_reuse",
            Self::IdentityLinked { .. } => "identity_linked",
        }
    }

    /// The subject.
    pub(super) fn subject(&self) -> &'static str {
        match self {
            Self::Verification { .. } => "Confirm your e-mail address",
            Self::PasswordReset { .. } => "Reset your password",
            Self::PasswordChanged { .. } => "Your password was changed",
            Self::SessionReuse { .. } => "A sign-in to your account was ended",
            Self::IdentityLinked { .. } => "There is a new way to sign in to your account",
        }
    }

    /// The text and the HTML page. `sender` is what the people behind the service call it.
    pub(super) fn render(&self, sender: &str) -> Result<(String, String), askama::Error> {
        let letter = &self.letter(sender);
        let title = self.subject();
        match self {
            Self::Verification { .. } => {
                Ok((VerificationText { letter }.render()?, VerificationHtml { title, letter }.render()?))
            }
            Self::PasswordReset { .. } => {
                Ok((PasswordResetText { letter }.render()?, PasswordResetHtml { title, letter }.render()?))
            }
            Self::PasswordChanged { .. } => Ok((
                PasswordChangedText { letter }.render()?,
                PasswordChangedHtml { title, letter }.render()?,
            )),
            Self::SessionReuse { .. } => {
                Ok((SessionReuseText { letter }.render()?, SessionReuseHtml { title, letter }.render()?))
            }
            Self::IdentityLinked { .. } => {
                Ok((IdentityLinkedText { letter }.render()?, IdentityLinkedHtml { title, letter }.render()?))
            }
        }
    }

    fn letter(&self, sender: &str) -> Letter<'_> {
        let (username, link, minutes, at) = match self {
            Self::Verification { username, link } => (username, link.as_str(), 0, None),
            Self::PasswordReset { username, link, valid_for_minutes } => {
                (username, link.as_str(), *valid_for_minutes, None)
            }
            Self::PasswordChanged { username, at }
            | Self::SessionReuse { username, at }
            | Self::IdentityLinked { username, at, .. } => (username, "", 0, Some(at)),
        };
        let provider = if let Self::IdentityLinked { provider, .. } = self { provider } else { "" };
        Letter {
            username: one_line(username),
            sender: one_line(sender),
            provider: one_line(provider),
            link,
            minutes,
            when: at.map(|at| at.format("%-d %B %Y at %H:%M UTC").to_string()).unwrap_or_default(),
        }
    }
}

/// Shows the name alone: a link is as good as a password.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that cannot start a line of its own in a text.
fn one_line(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

/// What the templates may use.
struct Letter<'a> {
    username: String,
    sender: String,
    provider: String,
    link: &'a str,
    minutes: u32,
    when: String,
}

macro_rules! pair {
    ($text:ident, $text_file:literal, $html:ident, $html_file:literal) => {
        #[derive(Template)]
        #[template(path = $text_file)]
        struct $text<'a> {
            letter: &'a Letter<'a>,
        }

        #[derive(Template)]
        #[template(path = $html_file)]
        struct $html<'a> {
            title: &'static str,
            letter: &'a Letter<'a>,
        }
    };
}

pair!(VerificationText, "verification.txt", VerificationHtml, "verification.html");
pair!(PasswordResetText, "password_reset.txt", PasswordResetHtml, "password_reset.html");
pair!(PasswordChangedText, "password_changed.txt", PasswordChangedHtml, "password_changed.html");
pair!(SessionReuseText, "session_reuse.txt", SessionReuseHtml, "session_reuse.html");
pair!(IdentityLinkedText, "identity_linked.txt", IdentityLinkedHtml, "identity_linked.html");

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    const LINK: &str =
        "https://trellis.example/reset-password?token=ZrYm0Vh3bT4q6eFf8nX1oKuP9sD2wLc7GjAiRtEyQxU";

    fn all(username: &str) -> [Mail; 5] {
        let at = Utc.with_ymd_and_hms(2026, 11, 2, 9, 5, 0).unwrap();
        let (username, link) = (username.to_owned(), LINK.to_owned());
        [
            Mail::Verification { username: username.clone(), link: link.clone() },
            Mail::PasswordReset { username: username.clone(), link, valid_for_minutes: 15 },
            Mail::PasswordChanged { username: username.clone(), at },
            Mail::SessionReuse { username: username.clone(), at },
            Mail::IdentityLinked { username, provider: "GitHub".to_owned(), at },
        ]
    }

    #[test]
    fn each_mail_greets_signs_and_is_readable_as_it_travels() {
        for mail in all("ada") {
            let (text, html) = mail.render("Trellis").unwrap();
            for part in [&text, &html] {
                assert!(part.contains("Hello ada,") && part.contains("Trellis"), "{part}");
                assert!(part.is_ascii(), "{part}");
            }
            let long = text.lines().find(|line| line.len() > 76 && !line.starts_with("https://"));
            assert_eq!(long, None);
            assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
            assert!(html.lines().all(|line| line.len() < 900), "{html}");
        }
    }

    #[test]
    fn links_stand_alone_in_the_text_and_twice_in_the_page() {
        for mail in all("ada").into_iter().take(2) {
            let (text, html) = mail.render("Trellis").unwrap();
            assert_eq!(text.lines().filter(|line| *line == LINK).count(), 1, "{text}");
            assert_eq!(html.matches(&format!("href=\"{LINK}\"")).count(), 2, "{html}");
            assert!(html.contains(&format!(">{LINK}</a>")), "{html}");
        }
    }

    #[test]
    fn a_reset_says_how_long_and_what_to_do_when_it_was_somebody_else() {
        let (text, html) = all("ada")[1].render("Trellis").unwrap();
        for part in [text, html] {
            assert!(part.contains("15 minutes") && part.contains("ignore this mail"), "{part}");
        }
        let once = Mail::PasswordReset { username: "ada".into(), link: LINK.into(), valid_for_minutes: 1 };
        assert!(once.render("Trellis").unwrap().0.contains("within 1 minute of"));
    }

    #[test]
    fn notices_say_when() {
        for mail in all("ada").into_iter().skip(2) {
            let (text, html) = mail.render("Trellis").unwrap();
            assert!(
                text.contains("2 November 2026 at 09:05 UTC")
                    && html.contains("2 November 2026 at 09:05 UTC")
            );
        }
    }

    #[test]
    fn h7_pages_escape_what_people_typed_and_fetch_nothing() {
        for mail in all("<img src=x onerror=alert(1)>\r\nBcc: eve@example.com") {
            let (text, html) = mail.render("A & B <c>").unwrap();
            assert!(!html.contains("<img") && !html.contains("<c>"), "{html}");
            assert!(text.contains("A & B <c>"), "{text}");
            assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
            for fetched in ["src=", "url(", "<link", "<script", "@import", "<iframe"] {
                assert!(!html.replace("src=x", "").contains(fetched), "{fetched} in {html}");
            }
        }
    }

    #[test]
    fn v1_debug_shows_no_link_and_no_name() {
        assert_eq!(
            format!("{:?}", all("ada")),
            "[verification, password_reset, password_changed, session_reuse, identity_linked]"
        );
    }
}
