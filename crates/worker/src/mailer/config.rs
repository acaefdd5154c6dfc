//! The settings of mail: who it is from, and where it goes.
//!
//! Invariant: what is built here is usable, so that a wrong setting stops the process at its start and not the first
//! mail; and outside development no mail, login or link crosses a network in clear.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use domain::config::{AppEnv, Settings};
use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};

use super::server::{Encryption, SHAPE, SmtpServer, is_loopback, parse, tls_parameters};
use super::templates::Mail;

/// Where development keeps its mails.
const DEVELOPMENT_FOLDER: &str = ".dev/mail";

/// Who development's mails are from.
const DEVELOPMENT_FROM: &str = "Trellis <no-reply@localhost>";

/// Who mail is from, and where it goes.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// `MAIL_FROM`
    pub from: Mailbox,
    /// `SMTP_URL`, or in development `MAIL_DIR`.
    pub delivery: Delivery,
    /// How long a server may take.
    pub timeouts: Timeouts,
    /// Where people see their sessions and change the password. The worker takes it from `PUBLIC_URL`.
    pub account_page: String,
    /// Where people find help. The worker takes it from `SUPPORT_URL`.
    pub support_url: Option<String>,
    /// `SECURITY_NOTICES_OFF`: the notices that are not mailed.
    pub notices_off: BTreeSet<&'static str>,
}

/// Where mail goes.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// To a server.
    Smtp(SmtpServer),
    /// Into a folder, one `.eml` file a mail.
    Folder(PathBuf),
}

/// How long a server may take, and how long it is kept on the line.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one step, such as connecting or one command.
    pub step: Duration,
    /// For a whole delivery, the wait for a connection included. What is left of it is what the answer to the content
    /// may take: servers scan a mail before they answer, and giving up early there makes duplicates.
    pub whole: Duration,
    /// How long an unused connection stays open. Servers hang up after 30 seconds to 5 minutes.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { step: Duration::from_secs(10), whole: Duration::from_secs(20), idle: Duration::from_secs(20) }
    }
}

impl MailConfig {
    /// Reads the settings of mail; what is wrong stays in `settings` and shows at its `finish`.
    ///
    /// `env` is `None` when `APP_ENV` itself is wrong: then nothing that depends on it is judged.
    pub fn read(settings: &mut Settings, env: Option<AppEnv>) -> Option<Self> {
        let from = from(settings, env);
        let delivery = match settings.secret("SMTP_URL") {
            Some(url) => server(settings, env, &url).map(Delivery::Smtp),
            None if env == Some(AppEnv::Production) => {
                settings.problem("SMTP_URL", &format!("is missing: it {SHAPE}"));
                None
            }
            None => settings
                .or("MAIL_DIR", DEVELOPMENT_FOLDER.to_owned(), "a directory")
                .map(PathBuf::from)
                .map(Delivery::Folder),
        };
        let notices_off = notices_off(settings);
        Some(Self {
            from: from?,
            delivery: delivery?,
            timeouts: Timeouts::default(),
            account_page: String::new(),
            support_url: None,
            notices_off: notices_off?,
        })
    }
}

fn notices_off(settings: &mut Settings) -> Option<BTreeSet<&'static str>> {
    const NAME: &str = "SECURITY_NOTICES_OFF";
    let wants = format!("a list, separated by commas, of: {}", Mail::NOTICES.join(", "));
    let text = settings.or(NAME, String::new(), &wants)?;
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let known = names.map(|name| Mail::NOTICES.into_iter().find(|known| *known == name));
    let all: Option<BTreeSet<&'static str>> = known.collect();
    if all.is_none() {
        settings.problem(NAME, &format!("wants {wants}"));
    }
    all
}

fn from(settings: &mut Settings, env: Option<AppEnv>) -> Option<Mailbox> {
    const WANTS: &str = "an address such as `Trellis <no-reply@trellis.example>`";
    let text = if env == Some(AppEnv::Production) {
        settings.required::<String>("MAIL_FROM", WANTS)
    } else {
        settings.or("MAIL_FROM", DEVELOPMENT_FROM.to_owned(), WANTS)
    }?;
    // An address outside ASCII would need SMTPUTF8 at every hop.
    let mailbox = text.parse::<Mailbox>().ok().filter(|mailbox| {
        let name = mailbox.name.as_deref().unwrap_or_default();
        AsRef::<str>::as_ref(&mailbox.email).is_ascii() && !name.contains(char::is_control)
    });
    if mailbox.is_none() {
        settings.problem("MAIL_FROM", &format!("wants {WANTS}"));
    }
    mailbox
}

fn server(settings: &mut Settings, env: Option<AppEnv>, url: &SecretString) -> Option<SmtpServer> {
    let extra_roots = settings.secret("SMTP_CA").map(|pem| pem.expose_secret().to_owned());
    let mut server = match parse(url.expose_secret()) {
        Ok(server) => server,
        Err(problem) => {
            settings.problem("SMTP_URL", problem);
            return None;
        }
    };
    if server.encryption == Encryption::None && env == Some(AppEnv::Production) && !is_loopback(&server.host)
    {
        settings.problem("SMTP_URL", "would send mail in clear: add `?tls=required`, or use smtps://");
        return None;
    }
    server.extra_roots = extra_roots;
    if tls_parameters(&server).is_err() {
        settings.problem("SMTP_CA", "wants certificates in PEM form (`-----BEGIN CERTIFICATE-----`)");
        return None;
    }
    Some(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCTION: Option<AppEnv> = Some(AppEnv::Production);
    const DEVELOPMENT: Option<AppEnv> = Some(AppEnv::Development);
    const FROM: (&str, &str) = ("MAIL_FROM", "Trellis <no-reply@trellis.example>");

    fn read(env: Option<AppEnv>, values: &[(&str, &str)]) -> Result<MailConfig, String> {
        let mut settings = Settings::from_map(values.iter().copied());
        let config = MailConfig::read(&mut settings, env);
        settings.finish(|| config).map_err(|error| error.to_string())
    }

    fn smtp(env: Option<AppEnv>, url: &str) -> Result<SmtpServer, String> {
        match read(env, &[FROM, ("SMTP_URL", url)])?.delivery {
            Delivery::Smtp(server) => Ok(server),
            Delivery::Folder(_) => Err("a folder".to_owned()),
        }
    }

    /// cases/accounts 24
    #[test]
    fn notices_are_switched_off_by_name() {
        assert!(read(DEVELOPMENT, &[]).unwrap().notices_off.is_empty());
        let off =
            read(DEVELOPMENT, &[("SECURITY_NOTICES_OFF", "new_sign_in, data_exported")]).unwrap().notices_off;
        assert_eq!(off.into_iter().collect::<Vec<_>>(), ["data_exported", "new_sign_in"]);
        for bad in ["all", "new_sign_in,password_reset", "verification"] {
            let error = read(DEVELOPMENT, &[("SECURITY_NOTICES_OFF", bad)]).unwrap_err();
            assert!(error.contains("SECURITY_NOTICES_OFF wants") && error.contains("new_sign_in"), "{error}");
        }
    }

    #[test]
    fn development_needs_no_setting() {
        let config = read(DEVELOPMENT, &[]).unwrap();
        assert_eq!(config.from.to_string(), DEVELOPMENT_FROM);
        assert!(matches!(config.delivery, Delivery::Folder(dir) if dir == *".dev/mail"));
        let config = read(DEVELOPMENT, &[("MAIL_DIR", "/tmp/mail")]).unwrap();
        assert!(matches!(config.delivery, Delivery::Folder(dir) if dir == *"/tmp/mail"));
    }

    #[test]
    fn production_names_both_settings_it_misses() {
        let error = read(PRODUCTION, &[("MAIL_DIR", "/tmp/mail")]).unwrap_err();
        assert!(error.contains("SMTP_URL is missing") && error.contains("MAIL_FROM is missing"), "{error}");
    }

    #[test]
    fn urls_that_are_taken() {
        let server = smtp(PRODUCTION, "smtps://mail%40trellis.example:p%3A%2Fss@mx.example").unwrap();
        assert_eq!((server.host.as_str(), server.port), ("mx.example", 465));
        assert_eq!(server.encryption, Encryption::Implicit);
        let login = server.login.unwrap();
        assert_eq!(
            (login.user.expose_secret(), login.password.expose_secret()),
            ("mail@trellis.example", "p:/ss")
        );

        let server = smtp(PRODUCTION, "smtp://mx.example:2525/trellis.example?tls=required").unwrap();
        assert_eq!((server.port, server.encryption), (2525, Encryption::StartTls));
        assert_eq!(server.hello.as_deref(), Some("trellis.example"));
        assert_eq!(
            smtp(PRODUCTION, "smtp://mx.example?tls=starttls").unwrap().encryption,
            Encryption::StartTls
        );

        for local in ["smtp://localhost:25", "smtp://127.0.0.1:25", "smtp://[::1]:25"] {
            assert_eq!(smtp(PRODUCTION, local).unwrap().encryption, Encryption::None, "{local}");
        }
        assert_eq!(smtp(PRODUCTION, "smtp://[::1]:25").unwrap().host, "::1");
        assert_eq!(smtp(DEVELOPMENT, "smtp://mailpit:1025").unwrap().encryption, Encryption::None);
    }

    #[test]
    fn p5_urls_that_are_refused_by_name_and_never_by_value() {
        for url in [
            "hunter2",
            "https://hunter2.example",
            "smtp://hunter2.example:587",
            "smtp://127.0.0.1.hunter2.example:25",
            "smtp://hunter2.example?tls=opportunistic",
            "smtp://hunter2.example?tls=none",
            "smtp://hunter2.example?tls=required&tls=required",
            "smtps://hunter2.example?tls=required",
            "smtp://hunter2@mx.example?tls=required",
            "smtps://hunter2:@mx.example",
            "smtps://hunter2:a%0d%0aQUIT@mx.example",
            "smtps://hunter2:%ff@mx.example",
            "smtps://hunter2.example/a%20b",
            "smtps://",
            "smtps:hunter2",
        ] {
            let error = smtp(PRODUCTION, url).unwrap_err();
            assert!(error.contains("SMTP_URL") && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn senders_that_are_refused() {
        for from in ["Arbour", "a@b.c, c@d.e", "Arbour <mail@arbour.example", "n\u{f6}@arbour.example"] {
            let error = read(DEVELOPMENT, &[("MAIL_FROM", from)]).unwrap_err();
            assert!(error.contains("MAIL_FROM wants") && !error.contains(from), "{error}");
        }
    }

    #[test]
    fn certificates_that_are_none_are_refused() {
        let begin = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
        for pem in ["hunter2", begin] {
            let error =
                read(PRODUCTION, &[FROM, ("SMTP_URL", "smtps://mx.example"), ("SMTP_CA", pem)]).unwrap_err();
            assert!(error.contains("SMTP_CA wants certificates"), "{error}");
        }
    }

    #[test]
    fn p5_debug_shows_no_login() {
        let server = smtp(PRODUCTION, "smtps://hunter2:hunter3@mx.example").unwrap();
        let debug = format!("{server:?}");
        assert!(!debug.contains("hunter"), "{debug}");
    }
}
