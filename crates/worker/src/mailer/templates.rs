//! What the mails say: a subject, a text and an HTML page each, compiled from `templates/`.
//!
//! Invariants: subjects are constants, so nothing a person typed reaches a header; everything is escaped in HTML; each
//! link stands in both parts; the texts are ASCII with short lines, so a mail can be read as it travels.

use std::fmt;

use askama::Template;
use chrono::{DateTime, Utc};
use domain::notices::{Place, SecurityNotice};

/// A mail, with what differs from one to the next.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// Asks to confirm an e-mail address.
    Verification {
        /// Whom to greet.
        username: String,
        /// The link that confirms.
        link: String,
        /// How long the link works.
        life: LinkLife,
    },
    /// Asks whoever registered to confirm the address and choose a password, which makes the account.
    Registration {
        /// The username that was asked for.
        username: String,
        /// The link to the form.
        link: String,
        /// How long the link works.
        life: LinkLife,
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
        /// How long the link works.
        life: LinkLife,
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
        life: LinkLife,
    },
    /// Tells that the password was changed.
    PasswordChanged {
        /// Whom to greet.
        username: String,
        /// When it was changed.
        at: DateTime<Utc>,
    },
    /// Tells what was removed from the account when its address was confirmed for the first time.
    TrustReset {
        /// Whom to greet.
        username: String,
        /// When the address was confirmed.
        at: DateTime<Utc>,
        /// What was removed, in words.
        removed: String,
    },
    /// Tells that the account has another username.
    UsernameChanged {
        /// The new name, to greet.
        username: String,
        /// The name of before.
        former: String,
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
    /// Says that the account is blocked.
    AccountBlocked {
        /// Whom to greet.
        username: String,
        /// Why.
        reason: Option<String>,
        /// Since when.
        at: DateTime<Utc>,
    },
    /// Says that the account is no longer blocked.
    AccountUnblocked {
        /// Whom to greet.
        username: String,
        /// When it was unblocked.
        at: DateTime<Utc>,
    },
    /// Tells of a security event: when it happened, and from where.
    Notice {
        /// What happened.
        notice: SecurityNotice,
        /// Whom to greet.
        username: String,
        /// When it happened.
        at: DateTime<Utc>,
        /// From where, if a session did it that is still known.
        place: Option<Place>,
    },
}

/// How long a mailed link works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLife {
    /// When it ends.
    pub ends_at: DateTime<Utc>,
    /// When the mail is written.
    pub written_at: DateTime<Utc>,
}

impl LinkLife {
    /// What is left of it, in words.
    fn words(self) -> String {
        let minutes = (self.ends_at - self.written_at).num_seconds().saturating_add(30) / 60;
        match minutes {
            120.. => format!("{} hours", minutes.saturating_add(5) / 60),
            60 => "1 hour".to_owned(),
            1 => "1 minute".to_owned(),
            minutes => format!("{} minutes", minutes.max(0)),
        }
    }

    fn until(self) -> String {
        moment(self.ends_at)
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y at %H:%M UTC").to_string()
}

/// What surrounds each mail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// What the people behind the service call it.
    pub(super) sender: &'a str,
    /// Where people see their sessions and change the password.
    pub(super) account_page: &'a str,
    /// Where people find help.
    pub(super) support: Option<&'a str>,
}

impl Mail {
    /// The mails that tell of a security event, by name: the operator may switch each off.
    pub const NOTICES: [&str; 17] = [
        "password_changed",
        "email_change_requested",
        "email_changed",
        "session_reuse",
        "factor_added",
        "factor_removed",
        "recovery_code_used",
        "identity_linked",
        "new_sign_in",
        "account_deleted",
        "identity_unlinked",
        "recovery_codes_renewed",
        "data_exported",
        "trust_reset",
        "username_changed",
        "account_blocked",
        "account_unblocked",
    ];

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
            Self::TrustReset { .. } => "trust_reset",
            Self::UsernameChanged { .. } => "username_changed",
            Self::SessionReuse { .. } => "session_reuse",
            Self::FactorAdded { .. } => "factor_added",
            Self::FactorRemoved { .. } => "factor_removed",
            Self::RecoveryCodeUsed { .. } => "recovery_code_used",
            Self::IdentityLinked { .. } => "identity_linked",
            Self::Notice { notice, .. } => notice.as_str(),
            Self::AccountBlocked { .. } => "account_blocked",
            Self::AccountUnblocked { .. } => "account_unblocked",
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
            Self::TrustReset { .. } => "Your address is confirmed, and your account was cleaned up",
            Self::UsernameChanged { .. } => "Your username was changed",
            Self::SessionReuse { .. } => "A sign-in to your account was ended",
            Self::FactorAdded { .. } => "A second step protects your account",
            Self::FactorRemoved { .. } => "The second step of your account was removed",
            Self::RecoveryCodeUsed { .. } => "A recovery code was used",
            Self::IdentityLinked { .. } => "There is a new way to sign in to your account",
            Self::Notice { notice, .. } => subject_and_words(*notice).0,
            Self::AccountBlocked { .. } => "Your account is blocked",
            Self::AccountUnblocked { .. } => "Your account is no longer blocked",
        }
    }

    /// The text and the HTML page.
    pub(super) fn render(&self, frame: Frame<'_>) -> Result<(String, String), askama::Error> {
        let letter = &self.letter(frame);
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
            Self::TrustReset { .. } => {
                Ok((TrustResetText { letter }.render()?, TrustResetHtml { title, letter }.render()?))
            }
            Self::UsernameChanged { .. } => Ok((
                UsernameChangedText { letter }.render()?,
                UsernameChangedHtml { title, letter }.render()?,
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
            Self::Notice { .. } => {
                Ok((NoticeText { letter }.render()?, NoticeHtml { title, letter }.render()?))
            }
            Self::AccountBlocked { .. } => {
                Ok((AccountBlockedText { letter }.render()?, AccountBlockedHtml { title, letter }.render()?))
            }
            Self::AccountUnblocked { .. } => Ok((
                AccountUnblockedText { letter }.render()?,
                AccountUnblockedHtml { title, letter }.render()?,
            )),
        }
    }

    fn letter<'a>(&'a self, frame: Frame<'a>) -> Letter<'a> {
        let mut letter = Letter {
            sender: one_line(frame.sender),
            support: frame.support.unwrap_or_default(),
            ..Letter::default()
        };
        let (username, at) = match self {
            Self::Verification { username, link, life }
            | Self::Registration { username, link, life }
            | Self::EmailChange { username, link, life }
            | Self::PasswordReset { username, link, life } => {
                letter.link = link;
                letter.life = life.words();
                letter.until = life.until();
                (username, None)
            }
            Self::AddressTaken { username, link } => {
                letter.link = link;
                (username, None)
            }
            Self::PasswordChanged { username, at }
            | Self::EmailChangeRequested { username, at }
            | Self::EmailChanged { username, at }
            | Self::SessionReuse { username, at }
            | Self::FactorAdded { username, at }
            | Self::FactorRemoved { username, at }
            | Self::AccountUnblocked { username, at } => (username, Some(*at)),
            Self::UsernameChanged { username, former, at } => {
                letter.former = one_line(former);
                (username, Some(*at))
            }
            Self::TrustReset { username, at, removed } => {
                letter.removed = removed;
                (username, Some(*at))
            }
            Self::AccountBlocked { username, reason, at } => {
                letter.reason = reason.as_deref().map(one_line);
                letter.is_closed = true;
                (username, Some(*at))
            }
            Self::RecoveryCodeUsed { username, at, left } => {
                letter.left = *left;
                (username, Some(*at))
            }
            Self::IdentityLinked { username, provider, at } => {
                letter.provider = one_line(provider);
                (username, Some(*at))
            }
            Self::Notice { notice, username, at, place } => {
                letter.event = subject_and_words(*notice).1;
                letter.is_closed = *notice == SecurityNotice::AccountDeleted;
                letter.place = place.as_ref().map(place_words).unwrap_or_default();
                (username, Some(*at))
            }
        };
        letter.username = one_line(username);
        letter.when = at.map(moment).unwrap_or_default();
        if at.is_some() && !letter.is_closed {
            letter.account_page = frame.account_page;
        }
        letter
    }
}

/// The subject of a notice, and its first sentence.
fn subject_and_words(notice: SecurityNotice) -> (&'static str, &'static str) {
    match notice {
        SecurityNotice::NewSignIn => {
            ("New sign-in to your account", "A new browser signed in to your account, from a new network.")
        }
        SecurityNotice::AccountDeleted => ("Your account was deleted", "Your account was deleted."),
        SecurityNotice::IdentityUnlinked => (
            "A way to sign in to your account was removed",
            "An account at an identity provider can no longer sign in to yours.",
        ),
        SecurityNotice::RecoveryCodesRenewed => {
            ("Your recovery codes were renewed", "New recovery codes replaced those of your account.")
        }
        SecurityNotice::DataExported => {
            ("Your data was exported", "A copy of all data of your account was downloaded.")
        }
    }
}

/// Where an event came from: the family of the browser, and the prefix of the network. No more of the header is repeated,
/// since whoever signs in chooses its words.
fn place_words(place: &Place) -> String {
    let family = browser_family(&place.user_agent);
    let network: String =
        place.ip_prefix.chars().filter(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/')).collect();
    if network.is_empty() { family.to_owned() } else { format!("{family}, network {network}") }
}

/// The first that matches: browsers also name those they are compatible with.
fn browser_family(user_agent: &str) -> &'static str {
    let families = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let found = families.into_iter().find(|(mark, _)| user_agent.contains(mark));
    found.map_or("another client", |(_, family)| family)
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

/// What the templates may use; what a mail has not is empty.
#[derive(Default)]
struct Letter<'a> {
    reason: Option<String>,
    removed: &'a str,
    username: String,
    sender: String,
    provider: String,
    former: String,
    link: &'a str,
    /// How long the link works, in words.
    life: String,
    /// When the link ends.
    until: String,
    left: i64,
    /// When it happened: of notices alone.
    when: String,
    /// What happened.
    event: &'static str,
    place: String,
    is_closed: bool,
    account_page: &'a str,
    support: &'a str,
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
pair!(TrustResetText, "trust_reset.txt", TrustResetHtml, "trust_reset.html");
pair!(UsernameChangedText, "username_changed.txt", UsernameChangedHtml, "username_changed.html");
pair!(SessionReuseText, "session_reuse.txt", SessionReuseHtml, "session_reuse.html");
pair!(FactorAddedText, "factor_added.txt", FactorAddedHtml, "factor_added.html");
pair!(FactorRemovedText, "factor_removed.txt", FactorRemovedHtml, "factor_removed.html");
pair!(RecoveryCodeUsedText, "recovery_code_used.txt", RecoveryCodeUsedHtml, "recovery_code_used.html");
pair!(AccountBlockedText, "account_blocked.txt", AccountBlockedHtml, "account_blocked.html");
pair!(AccountUnblockedText, "account_unblocked.txt", AccountUnblockedHtml, "account_unblocked.html");
pair!(IdentityLinkedText, "identity_linked.txt", IdentityLinkedHtml, "identity_linked.html");
pair!(NoticeText, "notice.txt", NoticeHtml, "notice.html");

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    const LINK: &str =
        "https://trellis.example/reset-password?token=ZrYm0Vh3bT4q6eFf8nX1oKuP9sD2wLc7GjAiRtEyQxU";

    const FRAME: Frame<'_> = Frame {
        sender: "Trellis",
        account_page: "https://trellis.example/dashboard#account",
        support: Some("mailto:help@trellis.example"),
    };

    fn life(minutes: i64) -> LinkLife {
        let written_at = Utc.with_ymd_and_hms(2026, 11, 2, 9, 5, 0).unwrap();
        LinkLife { ends_at: written_at + chrono::TimeDelta::minutes(minutes), written_at }
    }

    /// Those with a link come first.
    fn all(username: &str) -> [Mail; 22] {
        let at = Utc.with_ymd_and_hms(2026, 11, 2, 9, 5, 0).unwrap();
        let (username, link) = (username.to_owned(), LINK.to_owned());
        [
            Mail::Verification { username: username.clone(), link: link.clone(), life: life(2_880) },
            Mail::PasswordReset { username: username.clone(), link: link.clone(), life: life(15) },
            Mail::Registration { username: username.clone(), link: link.clone(), life: life(60) },
            Mail::AddressTaken { username: username.clone(), link: link.clone() },
            Mail::EmailChange { username: username.clone(), link, life: life(2_880) },
            Mail::PasswordChanged { username: username.clone(), at },
            Mail::EmailChangeRequested { username: username.clone(), at },
            Mail::EmailChanged { username: username.clone(), at },
            Mail::TrustReset {
                username: username.clone(),
                at,
                removed: "the second factor, other sessions".to_owned(),
            },
            Mail::UsernameChanged { username: username.clone(), former: "old-name".to_owned(), at },
            Mail::SessionReuse { username: username.clone(), at },
            Mail::FactorAdded { username: username.clone(), at },
            Mail::FactorRemoved { username: username.clone(), at },
            Mail::RecoveryCodeUsed { username: username.clone(), at, left: 9 },
            Mail::IdentityLinked { username: username.clone(), provider: "GitHub".to_owned(), at },
            Mail::AccountBlocked {
                username: username.clone(),
                reason: Some("thirty accounts in one evening".to_owned()),
                at,
            },
            Mail::AccountUnblocked { username: username.clone(), at },
            notice(SecurityNotice::NewSignIn, &username),
            notice(SecurityNotice::AccountDeleted, &username),
            notice(SecurityNotice::IdentityUnlinked, &username),
            notice(SecurityNotice::RecoveryCodesRenewed, &username),
            notice(SecurityNotice::DataExported, &username),
        ]
    }

    fn notice(notice: SecurityNotice, username: &str) -> Mail {
        let at = Utc.with_ymd_and_hms(2026, 11, 2, 9, 5, 0).unwrap();
        let place = Place {
            user_agent: "Mozilla/5.0 (X11; Linux) Gecko/20100101 Firefox/140.0\r\n<b>".to_owned(),
            ip_prefix: "203.0.113.0/24".to_owned(),
        };
        Mail::Notice { notice, username: username.to_owned(), at, place: Some(place) }
    }

    /// cases/accounts 19
    #[test]
    fn links_say_when_they_end() {
        for (mail, words, until) in [
            (&all("ada")[0], "for 48 hours", "4 November 2026 at 09:05 UTC"),
            (&all("ada")[1], "for 15 minutes", "2 November 2026 at 09:20 UTC"),
            (&all("ada")[2], "for 1 hour", "2 November 2026 at 10:05 UTC"),
            (&all("ada")[4], "for 48 hours", "4 November 2026 at 09:05 UTC"),
        ] {
            let (text, html) = mail.render(FRAME).unwrap();
            for part in [text, html] {
                assert!(part.contains(words) && part.contains(&format!("until {until}")), "{part}");
            }
        }
        assert_eq!(life(1).words(), "1 minute");
    }

    /// cases/accounts 24
    #[test]
    fn notices_say_where_they_come_from_and_where_to_go() {
        for mail in all("ada").into_iter().rev().take(5) {
            let (text, html) = mail.render(FRAME).unwrap();
            for part in [&text, &html] {
                assert!(part.contains("From: Firefox, network 203.0.113.0/24"), "{part}");
                assert!(part.contains("mailto:help@trellis.example") && !part.contains("<b>"), "{part}");
                let is_deleted = mail.name() == "account_deleted";
                assert_eq!(part.contains(FRAME.account_page), !is_deleted, "{part}");
            }
        }
        let names: Vec<_> = all("ada").iter().skip(5).map(Mail::name).collect();
        let mut known = Mail::NOTICES.to_vec();
        known.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known, "each notice can be switched off");
    }

    #[test]
    fn each_mail_greets_signs_and_is_readable_as_it_travels() {
        for mail in all("ada") {
            let (text, html) = mail.render(FRAME).unwrap();
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
            let (text, html) = mail.render(FRAME).unwrap();
            assert_eq!(text.lines().filter(|line| *line == LINK).count(), 1, "{text}");
            assert_eq!(html.matches(&format!("href=\"{LINK}\"")).count(), 2, "{html}");
            assert!(html.contains(&format!(">{LINK}</a>")), "{html}");
        }
    }

    #[test]
    fn a_reset_says_what_to_do_when_it_was_another() {
        let (text, html) = all("ada")[1].render(FRAME).unwrap();
        for part in [text, html] {
            assert!(part.contains("ignore this mail"), "{part}");
        }
    }

    #[test]
    fn notices_say_when() {
        for mail in all("ada").into_iter().skip(5) {
            let (text, html) = mail.render(FRAME).unwrap();
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
                Mail::RecoveryCodeUsed { username: "ada".into(), at, left }.render(FRAME).unwrap();
            assert!(text.contains(words) && html.contains(words), "{text}{html}");
        }
    }

    #[test]
    fn h7_pages_escape_what_people_typed_and_fetch_nothing() {
        for mail in all("<img src=x onerror=alert(1)>\r\nBcc: eve@example.com") {
            let (text, html) = mail.render(Frame { sender: "A & B <c>", ..FRAME }).unwrap();
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
             email_change_requested, email_changed, trust_reset, username_changed, session_reuse, factor_added, \
             factor_removed, recovery_code_used, identity_linked, account_blocked, account_unblocked, new_sign_in, \
             account_deleted, identity_unlinked, recovery_codes_renewed, data_exported]"
        );
    }
}
