//! Servers that refuse, stall, hang up or are not there: what may be tried again, and what may not.

use std::time::Instant;

use futures_util::future::join_all;
use testkit::smtp::{Rule, SmtpSink, Step as At};
use tokio::net::TcpListener;
use worker::mailer::{Cause, Reply, Step};

use super::*;

const STEPS: [(At, Step); 6] = [
    (At::Connect, Step::Connect),
    (At::Ehlo, Step::Connect),
    (At::Mail, Step::Sender),
    (At::Rcpt, Step::Recipient),
    (At::Data, Step::Data),
    (At::EndOfData, Step::Body),
];

#[tokio::test]
async fn q10_a_4xx_at_any_step_may_be_tried_again() {
    for (at, step) in STEPS {
        let sink = SmtpSink::start().await.unwrap();
        let mailer = mailer(&sink.url());
        sink.script(Rule::reply(at, 451, &format!("4.3.2 <{ADDRESS}> later")).times(1));
        let error = assert_temporary(send(&mailer).await, "451");
        assert_eq!(error.step(), step);
        assert_eq!(error.cause(), &Cause::Reply(Reply { code: 451, enhanced: Some((4, 3, 2)) }));
        assert!(!error.needs_operator() && sink.mails().is_empty());

        send(&mailer).await.unwrap();
        assert_eq!(sink.mails().len(), 1, "{at:?}");
    }
}

#[tokio::test]
async fn q10_a_5xx_is_final_when_it_is_about_the_mail_and_not_when_it_is_about_us() {
    for (at, step) in STEPS {
        let sink = SmtpSink::start().await.unwrap();
        let mailer = mailer(&sink.url());
        sink.script(Rule::reply(at, 550, &format!("<{ADDRESS}> 5.1.1 no such user")).times(1));
        let result = send(&mailer).await;
        let error = if matches!(at, At::Rcpt | At::Data | At::EndOfData) {
            assert_permanent(result, "550")
        } else {
            let error = assert_temporary(result, "550");
            assert!(error.needs_operator());
            error
        };
        // The text starts with the address, so there is no enhanced code to read.
        assert_eq!((error.step(), error.cause()), (step, &Cause::Reply(Reply { code: 550, enhanced: None })));
        assert!(sink.mails().is_empty());

        send(&mailer).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_recipient_is_no_matter_for_the_next() {
    let sink = SmtpSink::start().await.unwrap();
    sink.script(Rule::reply(At::Rcpt, 550, "5.1.1 unknown").to("nobody@example.com"));
    let mailer = mailer(&sink.url());
    assert_permanent(mailer.send(message("nobody@example.com")).await, "unknown");
    send(&mailer).await.unwrap();
    assert_eq!(sink.wait_for_to(ADDRESS).await.unwrap().to, [ADDRESS]);
}

#[tokio::test]
async fn a_stall_at_any_step_ends_in_time() {
    let stall = async |(at, step): (At, Step)| {
        let sink = SmtpSink::start().await.unwrap();
        sink.script(Rule::stall(at));
        let begun = Instant::now();
        let error = assert_temporary(send(&hurried_mailer(&sink.url())).await, "stall");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?} at {at:?}", begun.elapsed());
        assert_eq!((error.step(), error.cause()), (step, &Cause::TimedOut));
        assert!(!error.needs_operator() && sink.mails().is_empty());
    };
    join_all(STEPS.map(stall)).await;
}

#[tokio::test]
async fn a_server_that_hangs_up_at_any_step_may_be_tried_again() {
    for (at, step) in STEPS {
        let sink = SmtpSink::start().await.unwrap();
        let mailer = mailer(&sink.url());
        sink.script(Rule::hang_up(at).times(1));
        let error = assert_temporary(send(&mailer).await, "hang up");
        assert_eq!((error.step(), error.cause()), (step, &Cause::Lost));
        send(&mailer).await.unwrap();
        assert_eq!(sink.mails().len(), 1, "{at:?}");
    }
}

#[tokio::test]
async fn r10_a_mail_whose_receipt_was_lost_is_sent_again_as_the_same_mail() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = mailer(&sink.url());
    let message = message(ADDRESS);
    sink.script(Rule::lose_reply().times(1));
    let error = assert_temporary(mailer.send(message.clone()).await, "lost receipt");
    assert_eq!(error.cause(), &Cause::Lost);
    mailer.send(message.clone()).await.unwrap();

    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    assert!(mails.iter().all(|mail| mail.message_id == format!("{}@localhost", message.message_id)));
    assert_eq!(mails[0].links(), mails[1].links());
    assert_eq!(mails[0].text, mails[1].text);
}

#[tokio::test]
async fn a_server_that_is_not_there_may_be_tried_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = assert_temporary(send(&mailer(&format!("smtp://{address}"))).await, "refused");
    assert!(matches!(error.cause(), Cause::Unreachable(why) if why.contains("refused")), "{error}");
    let error = assert_temporary(send(&mailer("smtp://mail.invalid:25")).await, "no such host");
    assert_eq!(error.step(), Step::Connect);
}

#[tokio::test]
async fn r9_an_address_that_carries_more_than_an_address_is_refused_before_anything_is_sent() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = mailer(&sink.url());
    for to in [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com\nBcc: eve@example.com",
        "ada@example.com>\r\nRCPT TO:<eve@example.com",
        "ada\r\n@example.com",
        "\"ada\r\nBcc: eve\"@example.com",
        "\"ada, eve@example.com, \"@example.com",
        "ada@example.com, eve@example.com",
        "ada@example.com eve@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\0",
        "ada(eve)@example.com",
        "ada@[127.0.0.1]",
    ] {
        let error = assert_permanent(mailer.send(message(to)).await, to);
        assert_eq!((error.step(), error.cause()), (Step::Compose, &Cause::BadAddress), "{to:?}");
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn r9_a_name_that_carries_a_header_adds_none() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = mailer(&sink.url());
    send(&mailer).await.unwrap();
    for username in
        ["ada\r\nBcc: eve@example.com\r\n\r\nHi", "ada\r\n.\r\nMAIL FROM:<a@b>", "\u{202e}<b>n\u{f6}</b>"]
    {
        let kind =
            Mail::Verification { username: username.to_owned(), link: link("verify-email"), life: life() };
        mailer.send(Message { to: ADDRESS, kind, message_id: Uuid::now_v7() }).await.unwrap();
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), 4);
    let names =
        |mail: &testkit::smtp::Mail| mail.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for mail in &mails {
        assert_eq!(
            (&mail.to[..], &mail.recipients[..]),
            (&[ADDRESS.to_owned()][..], &[ADDRESS.to_owned()][..])
        );
        assert_eq!(names(mail), names(&mails[0]));
        assert_eq!(mail.links().len(), 1, "{}", mail.text);
        assert!(!mail.html.contains("<b>"), "{}", mail.html);
    }
}

#[tokio::test]
async fn an_address_outside_ascii_needs_a_server_that_takes_it() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = mailer(&sink.url());
    mailer.send(message("j\u{f6}rg@example.com")).await.unwrap();
    let mail = sink.wait_for_to("j\u{f6}rg@example.com").await.unwrap();
    assert_eq!(mail.recipients, ["j\u{f6}rg@example.com"]);
    let line = sink.lines().into_iter().find(|line| line.text.starts_with("MAIL")).unwrap();
    assert!(line.text.contains("SMTPUTF8"), "{}", line.text);

    let sink = SmtpSink::start().await.unwrap();
    sink.script(Rule::reply(At::Ehlo, 250, "sink"));
    let error = assert_permanent(
        super::mailer(&sink.url()).send(message("j\u{f6}rg@example.com")).await,
        "no SMTPUTF8",
    );
    assert_eq!(error.cause(), &Cause::International);
    assert!(sink.mails().is_empty());
}
