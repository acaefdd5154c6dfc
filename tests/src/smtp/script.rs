//! How a sink misbehaves: rules that match a step of the conversation, and perhaps a recipient.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A step of the conversation, named after what the client has just sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The connection: the greeting is due.
    Connect,
    /// EHLO, also the second one after STARTTLS.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// The dot that ends the content.
    EndOfData,
}

/// What happens in place of the right answer.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// This reply (code and text).
    Reply(u16, String),
    /// No answer until the sink is told to behave, then the right one.
    Stall,
    /// The connection is closed.
    Drop,
    /// At `EndOfData`: the mail is taken, then the connection is closed.
    LoseReply,
}

/// One misbehaviour. Without `times` it lasts until the sink is told to behave.
#[derive(Clone, Debug)]
pub struct Rule {
    step: Step,
    fault: Fault,
    recipient: Option<String>,
    left: Option<usize>,
}

impl Rule {
    /// Answers with a code and a text, such as `450, "4.2.1 try later"`.
    pub fn reply(step: Step, code: u16, text: &str) -> Self {
        Self::new(step, Fault::Reply(code, text.to_owned()))
    }

    /// Does not answer until the sink is told to behave.
    pub fn stall(step: Step) -> Self {
        Self::new(step, Fault::Stall)
    }

    /// Closes the connection without an answer.
    pub fn hang_up(step: Step) -> Self {
        Self::new(step, Fault::Drop)
    }

    /// Takes the mail and closes the connection without saying so.
    pub fn lose_reply() -> Self {
        Self::new(Step::EndOfData, Fault::LoseReply)
    }

    fn new(step: Step, fault: Fault) -> Self {
        Self { step, fault, recipient: None, left: None }
    }

    /// Only so many times.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { left: Some(times), ..self }
    }

    /// Only in mails to this address; for `Rcpt` and the steps after it.
    #[must_use]
    pub fn to(self, recipient: &str) -> Self {
        Self { recipient: Some(recipient.to_owned()), ..self }
    }

    fn matches(&self, step: Step, recipients: &[String]) -> bool {
        let wanted = |wanted: &String| recipients.iter().any(|to| to.eq_ignore_ascii_case(wanted));
        self.step == step && self.left != Some(0) && self.recipient.as_ref().is_none_or(wanted)
    }
}

/// The rules of a sink.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Mutex<Vec<Rule>>,
    matches: watch::Sender<usize>,
    /// Counts how often the sink was told to behave.
    behaved: watch::Sender<usize>,
}

impl Script {
    pub(super) fn add(&self, rule: Rule) {
        self.lock().push(rule);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
        self.behaved.send_modify(|count| *count += 1);
    }

    pub(super) fn matches(&self) -> usize {
        *self.matches.borrow()
    }

    pub(super) async fn wait_for_matches(&self, count: usize) {
        // It fails only when the sender is gone, and the sender is `self`.
        let _ = self.matches.subscribe().wait_for(|matches| *matches >= count).await;
    }

    /// What to do at a step; a stall is sat out here.
    pub(super) async fn at(&self, step: Step, recipients: &[String]) -> Option<Fault> {
        let mut behaved = self.behaved.subscribe();
        let fault = {
            let mut rules = self.lock();
            let rule = rules.iter_mut().find(|rule| rule.matches(step, recipients))?;
            rule.left = rule.left.map(|left| left.saturating_sub(1));
            rule.fault.clone()
        };
        self.matches.send_modify(|count| *count += 1);
        if matches!(fault, Fault::Stall) {
            // As above: the sender outlives this call.
            let _ = behaved.changed().await;
            return None;
        }
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
