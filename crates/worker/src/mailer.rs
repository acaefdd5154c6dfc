//! Puts mails together and hands them to a mail server, or in development to a folder.
//!
//! It knows no job, no database and no retry: a caller names a recipient, a [`Mail`] and an id, and reads from the
//! [`SendError`] whether another attempt can help. Invariants: one recipient a mail; the id is the `Message-ID`, so that
//! a mail sent twice can be told as one; no error, log line or `Debug` carries an address, a link or a token.

mod config;
mod connection;
mod failure;
mod folder;
mod server;
mod templates;
mod transport;

use std::collections::BTreeSet;
use std::fmt;

use lettre::message::header::{ContentTransferEncoding, Header, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Envelope};
use metrics::counter;
use uuid::Uuid;

pub use config::{Delivery, MailConfig, Timeouts};
pub use failure::{Cause, Reply, SendError, Step};
pub use server::{Encryption, Login, SmtpServer};
pub use templates::{LinkLife, Mail};

use folder::Folder;
use templates::Frame;
use transport::Smtp;

/// The longest line that may travel unencoded (RFC 5322, 2.1.1).
const LONGEST_LINE: usize = 998;

/// A mailer that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The extra certificates cannot be trusted because they are none.
    #[error("SMTP_CA holds no usable certificate")]
    Certificates,
}

/// A mail to send.
#[derive(Clone)]
pub struct Message<'a> {
    /// The recipient's address.
    pub to: &'a str,
    /// What it says.
    pub kind: Mail,
    /// The id of the promise that it keeps: the same id at each attempt.
    pub message_id: Uuid,
}

/// Shows the id and the kind alone.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// Sends mails.
pub struct Mailer {
    from: Mailbox,
    transport: Transport,
    account_page: String,
    support_url: Option<String>,
    notices_off: BTreeSet<&'static str>,
}

enum Transport {
    Smtp(Smtp),
    Folder(Folder),
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").finish_non_exhaustive()
    }
}

impl Mailer {
    /// Prepares the way to the server or the folder; connects to nothing yet.
    pub fn new(config: &MailConfig) -> Result<Self, MailerError> {
        let transport = match &config.delivery {
            Delivery::Smtp(server) => {
                Transport::Smtp(Smtp::new(server, config.timeouts).map_err(|_| MailerError::Certificates)?)
            }
            Delivery::Folder(path) => Transport::Folder(Folder::new(path.clone())),
        };
        Ok(Self {
            from: config.from.clone(),
            transport,
            account_page: config.account_page.clone(),
            support_url: config.support_url.clone(),
            notices_off: config.notices_off.clone(),
        })
    }

    /// Whether the operator wants this mail to be sent: notices can be switched off by kind.
    pub fn wants(&self, mail: &Mail) -> bool {
        !self.notices_off.contains(mail.name())
    }

    /// Sends one mail. Over within `MailConfig::timeouts.whole`, and safe to drop half-way.
    pub async fn send(&self, message: Message<'_>) -> Result<(), SendError> {
        let result = self.attempt(&message).await;
        let outcome = match &result {
            Ok(()) => "sent",
            Err(SendError::Temporary { .. }) => "temporary",
            Err(error @ SendError::Permanent { .. }) if error.is_bounce() => "bounced",
            Err(SendError::Permanent { .. }) => "permanent",
        };
        counter!("mails_total", "kind" => message.kind.name(), "outcome" => outcome).increment(1);
        if let Err(error) = &result
            && error.needs_operator()
        {
            tracing::error!(
                mail.id = %message.message_id,
                mail.kind = message.kind.name(),
                %error,
                "the mail server refuses us: no mail leaves until SMTP_URL, MAIL_FROM or the server is mended",
            );
        }
        result
    }

    async fn attempt(&self, message: &Message<'_>) -> Result<(), SendError> {
        let to = recipient(message.to)?;
        let mail = self.compose(&to, message)?;
        match &self.transport {
            Transport::Smtp(smtp) => smtp.deliver(&self.from.email, &to, &mail).await,
            Transport::Folder(folder) => folder.deliver(message.message_id, mail).await,
        }
    }

    fn compose(&self, to: &Address, message: &Message<'_>) -> Result<String, SendError> {
        let unwritable = || SendError::at(Step::Compose, Cause::Unwritable);
        let domain = self.from.email.domain();
        let sender = self.from.name.as_deref().unwrap_or(domain);
        let frame = Frame { sender, account_page: &self.account_page, support: self.support_url.as_deref() };
        let (text, html) = message.kind.render(frame).map_err(|_| unwritable())?;
        let content = MultiPart::alternative()
            .singlepart(SinglePart::plain(body(&text)))
            .singlepart(SinglePart::html(body(&html)));
        let mail = Envelope::builder()
            .from(self.from.clone())
            .to(to.clone().into())
            .subject(message.kind.subject())
            .message_id(Some(format!("<{}@{domain}>", message.message_id)))
            .header(AutoSubmitted)
            .date_now()
            .multipart(content)
            .map_err(|_| unwritable())?;
        String::from_utf8(mail.formatted()).map_err(|_| unwritable())
    }
}

/// Reads the recipient's address. One that would need quoting is refused, although RFC 5321 knows it: it serves nobody
/// but those who try to smuggle a second recipient or a header.
fn recipient(text: &str) -> Result<Address, SendError> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"\"<>()[]\\,;:".contains(c);
    let address = text.chars().all(plain).then(|| text.parse().ok()).flatten();
    address.ok_or_else(|| SendError::at(Step::Compose, Cause::BadAddress))
}

/// A part's content. Printable ASCII in lines that may travel stays as it is, so that links are whole in the raw mail;
/// the library would encode it for one line of 76 characters.
fn body(content: &str) -> Body {
    let crlf = content.replace("\r\n", "\n").replace('\n', "\r\n");
    let plain = |byte: u8| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic();
    if crlf.split("\r\n").all(|line| line.len() <= LONGEST_LINE && line.bytes().all(plain)) {
        Body::dangerous_pre_encoded(crlf.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(crlf)
    }
}

/// Keeps out-of-office replies from answering (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
