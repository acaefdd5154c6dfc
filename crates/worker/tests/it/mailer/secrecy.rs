//! V1: whatever happens, and however much is logged, no address, link, token or login is shown.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use testkit::smtp::{Options, Rule, SmtpSink, Step as At, Tls};
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn v1_no_log_line_shows_an_address_a_link_or_a_login_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(writer)
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);

    let login = Some(("mail.canary@example.com".to_owned(), "hunter2".to_owned()));
    let sink = SmtpSink::with(Options { login, tls: Tls::StartTls, ..Options::default() }).await.unwrap();
    let settings = config(&[("SMTP_URL", &sink.url()), ("SMTP_CA", sink.certificate().unwrap())]);
    let mailer = Mailer::new(&settings).unwrap();
    send(&mailer).await.unwrap();
    for (at, code) in [(At::Rcpt, 550), (At::Mail, 553), (At::EndOfData, 451), (At::Auth, 535)] {
        sink.behave();
        sink.script(Rule::reply(at, code, &format!("<{ADDRESS}> {TOKEN} hunter2")));
        assert_silent(&send(&mailer).await.unwrap_err());
    }
    assert_silent(&mailer.send(message("not an address canary")).await.unwrap_err());
    drop(guard);

    let shown = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(shown.contains("the mail server refuses us") && shown.contains("535"), "{shown}");
    for secret in ["canary", TOKEN, "token=", "hunter2"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn v1_debug_output_shows_neither() {
    let settings = config(&[("SMTP_URL", "smtp://canary:hunter2@127.0.0.1:25")]);
    let mailer = Mailer::new(&settings).unwrap();
    let shown = format!("{settings:?} {mailer:?} {:?}", message(ADDRESS));
    for secret in ["canary", TOKEN, "hunter2"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
