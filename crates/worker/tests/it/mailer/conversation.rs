//! What a mail server gets from us when all goes well, and how connections are used.

use futures_util::future::{join, join_all};
use testkit::smtp::{Options, Rule, SmtpSink, Step as At};
use uuid::Uuid;
use worker::mailer::{Cause, Mail, Message, Step};

use super::*;

#[tokio::test]
async fn each_mail_arrives_with_both_parts_its_link_and_its_headers() {
    let sink = SmtpSink::start().await.unwrap();
    let settings = [("SMTP_URL", sink.url()), ("MAIL_FROM", "Arbour <mail@arbour.example>".to_owned())];
    let mailer =
        Mailer::new(&config(&settings.each_ref().map(|(name, value)| (*name, value.as_str())))).unwrap();
    let username = || "ada".to_owned();
    let cases = [
        (
            Mail::Verification { username: username(), link: link("verify-email"), life: life() },
            Some(link("verify-email")),
            "Confirm",
        ),
        (reset(), Some(link("reset-password")), "Reset"),
        (Mail::PasswordChanged { username: username(), at: at() }, None, "was changed"),
        (Mail::SessionReuse { username: username(), at: at() }, None, "was ended"),
    ];
    for (index, (kind, link, subject)) in cases.into_iter().enumerate() {
        let message_id = Uuid::now_v7();
        mailer.send(Message { to: ADDRESS, kind, message_id }).await.unwrap();

        let mail = sink.wait_for(index + 1, Duration::from_secs(10)).await.unwrap().remove(index);
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("mail@arbour.example", &[ADDRESS.to_owned()][..])
        );
        assert_eq!(mail.recipients, [ADDRESS]);
        assert_eq!(mail.header("From"), ["Arbour <mail@arbour.example>"]);
        assert_eq!(mail.header("Auto-Submitted"), ["auto-generated"]);
        assert_eq!(mail.header("Date").len(), 1);
        assert_eq!(mail.message_id, format!("{message_id}@arbour.example"));
        assert!(mail.subject.contains(subject), "{}", mail.subject);
        assert!(mail.text.contains("Hello ada,") && mail.text.contains("Arbour"), "{}", mail.text);
        assert!(mail.html.contains("Hello ada,") && mail.html.contains("Arbour"), "{}", mail.html);
        assert_eq!(mail.links(), link.iter().cloned().collect::<Vec<_>>());
        assert_eq!(mail.token().is_some(), link.is_some());
        if let Some(link) = link {
            assert!(mail.html.contains(&format!("href=\"{link}\"")), "{}", mail.html);
            // Unencoded: whoever opens the raw mail can copy the link.
            assert!(String::from_utf8(mail.raw).unwrap().contains(&format!("\r\n{link}\r\n")));
        }
    }
}

#[tokio::test]
async fn mails_share_a_connection_and_a_stale_one_is_replaced() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = mailer(&sink.url());
    for _ in 0..5 {
        send(&mailer).await.unwrap();
    }
    assert_eq!(sink.connections(), 1);

    for (mails, fault) in
        [Rule::hang_up(At::Mail), Rule::reply(At::Mail, 421, "4.4.2 idle")].into_iter().enumerate()
    {
        sink.script(fault.times(1));
        send(&mailer).await.unwrap();
        assert_eq!((sink.mails().len(), sink.connections()), (6 + mails, 2 + mails));
    }
}

#[tokio::test]
async fn an_unused_connection_takes_its_leave() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = hurried_mailer(&sink.url());
    send(&mailer).await.unwrap();
    sink.wait_for_line("QUIT").await.unwrap();
    send(&mailer).await.unwrap();
    assert_eq!(sink.connections(), 2);
}

#[tokio::test]
async fn a_delivery_cancelled_half_way_spoils_no_later_mail() {
    let sink = SmtpSink::start().await.unwrap();
    let mailer = mailer(&sink.url());
    send(&mailer).await.unwrap();

    sink.script(Rule::stall(At::EndOfData));
    tokio::select! {
        result = send(&mailer) => panic!("it stalls: {result:?}"),
        waited = sink.wait_for_misbehaviour(1) => waited.unwrap(),
    }
    sink.behave();
    sink.script(Rule::reply(At::Rcpt, 550, "5.1.1 unknown").to("nobody@example.com"));

    // A connection out of step would give this refusal to the mail after it, and this mail that one's consent.
    assert_permanent(mailer.send(message("nobody@example.com")).await, "unknown");
    send(&mailer).await.unwrap();
    assert!(sink.mails().iter().all(|mail| mail.to == [ADDRESS]));
}

#[tokio::test]
async fn connections_are_bounded_and_waiting_for_one_ends() {
    let sink = SmtpSink::start().await.unwrap();
    sink.script(Rule::stall(At::Mail));
    let mailer = mailer(&sink.url());
    let ready = async {
        sink.wait_for_misbehaviour(4).await.unwrap();
        sink.behave();
    };
    let (results, ()) = join(join_all((0..40).map(|_| send(&mailer))), ready).await;
    results.into_iter().for_each(Result::unwrap);
    assert_eq!((sink.mails().len(), sink.connections()), (40, 4));

    sink.script(Rule::stall(At::Mail));
    let hurried = hurried_mailer(&sink.url());
    for result in join_all((0..12).map(|_| send(&hurried))).await {
        assert_eq!(assert_temporary(result, "stall").cause(), &Cause::TimedOut);
    }
}

#[tokio::test]
async fn a_login_is_used_and_a_refused_one_calls_the_operator() {
    for login_mechanism_only in [false, true] {
        let login = Some(("mail@trellis.example".to_owned(), "p:/ss w@rd".to_owned()));
        let sink =
            SmtpSink::with(Options { login, login_mechanism_only, ..Options::default() }).await.unwrap();
        send(&mailer(&sink.url())).await.unwrap();
        assert_eq!(sink.mails().len(), 1);

        let wrong = format!("smtp://canary:hunter2@{}", sink.address());
        let error = assert_temporary(send(&mailer(&wrong)).await, "wrong password");
        assert_eq!(error.to_string(), "the mail was not sent this time, AUTH: the server answered 535 5.7.8");
        assert!(error.needs_operator());

        let none = format!("smtp://{}", sink.address());
        let error = assert_temporary(send(&mailer(&none)).await, "no login");
        assert_eq!(
            error.to_string(),
            "the mail was not sent this time, MAIL FROM: the server answered 530 5.7.0"
        );
        assert!(error.needs_operator());
        assert_eq!(sink.mails().len(), 1);
    }
    let sink = SmtpSink::start().await.unwrap();
    let error = assert_temporary(send(&mailer(&format!("smtp://a:b@{}", sink.address()))).await, "no AUTH");
    assert_eq!((error.step(), error.cause()), (Step::Login, &Cause::NoLogin));
}
