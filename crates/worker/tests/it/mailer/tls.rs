//! TLS: used when asked for, with a certificate that is trusted, or nothing is said.

use testkit::smtp::{Options, SmtpSink, Tls};
use worker::mailer::{Cause, Step};

use super::*;

async fn sink(tls: Tls) -> SmtpSink {
    let login = Some(("canary".to_owned(), "hunter2".to_owned()));
    SmtpSink::with(Options { login, tls, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn tls_hides_the_login_and_the_mail() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let sink = sink(tls).await;
        let settings = config(&[("SMTP_URL", &sink.url()), ("SMTP_CA", sink.certificate().unwrap())]);
        send(&Mailer::new(&settings).unwrap()).await.unwrap();

        let mails = sink.mails();
        assert!(mails.len() == 1 && mails[0].encrypted, "{tls:?}");
        let clear = in_clear(&sink);
        assert!(clear.iter().all(|line| line.starts_with("EHLO ") || line == "STARTTLS"), "{clear:?}");
        assert_eq!(clear.is_empty(), tls == Tls::Implicit);
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    for (tls, step) in [(Tls::StartTls, Step::StartTls), (Tls::Implicit, Step::Connect)] {
        let sink = sink(tls).await;
        let error = assert_temporary(send(&mailer(&sink.url())).await, "unknown issuer");
        assert_eq!(error.step(), step);
        assert!(matches!(error.cause(), Cause::Unreachable(why) if why.contains("UnknownIssuer")), "{error}");
        assert!(sink.mails().is_empty() && sink.lines().iter().all(|line| !line.encrypted));
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let sink = sink(Tls::Implicit).await;
    let url = sink.url().replace("127.0.0.1", "localhost");
    let settings = config(&[("SMTP_URL", &url), ("SMTP_CA", sink.certificate().unwrap())]);
    let error = assert_temporary(send(&Mailer::new(&settings).unwrap()).await, "other name");
    assert!(
        matches!(error.cause(), Cause::Unreachable(why) if why.contains("NotValidForName") || why.contains("not valid for")),
        "{error}"
    );
    assert!(sink.mails().is_empty());
}

#[tokio::test]
async fn tls_that_is_required_and_not_offered_sends_nothing_in_clear() {
    let sink = sink(Tls::None).await;
    let url = format!("{}?tls=required", sink.url());
    let error = assert_temporary(send(&mailer(&url)).await, "no STARTTLS");
    assert_eq!((error.step(), error.cause()), (Step::StartTls, &Cause::NoStartTls));
    assert!(error.needs_operator());
    let clear = in_clear(&sink);
    assert!(clear.iter().all(|line| line.starts_with("EHLO ")), "{clear:?}");
}

#[tokio::test]
async fn a_server_without_tls_where_tls_is_expected_is_no_hang() {
    let sink = sink(Tls::None).await;
    let url = sink.url().replace("smtp://", "smtps://");
    let error = assert_temporary(send(&mailer(&url)).await, "no TLS");
    assert_eq!(error.step(), Step::Connect);
    assert!(in_clear(&sink).iter().all(|line| !line.contains("canary") && !line.contains("EHLO")));
}
