//! One conversation with a mail server.
//!
//! The commands are given one by one, so that each has its own time-out and a failure names its step. Invariant: a
//! connection of which a step failed is never used for another mail.

use std::fmt;
use std::future::Future;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::time::{Instant, timeout_at};

use super::config::Timeouts;
use super::failure::{Cause, SendError, Step, cause_of};
use super::server::Encryption;

/// How to reach the server and who we are to it.
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    pub(super) tls: TlsParameters,
    pub(super) credentials: Option<Credentials>,
    pub(super) hello: ClientId,
}

/// When a step, and when the whole delivery, must be over.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    timeouts: Timeouts,
    whole: Instant,
}

impl Deadline {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, whole: Instant::now() + timeouts.whole }
    }

    /// Waits for as long as the whole delivery may still take.
    pub(super) async fn rest<T>(&self, step: Step, work: impl Future<Output = T>) -> Result<T, SendError> {
        timeout_at(self.whole, work).await.map_err(|_| SendError::at(step, Cause::TimedOut))
    }

    /// Waits for one step, and reads its failure.
    async fn step<T>(
        &self,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SendError> {
        let until = self.whole.min(Instant::now() + self.timeouts.step);
        match timeout_at(until, work).await {
            Ok(result) => result.map_err(|error| SendError::at(step, cause_of(step, &error))),
            Err(_) => Err(SendError::at(step, Cause::TimedOut)),
        }
    }
}

/// A connection that has been greeted, encrypted and logged in as the settings ask.
pub(super) struct Connection(AsyncSmtpConnection);

impl Connection {
    /// Connects, encrypts and logs in; a server that cannot do what is asked is not spoken to further.
    pub(super) async fn open(endpoint: &Endpoint, deadline: &Deadline) -> Result<Self, SendError> {
        let implicit = (endpoint.encryption == Encryption::Implicit).then(|| endpoint.tls.clone());
        let server = (endpoint.host.as_str(), endpoint.port);
        // An address that does not answer leaves time for the next one (IPv6 first, then IPv4).
        let each = Some(deadline.timeouts.step / 2);
        let connect = AsyncSmtpConnection::connect_tokio1(server, each, &endpoint.hello, implicit, None);
        let mut smtp = deadline.step(Step::Connect, connect).await?;

        if endpoint.encryption == Encryption::StartTls {
            if !smtp.can_starttls() {
                return Err(SendError::at(Step::StartTls, Cause::NoStartTls));
            }
            deadline.step(Step::StartTls, smtp.starttls(endpoint.tls.clone(), &endpoint.hello)).await?;
        }
        if let Some(credentials) = &endpoint.credentials {
            deadline.step(Step::Login, smtp.auth(DEFAULT_MECHANISMS, credentials)).await?;
        }
        Ok(Self(smtp))
    }

    /// Sends one mail to one recipient.
    pub(super) async fn send(
        &mut self,
        from: &Address,
        to: &Address,
        mail: &str,
        deadline: &Deadline,
    ) -> Result<(), SendError> {
        let mut parameters = Vec::new();
        if !AsRef::<str>::as_ref(to).is_ascii() || !mail.is_ascii() {
            let server = self.0.server_info();
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::at(Step::Compose, Cause::International));
            }
            parameters =
                vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)];
        }
        let smtp = &mut self.0;
        let reply =
            deadline.step(Step::Sender, smtp.command(Mail::new(Some(from.clone()), parameters))).await?;
        expect(Step::Sender, &reply, Severity::PositiveCompletion)?;
        let reply = deadline.step(Step::Recipient, smtp.command(Rcpt::new(to.clone(), Vec::new()))).await?;
        expect(Step::Recipient, &reply, Severity::PositiveCompletion)?;
        let reply = deadline.step(Step::Data, smtp.command(Data)).await?;
        expect(Step::Data, &reply, Severity::PositiveIntermediate)?;
        let reply = deadline
            .rest(Step::Body, smtp.command(Content(mail)))
            .await?
            .map_err(|error| SendError::at(Step::Body, cause_of(Step::Body, &error)))?;
        expect(Step::Body, &reply, Severity::PositiveCompletion)
    }

    /// Takes leave, for a server that is still listening.
    pub(super) async fn quit(mut self, timeouts: Timeouts) {
        // Nothing was promised to depend on it: a server that does not answer finds the connection closed.
        let _ = tokio::time::timeout(timeouts.step, self.0.quit()).await;
    }
}

/// A mail's content as it travels: lines that begin with a dot get another (RFC 5321, 4.5.2), and a dot alone ends it.
///
/// The library would write that last dot by itself, and the system hold it back until the server has acknowledged what
/// came before (Nagle's algorithm against delayed acknowledgements): some 40 ms a mail.
struct Content<'a>(&'a str);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.split_terminator("\r\n") {
            let dot = if line.starts_with('.') { "." } else { "" };
            write!(f, "{dot}{line}\r\n")?;
        }
        f.write_str(".\r\n")
    }
}

/// The library takes 2xx for 3xx and the other way round; out of step, the next reply would belong to another command.
fn expect(step: Step, reply: &Response, severity: Severity) -> Result<(), SendError> {
    if reply.code().severity == severity { Ok(()) } else { Err(SendError::at(step, Cause::Lost)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_travel_doubled_and_one_alone_ends_the_mail() {
        for (mail, sent) in [
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n\r\n", "a\r\n\r\n.\r\n"),
            (".\r\n..\r\n.a.\r\n", "..\r\n...\r\n..a.\r\n.\r\n"),
        ] {
            assert_eq!(Content(mail).to_string(), sent);
        }
    }
}
