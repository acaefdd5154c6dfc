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
    /// Asks whoever registered to confirm the address and choose a password, which makes the account.
    Registration {
        /// The username that was asked for.
        username: String,
        /// The link to the form.
        link: String,
    },
    /// Tells that the address, which somebody gave for another account, has one.
    AddressTaken {
        /// Whom to greet.
        username: String,
        /// Where to log in.
        link: String,
    },
    /// Asks to confirm a new e-mail address.
    EmailChange {
        /// Whom to greet.
        username: String,
        /// The link that confirms.
        link: String,
    },
    /// Tells the old address that a new one was asked for.
    EmailChangeRequested {
        /// Whom to greet.
        username: String,
        /// When it was asked for.
        at: DateTime<Utc>,
    },
    /// Tells the old address that the account has a new one.
    EmailChanged {
        /// Whom to greet.
        username: String,
        /// When it was changed.
        at: DateTime<Utc>,
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
    /// Tells that signing in now takes a second factor.
    FactorAdded {
        /// Whom to greet.
        username: String,
        /// When it was added.
        at: DateTime<Utc>,
    },
    /// Tells that signing in takes the password alone again.
    FactorRemoved {
        /// Whom to greet.
        username: String,
        /// When it was taken away.
        at: DateTime<Utc>,
    },
    /// Tells that a recovery code stood in for the second factor.
    RecoveryCodeUsed {
        /// Whom to greet.
        username: String,
        /// When it was used.
        at: DateTime<Utc>,
        /// How many are left.
        left: i64,
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
            Self::Registration { .. } => "registration",
            Self::AddressTaken { .. } => "address_taken",
            Self::EmailChange { .. } => "email_change",
            Self::EmailChangeRequested { .. } => "email_change_requested",
            Self::EmailChanged { .. } => "email_changed",
            Self::PasswordReset { .. } => "password_reset",
            Self::PasswordChanged { .. } => "password_changed",
            Self::SessionReuse { .. } => "session_reuse",
            Self::FactorAdded { .. } => "factor_added",
            Self::FactorRemoved { .. } => "factor_removed",
            Self::RecoveryCodeUsed { .. } => "recovery_code_used",
            Self::IdentityLinked { .. } => "identity_linked",
        }
    }

    /// The subject.
    pub(super) fn subject(&self) -> &'static str {
        match self {
            Self::Verification { .. } => "Confirm your e-mail address",
            Self::Registration { .. } => "Finish creating your account",
            Self::AddressTaken { .. } => "You already have an account",
            Self::EmailChange { .. } => "Confirm your new e-mail address",
            Self::EmailChangeRequested { .. } => "A new e-mail address for your account",
            Self::EmailChanged { .. } => "Your e-mail address was changed",
            Self::PasswordReset { .. } => "Reset your password",
            Self::PasswordChanged { .. } => "Your password was changed",
            Self::SessionReuse { .. } => "A sign-in to your account was ended",
            Self::FactorAdded { .. } => "A second step protects your account",
            Self::FactorRemoved { .. } => "The second step of your account was removed",
            Self::RecoveryCodeUsed { .. } => "A recovery code was used",
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
            Self::Registration { .. } => {
                Ok((RegistrationText { letter }.render()?, RegistrationHtml { title, letter }.render()?))
            }
            Self::AddressTaken { .. } => {
                Ok((AddressTakenText { letter }.render()?, AddressTakenHtml { title, letter }.render()?))
            }
            Self::EmailChange { .. } => {
                Ok((EmailChangeText { letter }.render()?, EmailChangeHtml { title, letter }.render()?))
            }
            Self::EmailChangeRequested { .. } => Ok((
                EmailChangeRequestedText { letter }.render()?,
                EmailChangeRequestedHtml { title, letter }.render()?,
            )),
            Self::EmailChanged { .. } => {
                Ok((EmailChangedText { letter }.render()?, EmailChangedHtml { title, letter }.render()?))
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
            Self::FactorAdded { .. } => {
                Ok((FactorAddedText { letter }.render()?, FactorAddedHtml { title, letter }.render()?))
            }
            Self::FactorRemoved { .. } => {
                Ok((FactorRemovedText { letter }.render()?, FactorRemovedHtml { title, letter }.render()?))
            }
            Self::RecoveryCodeUsed { .. } => Ok((
                RecoveryCodeUsedText { letter }.render()?,
                RecoveryCodeUsedHtml { title, letter }.render()?,
            )),
            Self::IdentityLinked { .. } => {
                Ok((IdentityLinkedText { letter }.render()?, IdentityLinkedHtml { title, letter }.render()?))
            }
        }
    }

    fn letter(&self, sender: &str) -> Letter<'_> {
        let (username, link, minutes, at) = match self {
            Self::Verification { username, link }
            | Self::Registration { username, link }
            | Self::AddressTaken { username, link }
            | Self::EmailChange { username, link } => (username, link.as_str(), 0, None),
            Self::PasswordReset { username, link, valid_for_minutes } => {
                (username, link.as_str(), *valid_for_minutes, None)
            }
            Self::PasswordChanged { username, at }
            | Self::EmailChangeRequested { username, at }
            | Self::EmailChanged { username, at }
            | Self::SessionReuse { username, at }
            | Self::FactorAdded { username, at }
            | Self::FactorRemoved { username, at }
            | Self::RecoveryCodeUsed { username, at, .. }
            | Self::IdentityLinked { username, at, .. } => (username, "", 0, Some(at)),
        };
        let left = if let Self::RecoveryCodeUsed { left, .. } = self { *left } else { 0 };
        let provider = if let Self::IdentityLinked { provider, .. } = self { provider } else { "" };
        Letter {
            username: one_line(username),
            sender: one_line(sender),
            provider: one_line(provider),
            link,
            minutes,
            left,
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
    left: i64,
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
pair!(RegistrationText, "registration.txt", RegistrationHtml, "registration.html");
pair!(AddressTakenText, "address_taken.txt", AddressTakenHtml, "address_taken.html");
pair!(EmailChangeText, "email_change.txt", EmailChangeHtml, "email_change.html");
pair!(
    EmailChangeRequestedText,
    "email_change_requested.txt",
    EmailChangeRequestedHtml,
    "email_change_requested.html"
);
pair!(EmailChangedText, "email_changed.txt", EmailChangedHtml, "email_changed.html");
pair!(PasswordResetText, "password_reset.txt", PasswordResetHtml, "password_reset.html");
pair!(PasswordChangedText, "password_changed.txt", PasswordChangedHtml, "password_changed.html");
pair!(SessionReuseText, "session_reuse.txt", SessionReuseHtml, "session_reuse.html");
pair!(FactorAddedText, "factor_added.txt", FactorAddedHtml, "factor_added.html");
pair!(FactorRemovedText, "factor_removed.txt", FactorRemovedHtml, "factor_removed.html");
pair!(RecoveryCodeUsedText, "recovery_code_used.txt", RecoveryCodeUsedHtml, "recovery_code_used.html");
pair!(IdentityLinkedText, "identity_linked.txt", IdentityLinkedHtml, "identity_linked.html");

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    const LINK: &str =
        "https://trellis.example/reset-password?token=ZrYm0Vh3bT4q6eFf8nX1oKuP9sD2wLc7GjAiRtEyQxU";

    /// Those with a link come first.
    fn all(username: &str) -> [Mail; 13] {
        let at = Utc.with_ymd_and_hms(2026, 11, 2, 9, 5, 0).unwrap();
        let (username, link) = (username.to_owned(), LINK.to_owned());
        [
            Mail::Verification { username: username.clone(), link: link.clone() },
            Mail::PasswordReset { username: username.clone(), link: link.clone(), valid_for_minutes: 15 },
            Mail::Registration { username: username.clone(), link: link.clone() },
            Mail::AddressTaken { username: username.clone(), link: link.clone() },
            Mail::EmailChange { username: username.clone(), link },
            Mail::PasswordChanged { username: username.clone(), at },
            Mail::EmailChangeRequested { username: username.clone(), at },
            Mail::EmailChanged { username: username.clone(), at },
            Mail::SessionReuse { username: username.clone(), at },
            Mail::FactorAdded { username: username.clone(), at },
            Mail::FactorRemoved { username: username.clone(), at },
            Mail::RecoveryCodeUsed { username: username.clone(), at, left: 9 },
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
        for mail in all("ada").into_iter().take(5) {
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
        for mail in all("ada").into_iter().skip(5) {
            let (text, html) = mail.render("Trellis").unwrap();
            assert!(
                text.contains("2 November 2026 at 09:05 UTC")
                    && html.contains("2 November 2026 at 09:05 UTC")
            );
        }
    }

    #[test]
    fn a_used_recovery_code_is_counted() {
        let at = Utc.with_ymd_and_hms(2026, 11, 2, 9, 5, 0).unwrap();
        for (left, words) in [
            (9, "9 recovery codes are left"),
            (1, "1 recovery code is left"),
            (0, "No recovery code is left"),
        ] {
            let (text, html) =
                Mail::RecoveryCodeUsed { username: "ada".into(), at, left }.render("Trellis").unwrap();
            assert!(text.contains(words) && html.contains(words), "{text}{html}");
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
            "[verification, password_reset, registration, address_taken, email_change, password_changed, \
             email_change_requested, email_changed, session_reuse, factor_added, factor_removed, \
             recovery_code_used, identity_linked]"
        );
    }
}
