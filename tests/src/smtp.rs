//! A mail server for tests: it holds a real SMTP conversation on `127.0.0.1`, keeps what it takes, and misbehaves on
//! demand.
//!
//! It lives on the runtime of the test that starts it, and ends when it is dropped. What it knows of RFC 5321 is what a
//! client may rely on: it refuses commands that come out of order, before TLS or before a login that it asks for.

mod mail;
mod script;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use mail::Mail;
pub use script::{Rule, Step};

use crate::tls::Certificate;
use script::Script;
use session::Session;

/// How long a test waits for a mail before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a sink asks of its clients.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The one user and password that it takes; with `None` it offers no AUTH.
    pub login: Option<(String, String)>,
    /// Whether it offers LOGIN alone, as some providers do, and not PLAIN.
    pub login_mechanism_only: bool,
    /// How it is encrypted.
    pub tls: Tls,
}

/// How a sink is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    #[default]
    None,
    /// It offers STARTTLS and takes no mail before.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// A line that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// The line, without its end.
    pub text: String,
}

/// The mail server.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the sessions of a sink share.
#[derive(Debug)]
struct Shared {
    options: Options,
    certificate: Option<Certificate>,
    script: Script,
    mails: watch::Sender<Vec<Mail>>,
    lines: watch::Sender<Vec<Line>>,
    connections: watch::Sender<usize>,
}

impl SmtpSink {
    /// Starts a server without TLS and without a login.
    pub async fn start() -> Result<Self> {
        Self::with(Options::default()).await
    }

    /// Starts a server that asks for TLS or a login.
    pub async fn with(options: Options) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let certificate =
            (options.tls != Tls::None).then(|| Certificate::for_host("127.0.0.1")).transpose()?;
        let shared = Arc::new(Shared {
            options,
            certificate,
            script: Script::default(),
            mails: watch::Sender::default(),
            lines: watch::Sender::default(),
            connections: watch::Sender::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// The value for `SMTP_URL` that reaches this server, with its login.
    pub fn url(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let login = match &self.shared.options.login {
            Some((user, password)) => format!("{}:{}@", encode(user), encode(password)),
            None => String::new(),
        };
        match self.shared.options.tls {
            Tls::None => format!("smtp://{login}{}", self.address),
            Tls::StartTls => format!("smtp://{login}{}?tls=required", self.address),
            Tls::Implicit => format!("smtps://{login}{}", self.address),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate (PEM), which a client has to trust; `None` without TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.shared.certificate.as_ref().map(Certificate::pem)
    }

    /// Every mail taken so far, in order.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.borrow().clone()
    }

    /// Every line that clients sent so far, the mails' content included.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lines.borrow().clone()
    }

    /// Waits until a client has sent this line.
    pub async fn wait_for_line(&self, text: &str) -> Result<()> {
        let mut lines = self.shared.lines.subscribe();
        let found = lines.wait_for(|lines| lines.iter().any(|line| line.text == text));
        tokio::time::timeout(PATIENCE, found).await.with_context(|| format!("nobody sent {text}"))??;
        Ok(())
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Waits until `count` mails, or more, were taken.
    pub async fn wait_for(&self, count: usize, patience: Duration) -> Result<Vec<Mail>> {
        let mut mails = self.shared.mails.subscribe();
        let found = tokio::time::timeout(patience, mails.wait_for(|mails| mails.len() >= count)).await;
        let got = || format!("waited for {count} mails, got {}", self.mails().len());
        Ok(found.with_context(got)??.clone())
    }

    /// Waits for a mail after the first `known` ones, and returns all after those.
    pub async fn wait_beyond(&self, known: usize, patience: Duration) -> Result<Vec<Mail>> {
        let mut mails = self.shared.mails.subscribe();
        let found = tokio::time::timeout(patience, mails.wait_for(|mails| mails.len() > known)).await;
        Ok(found.with_context(|| format!("no mail after {known}"))??.iter().skip(known).cloned().collect())
    }

    /// Waits for the first mail to an address.
    pub async fn wait_for_to(&self, address: &str) -> Result<Mail> {
        let is_to = |mail: &&Mail| mail.to.iter().any(|to| to.eq_ignore_ascii_case(address));
        let mut mails = self.shared.mails.subscribe();
        let found =
            tokio::time::timeout(PATIENCE, mails.wait_for(|mails| mails.iter().any(|mail| is_to(&mail))));
        let mails = found.await.with_context(|| format!("no mail to {address}"))??;
        mails.iter().find(is_to).cloned().context("it was there a moment ago")
    }

    /// Makes it misbehave. Rules are tried in the order they were added; the first that matches decides.
    pub fn script(&self, rule: Rule) {
        self.shared.script.add(rule);
    }

    /// How often rules have matched so far.
    pub fn misbehaved(&self) -> usize {
        self.shared.script.matches()
    }

    /// Waits until rules have matched `count` times, or more.
    pub async fn wait_for_misbehaviour(&self, count: usize) -> Result<()> {
        let waited = tokio::time::timeout(PATIENCE, self.shared.script.wait_for_matches(count)).await;
        waited.with_context(|| format!("waited for {count} faults, got {}", self.misbehaved()))
    }

    /// Takes every rule back and lets stalled conversations go on.
    pub fn behave(&self) {
        self.shared.script.clear();
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until it is aborted, which ends the sessions with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.send_modify(|count| *count += 1);
        let session = Session::new(Box::new(stream), Arc::clone(&shared));
        // A session ends with an error when the client is gone, or when a rule drops it.
        sessions.spawn(async move { session.serve().await.err() });
        while sessions.try_join_next().is_some() {}
    }
}
