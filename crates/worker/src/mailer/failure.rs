//! Why a mail was not sent: at which step, from what cause, and whether trying again can help.
//!
//! Nothing here can carry an address, a link or a token: of a server's reply only the codes are kept, because servers
//! like to repeat the recipient in its text.

use std::error::Error as _;
use std::fmt;
use std::io;

use lettre::transport::smtp;

/// The step of a delivery that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading the recipient's address and putting the mail together.
    Compose,
    /// Waiting for one of the connections that `MailConfig` allows.
    Queue,
    /// TCP, implicit TLS, the server's greeting and EHLO.
    Connect,
    /// STARTTLS and the handshake after it.
    StartTls,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA.
    Data,
    /// The mail itself, up to the answer to the final dot.
    Body,
    /// Writing the mail into a folder.
    File,
}

impl Step {
    /// Whether a refusal here is about this one mail. Earlier ones are about us: our sender, login or network.
    fn concerns_this_mail(self) -> bool {
        matches!(self, Self::Compose | Self::Recipient | Self::Data | Self::Body)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compose => "composing the mail",
            Self::Queue => "waiting for a free connection",
            Self::Connect => "connecting",
            Self::StartTls => "STARTTLS",
            Self::Login => "AUTH",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::Body => "sending the content",
            Self::File => "writing the file",
        })
    }
}

/// What went wrong at a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The server refused.
    #[error("the server answered {0}")]
    Reply(Reply),
    /// The server took longer than a step, or the whole delivery, may take.
    #[error("no answer in time")]
    TimedOut,
    /// The server hung up, or answered something that is not SMTP.
    #[error("the connection broke off")]
    Lost,
    /// No connection came about. The text is the system's or the TLS library's, from before any address was spoken.
    #[error("{0}")]
    Unreachable(String),
    /// TLS is required and the server has none.
    #[error("the server offers no STARTTLS")]
    NoStartTls,
    /// A login is set and the server takes none, or none of the kinds we know.
    #[error("the server offers no AUTH mechanism that we know")]
    NoLogin,
    /// The recipient's address is not one.
    #[error("the address is not one that mail can be sent to")]
    BadAddress,
    /// The address is not ASCII and the server has no SMTPUTF8 (RFC 6531).
    #[error("the server takes no address outside ASCII")]
    International,
    /// A template or a header could not be written.
    #[error("the mail cannot be put together")]
    Unwritable,
    /// The folder, or the file in it, cannot be written.
    #[error("{0}")]
    File(io::ErrorKind),
}

/// The codes of an SMTP reply, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code (RFC 5321, 4.2).
    pub code: u16,
    /// The enhanced status code (RFC 3463), where the server gave one.
    pub enhanced: Option<(u8, u16, u16)>,
}

impl Reply {
    /// Whether it refuses our login or asks for one: something that an operator mends (RFC 4954, section 6).
    fn is_about_login(self) -> bool {
        matches!(self.code, 454 | 530 | 534 | 535 | 538)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match self.enhanced {
            Some((class, subject, detail)) => write!(f, " {class}.{subject}.{detail}"),
            None => Ok(()),
        }
    }
}

/// A mail that was not sent, or of which nobody can say whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Worth another attempt, with the same `Message-ID`.
    #[error("the mail was not sent this time, {step}: {cause}")]
    Temporary {
        /// Where it failed.
        step: Step,
        /// What failed.
        cause: Cause,
    },
    /// Never worth another attempt: the server refuses this mail or this recipient.
    #[error("the mail can never be sent, {step}: {cause}")]
    Permanent {
        /// Where it failed.
        step: Step,
        /// What failed.
        cause: Cause,
    },
}

impl SendError {
    /// Decides whether a failure is worth another attempt.
    pub(super) fn at(step: Step, cause: Cause) -> Self {
        let permanent = match &cause {
            Cause::Reply(reply) => {
                step.concerns_this_mail() && (500..600).contains(&reply.code) && !reply.is_about_login()
            }
            Cause::BadAddress | Cause::International | Cause::Unwritable => true,
            _ => false,
        };
        if permanent { Self::Permanent { step, cause } } else { Self::Temporary { step, cause } }
    }

    /// Where it failed.
    pub fn step(&self) -> Step {
        let (Self::Temporary { step, .. } | Self::Permanent { step, .. }) = self;
        *step
    }

    /// What failed.
    pub fn cause(&self) -> &Cause {
        let (Self::Temporary { cause, .. } | Self::Permanent { cause, .. }) = self;
        cause
    }

    /// Whether the server refuses the recipient for good: a bounce. The enhanced code decides where there is one (RFC 3463:
    /// 5.1 is the address, 5.2 the mailbox), since servers also answer 550 to a sender or a content that they refuse. A
    /// server without enhanced codes is believed at RCPT alone, for the codes that RFC 5321 has for a mailbox.
    pub fn is_bounce(&self) -> bool {
        let Self::Permanent { step, cause } = self else { return false };
        match cause {
            Cause::BadAddress => true,
            Cause::Reply(Reply { code, enhanced: None }) => {
                *step == Step::Recipient && matches!(code, 550 | 551 | 553)
            }
            // 5.1.7 and 5.1.8 are about the sender's address, 5.2.3 about the size of the mail.
            Cause::Reply(Reply { enhanced: Some(enhanced), .. }) => {
                matches!(enhanced, (5, 1 | 2, _)) && !matches!(enhanced, (5, 1, 7 | 8) | (5, 2, 3))
            }
            _ => false,
        }
    }

    /// Whether every mail fails alike until an operator changes a setting or the server.
    pub fn needs_operator(&self) -> bool {
        match self.cause() {
            Cause::NoStartTls | Cause::NoLogin => true,
            Cause::Reply(reply) => {
                reply.is_about_login() || (reply.code >= 500 && !self.step().concerns_this_mail())
            }
            _ => false,
        }
    }
}

/// What a step of the SMTP library failed from, without the server's words.
pub(super) fn cause_of(step: Step, error: &smtp::Error) -> Cause {
    if let Some(code) = error.status() {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        return Cause::Reply(Reply { code: code.into(), enhanced: enhanced(&text) });
    }
    match step {
        Step::Connect | Step::StartTls => io_error(error).map_or(Cause::Lost, Cause::Unreachable),
        Step::Login if error.is_client() => Cause::NoLogin,
        _ => Cause::Lost,
    }
}

/// The text of the system's or the TLS library's error at the bottom of a chain.
fn io_error(error: &smtp::Error) -> Option<String> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.to_string());
        }
        source = inner.source();
    }
    None
}

/// The enhanced status code that a reply's text starts with (RFC 2034, section 4).
fn enhanced(text: &str) -> Option<(u8, u16, u16)> {
    let mut parts = text.split_ascii_whitespace().next()?.splitn(3, '.');
    let class = parts.next()?.parse().ok().filter(|class| matches!(class, 2 | 4 | 5))?;
    let subject = parts.next()?.parse().ok().filter(|subject| *subject < 1000)?;
    let detail = parts.next()?.parse().ok().filter(|detail| *detail < 1000)?;
    Some((class, subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(step: Step, code: u16) -> SendError {
        SendError::at(step, Cause::Reply(Reply { code, enhanced: None }))
    }

    #[test]
    fn only_refusals_of_this_mail_are_permanent() {
        for (step, code, permanent) in [
            (Step::Connect, 421, false),
            (Step::Connect, 554, false),
            (Step::Login, 535, false),
            (Step::Sender, 550, false),
            (Step::Recipient, 450, false),
            (Step::Recipient, 530, false),
            (Step::Recipient, 550, true),
            (Step::Data, 554, true),
            (Step::Body, 451, false),
            (Step::Body, 552, true),
        ] {
            let error = refused(step, code);
            assert_eq!(matches!(error, SendError::Permanent { .. }), permanent, "{error}");
        }
    }

    #[test]
    fn an_operator_is_called_for_what_hits_every_mail() {
        assert!(refused(Step::Login, 535).needs_operator());
        assert!(refused(Step::Sender, 530).needs_operator());
        assert!(refused(Step::Sender, 553).needs_operator());
        assert!(!refused(Step::Recipient, 550).needs_operator());
        assert!(!refused(Step::Sender, 451).needs_operator());
    }

    /// cases/accounts 20
    #[test]
    fn only_refusals_of_the_recipient_are_bounces() {
        for (step, code, enhanced, bounce) in [
            (Step::Recipient, 550, None, true),
            (Step::Recipient, 551, None, true),
            (Step::Recipient, 554, None, false),
            (Step::Recipient, 530, None, false),
            (Step::Recipient, 450, Some((4, 2, 1)), false),
            (Step::Recipient, 550, Some((5, 1, 1)), true),
            (Step::Recipient, 552, Some((5, 2, 2)), true),
            (Step::Recipient, 550, Some((5, 7, 1)), false),
            (Step::Recipient, 553, Some((5, 1, 8)), false),
            (Step::Sender, 550, Some((5, 1, 0)), false),
            (Step::Body, 550, None, false),
            (Step::Body, 550, Some((5, 1, 1)), true),
            (Step::Body, 552, Some((5, 2, 3)), false),
            (Step::Body, 554, Some((5, 7, 0)), false),
        ] {
            let error = SendError::at(step, Cause::Reply(Reply { code, enhanced }));
            assert_eq!(error.is_bounce(), bounce, "{error}");
        }
    }

    #[test]
    fn enhanced_codes_are_read_strictly() {
        assert_eq!(enhanced("5.1.1 <ada@example.com>: no such user"), Some((5, 1, 1)));
        assert_eq!(enhanced("4.7.25\nmore"), Some((4, 7, 25)));
        for other in ["", "no", "5.1", "5.1.x", "9.1.1", "5.1.1234", "5.1.1.1", "ada@example.com 5.1.1"] {
            assert_eq!(enhanced(other), None, "{other}");
        }
    }
}
