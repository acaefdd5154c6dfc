//! Mail jobs against a mail server that refuses, delays and stalls.

use std::time::Duration;

use domain::notices::SecurityNotice;
use domain::outbox::Job;
use domain::recovery;
use testkit::app::eventually;
use testkit::smtp::{Rule, Step};
use uuid::Uuid;
use worker::mailer::Timeouts;

use super::desk::Desk;

/// The confirmation mail that is promised to the only account.
async fn confirmation(desk: &Desk) -> Uuid {
    desk.person("ada").await;
    desk.id("SELECT id FROM outbox WHERE kind = 'mail.verification'").await
}

/// How long a link lives.
const HOUR: chrono::TimeDelta = chrono::TimeDelta::hours(1);
/// A notice to the only account: a mail without a link.
async fn notice(desk: &Desk) -> Uuid {
    let ada = desk.person("ada").await;
    desk.run_queue("mail").await;
    desk.promise(&Job::SendPasswordChanged { user_id: ada.id }).await
}

async fn bounced(desk: &Desk) -> bool {
    desk.database.value("SELECT email_bounced_at IS NOT NULL FROM users").await
}

/// cases/accounts 20
#[tokio::test]
async fn a_bounce_flags_the_address_and_ends_the_job() {
    let desk = Desk::new().await;
    let job = confirmation(&desk).await;
    desk.mail.script(Rule::reply(Step::Rcpt, 550, "5.1.1 <ada@example.org>: no such user"));
    desk.run(job).await;
    let row = desk.job(job).await;
    assert!(row.done && !row.dead && row.attempts == 1, "no alert for ever: {row:?}");
    assert!(bounced(&desk).await);

    // Whatever arrives clears it.
    desk.mail.behave();
    let ada = desk.id("SELECT id FROM users").await;
    let job = desk.promise(&Job::SendPasswordChanged { user_id: ada }).await;
    desk.run(job).await;
    assert!(desk.job(job).await.done && !bounced(&desk).await);
}

/// cases/accounts 20
#[tokio::test]
async fn refusals_of_us_or_the_content_are_no_bounce() {
    for (step, code, text, dead) in [
        (Step::Rcpt, 550, "5.7.1 relaying denied", true),
        (Step::Rcpt, 554, "transaction failed", true),
        (Step::EndOfData, 554, "5.7.0 spam", true),
        (Step::Rcpt, 530, "5.7.0 authentication required", false),
        (Step::Mail, 550, "5.1.0 sender rejected", false),
        (Step::Rcpt, 450, "4.2.1 mailbox busy", false),
    ] {
        let desk = Desk::new().await;
        let job = confirmation(&desk).await;
        desk.mail.script(Rule::reply(step, code, text));
        desk.run(job).await;
        let row = desk.job(job).await;
        assert!(!row.done && row.dead == dead, "{code} {text}: {row:?}");
        assert!(!bounced(&desk).await, "{code} {text}");
    }
}

/// cases/accounts 20
#[tokio::test]
async fn a_bounced_address_is_tried_again_by_a_reset_once_a_day() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    desk.run_queue("mail").await;
    let refusal = || Rule::reply(Step::Rcpt, 550, "5.1.1 no such user").times(1);
    let ask = async || {
        recovery::request(&desk.pool, desk.clock.now(), HOUR, &"ada@example.org".parse_email(), None)
            .await
            .unwrap();
        desk.run_queue("mail").await;
    };
    desk.mail.script(refusal());
    ask().await;
    assert!(bounced(&desk).await);
    let before = desk.mail.mails().len();
    ask().await;
    assert_eq!(desk.mail.mails().len(), before, "not again within the day");
    desk.clock.advance(chrono::TimeDelta::hours(25));
    ask().await;
    assert_eq!(desk.mail.mails().len(), before + 1);
    assert!(!bounced(&desk).await, "the mailbox is back");

    // Another address starts unflagged, whichever statement sets it.
    desk.sql("UPDATE users SET email_bounced_at = now()").await;
    desk.sql(&format!("UPDATE users SET email = 'new@example.org' WHERE id = '{}'", ada.id)).await;
    assert!(!bounced(&desk).await);
}

/// cases/accounts 19
#[tokio::test]
async fn a_link_arrives_after_greylisting_with_most_of_its_life_left() {
    let desk = Desk::new().await;
    let job = confirmation(&desk).await;
    desk.mail.script(Rule::reply(Step::Rcpt, 451, "4.7.1 greylisted"));
    for (attempt, gap) in (1..).zip([5.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 300.0]) {
        desk.run(job).await;
        let row = desk.job(job).await;
        assert!(row.attempts == attempt && !row.dead && !row.done, "{row:?}");
        assert!((gap * 0.9 - 3.0..=gap * 1.1).contains(&row.waits), "attempt {attempt}: {row:?}");
        desk.let_leases_end().await;
    }
    desk.mail.behave();
    desk.run(job).await;
    assert!(desk.job(job).await.done);
    let mail = desk.mail.mails().pop().unwrap();
    assert!(
        mail.text.contains("It works once, for 48 hours: until ") && mail.text.contains(" UTC."),
        "{}",
        mail.text
    );
}

/// cases/accounts 19
#[tokio::test]
async fn a_link_is_not_mailed_beyond_its_end() {
    let desk = Desk::new().await;
    let job = confirmation(&desk).await;
    desk.mail.script(Rule::reply(Step::Rcpt, 451, "4.7.1 greylisted"));
    desk.clock.advance(chrono::TimeDelta::hours(48) - chrono::TimeDelta::minutes(3));
    desk.sql("UPDATE outbox SET attempts = 9").await;
    desk.run(job).await;
    let row = desk.job(job).await;
    assert!(row.done && !row.dead, "the next attempt would come after the end: {row:?}");
    assert_eq!(desk.mail.misbehaved(), 1);
}

#[tokio::test]
async fn q10_a_permanent_refusal_stops_at_once() {
    let desk = Desk::new().await;
    let job = confirmation(&desk).await;
    desk.mail.script(Rule::reply(Step::Rcpt, 550, "5.7.1 <ada@example.org>: not from you"));
    desk.run(job).await;
    let row = desk.job(job).await;
    assert!(row.dead && row.attempts == 1, "{row:?}");
    assert!(row.last_error.contains("550") && !row.last_error.contains("ada"), "{row:?}");
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(desk.job(job).await, row, "a dead job is not tried again");
    assert_eq!(desk.mail.misbehaved(), 1);
}

#[tokio::test]
async fn q10_a_temporary_refusal_is_tried_again_after_growing_gaps() {
    let desk = Desk::new().await;
    let job = notice(&desk).await;
    desk.mail.script(Rule::reply(Step::Rcpt, 451, "4.7.1 <ada@example.org>: greylisted"));
    for (attempt, gap) in (1..).zip([5.0, 10.0, 20.0, 40.0, 80.0]) {
        desk.run(job).await;
        let row = desk.job(job).await;
        assert!(row.attempts == attempt && !row.dead && !row.done, "{row:?}");
        // A quarter of jitter either way, and what the test itself takes.
        assert!((gap * 0.75 - 3.0..=gap * 1.25).contains(&row.waits), "attempt {attempt}: {row:?}");
        assert!(row.last_error.contains("451") && !row.last_error.contains("ada"), "{row:?}");
        desk.run(job).await;
        assert_eq!(desk.job(job).await.attempts, attempt, "before the gap is over, a delivery does nothing");
        desk.let_leases_end().await;
    }
    desk.mail.behave();
    desk.run(job).await;
    let row = desk.job(job).await;
    assert!(row.done && row.attempts == 6 && row.last_error.is_empty(), "{row:?}");
    let mails = desk.mail.mails();
    assert_eq!(mails.len(), 2, "the confirmation, and the notice once");
    assert_eq!(mails[1].message_id.split('@').next().unwrap(), job.to_string(), "the id of the promise");
}

#[tokio::test]
async fn q10_the_attempts_have_an_end() {
    let desk = Desk::new().await;
    let job = notice(&desk).await;
    desk.mail.script(Rule::reply(Step::Rcpt, 451, "4.3.0 not now"));
    desk.sql("UPDATE outbox SET attempts = 29").await;
    desk.run(job).await;
    let row = desk.job(job).await;
    assert!(row.dead && row.attempts == 30 && row.last_error.contains("451"), "{row:?}");
}

#[tokio::test]
async fn q13_a_job_over_its_time_limit_is_cut_and_tried_again() {
    let patient = Timeouts {
        step: Duration::from_secs(3_600),
        whole: Duration::from_secs(3_600),
        idle: Duration::from_secs(20),
    };
    let desk = Desk::tuned(|_| {}, |config| config.mail.timeouts = patient).await;
    let job = confirmation(&desk).await;
    desk.mail.script(Rule::stall(Step::Data));
    let running = async { tokio::join!(desk.run(job), pass_the_limit(&desk)) };
    running.await;
    let row = desk.job(job).await;
    assert!(!row.done && !row.dead && row.attempts == 1, "{row:?}");
    assert!(row.last_error.contains("took longer than 25 s"), "{row:?}");

    desk.mail.behave();
    desk.let_leases_end().await;
    desk.run(job).await;
    assert!(desk.job(job).await.done);
    assert_eq!(desk.mail.mails().len(), 1);
}

/// Once the server stalls, half a minute passes for this runtime.
async fn pass_the_limit(desk: &Desk) {
    desk.mail.wait_for_misbehaviour(1).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(26)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn q13_a_stalled_mail_server_costs_its_own_time_out() {
    let hurried = Timeouts {
        step: Duration::from_millis(200),
        whole: Duration::from_millis(400),
        idle: Duration::from_secs(20),
    };
    let desk = Desk::tuned(|_| {}, |config| config.mail.timeouts = hurried).await;
    let job = confirmation(&desk).await;
    desk.mail.script(Rule::stall(Step::Rcpt));
    desk.run(job).await;
    let row = desk.job(job).await;
    assert!(!row.dead && row.attempts == 1 && row.last_error.contains("no answer in time"), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn q10_a_mail_server_that_stalls_delays_no_reward() {
    let desk = Desk::new().await;
    desk.mail.script(Rule::stall(Step::Connect));
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 20, &ada).await;
    let _worker = desk.work();
    desk.mail.wait_for_misbehaviour(1).await.unwrap();
    for friend in &friends {
        desk.confirm(friend.id).await;
    }
    eventually("all rewards are there while no mail leaves", async || {
        let successful = desk.count("referrals WHERE status = 'successful'").await;
        if successful == 20 { Ok(()) } else { Err(format!("{successful} of 20")) }
    })
    .await;
    assert!(desk.mail.mails().is_empty());
    desk.check_ledger().await;
}

#[tokio::test]
async fn r10_a_reset_delivered_twice_carries_one_link() {
    let desk = Desk::new().await;
    desk.person("ada").await;
    desk.run_queue("mail").await;
    let email = "ada@example.org".parse_email();
    recovery::request(&desk.pool, desk.clock.now(), HOUR, &email, None).await.unwrap();
    let job = desk.id("SELECT id FROM outbox WHERE kind = 'mail.password_reset'").await;
    // The mail is taken and the worker never hears of it.
    desk.mail.script(Rule::lose_reply().times(1));
    desk.run(job).await;
    assert_eq!(desk.job(job).await.attempts, 1);
    assert!(!desk.job(job).await.done);
    desk.let_leases_end().await;
    desk.run(job).await;
    assert!(desk.job(job).await.done);
    let mails = desk.mail.wait_for(3, Duration::from_secs(10)).await.unwrap();
    let resets: Vec<_> =
        mails.iter().filter(|mail| mail.subject.to_lowercase().contains("password")).collect();
    assert_eq!(resets.len(), 2, "{mails:#?}");
    assert!(resets[0].token().is_some());
    assert_eq!(resets[0].token(), resets[1].token());
    assert_eq!(resets[0].message_id, resets[1].message_id);
    let token = resets[0].token().unwrap();
    recovery::inspect(&desk.pool, desk.clock.now(), &token).await.unwrap();
}

#[tokio::test]
async fn mails_to_nobody_are_done_without_a_mail() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    desk.delete(ada.id).await;
    // Of the deletion there is a notice.
    desk.sql("DELETE FROM outbox; DELETE FROM deletion_notices").await;
    let nobody = Uuid::now_v7();
    for job in [
        Job::SendPasswordChanged { user_id: ada.id },
        Job::SendPasswordChanged { user_id: nobody },
        Job::SendVerification { verification_id: nobody },
        Job::SendPasswordReset { reset_id: nobody },
        Job::SendRefreshReused { session_id: nobody },
        Job::SendFactorAdded { user_id: ada.id },
        Job::SendFactorRemoved { user_id: nobody },
        Job::SendRecoveryCodeUsed { user_id: nobody },
        security_notice(SecurityNotice::DataExported, ada.id),
        security_notice(SecurityNotice::AccountDeleted, ada.id),
    ] {
        let id = desk.promise(&job).await;
        desk.run(id).await;
        assert!(desk.job(id).await.done, "{job:?}");
    }
    desk.run_queue("mail").await;
    assert_eq!(desk.mail.connections(), 0);
}

fn security_notice(notice: SecurityNotice, user_id: Uuid) -> Job {
    Job::SendSecurityNotice { notice, user_id, session_id: None, subject_id: None }
}

/// cases/accounts 24
#[tokio::test]
async fn a_deletion_is_mailed_and_its_address_kept_for_that_alone() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    desk.run_queue("mail").await;
    desk.delete(ada.id).await;
    let rows: String =
        desk.database.value("SELECT string_agg(encode(sealed, 'escape'), ' ') FROM deletion_notices").await;
    assert!(!rows.contains("example.org"), "encrypted: {rows}");
    desk.run_queue("mail").await;
    let mail = desk.mail.mails().pop().unwrap();
    assert_eq!(
        (mail.to.as_slice(), mail.subject.as_str()),
        (&["ada@example.org".to_owned()][..], "Your account was deleted")
    );
    assert_eq!(desk.count("deletion_notices").await, 0);

    // A mail that does not leave within a day is given up, and the address goes.
    let eve = desk.person("eve").await;
    desk.run_queue("mail").await;
    desk.delete(eve.id).await;
    desk.clock.advance(chrono::TimeDelta::hours(25));
    domain::housekeeping::purge(&desk.pool, desk.clock.now()).await.unwrap();
    assert_eq!(desk.count("deletion_notices").await, 0);
    let before = desk.mail.mails().len();
    desk.run_queue("mail").await;
    assert_eq!(desk.mail.mails().len(), before);
    assert_eq!(desk.count("outbox WHERE dead_at IS NOT NULL").await, 0);
}

/// cases/accounts 24
#[tokio::test]
async fn an_operator_may_switch_a_notice_off() {
    let desk = Desk::with(|settings| {
        settings.set("SECURITY_NOTICES_OFF", "data_exported").set("SUPPORT_URL", "mailto:help@trellis.test");
    })
    .await;
    let ada = desk.person("ada").await;
    desk.run_queue("mail").await;
    for notice in [SecurityNotice::DataExported, SecurityNotice::RecoveryCodesRenewed] {
        let job = desk.promise(&security_notice(notice, ada.id)).await;
        desk.run(job).await;
        assert!(desk.job(job).await.done);
    }
    let mails = desk.mail.mails();
    let subjects: Vec<_> = mails.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!(subjects[1..], ["Your recovery codes were renewed"]);
    let text = &mails[1].text;
    assert!(text.contains("mailto:help@trellis.test") && text.contains("/dashboard#account"), "{text}");
}

/// It tells of what happened then, however late it is sent.
#[tokio::test]
async fn a_notice_says_when_it_was_promised_and_how_many_codes_are_left() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let jobs = [
        (Job::SendFactorAdded { user_id: ada.id }, "signing in also takes a code"),
        (Job::SendFactorRemoved { user_id: ada.id }, "signing in takes your password"),
        (Job::SendRecoveryCodeUsed { user_id: ada.id }, "No recovery code is left"),
    ];
    for (job, words) in jobs {
        let id = desk.promise(&job).await;
        desk.clock.advance(chrono::TimeDelta::days(400));
        desk.run(id).await;
        let mail = desk.mail.mails().pop().unwrap();
        let promised: String = desk
            .database
            .value(&format!("SELECT to_char(created_at, 'FMDD FMMonth YYYY') FROM outbox WHERE id = '{id}'"))
            .await;
        assert!(mail.text.contains(words) && mail.text.contains(&format!("{promised} at ")), "{}", mail.text);
    }
}

#[tokio::test]
async fn v1_no_job_carries_an_address_a_name_or_a_token() {
    let desk = Desk::new().await;
    let ada = desk.person("canary").await;
    let friend = desk.friend("canary-friend", &ada).await;
    recovery::request(&desk.pool, desk.clock.now(), HOUR, &"canary@example.org".parse_email(), None)
        .await
        .unwrap();
    desk.mail.script(Rule::reply(Step::Rcpt, 451, "4.7.1 <canary@example.org>: greylisted").times(2));
    desk.run_queue("mail").await;
    desk.let_leases_end().await;
    desk.run_queue("mail").await;
    desk.confirm(friend.id).await;
    desk.run_queue("rewards").await;
    let tokens: Vec<_> = desk.mail.mails().iter().filter_map(testkit::smtp::Mail::token).collect();
    assert_eq!(tokens.len(), 3, "each mail has a link");
    let rows: String = desk.database.value("SELECT string_agg(o::text, '\n') FROM outbox o").await;
    for secret in tokens.iter().map(String::as_str).chain(["canary", "example.org"]) {
        assert!(!rows.contains(secret), "{secret} is in: {rows}");
    }
}

trait ParseEmail {
    fn parse_email(&self) -> domain::accounts::Email;
}

impl ParseEmail for str {
    fn parse_email(&self) -> domain::accounts::Email {
        domain::accounts::Email::parse(self).unwrap()
    }
}
