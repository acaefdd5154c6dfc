//! A code works once, wherever and however many try at once, and is not guessed.

use chrono::TimeDelta;
use futures_util::future::join_all;
use testkit::app::TestApp;
use testkit::client::Client;

use super::{FACTORS, Owner, RECOVERY_CODES, TOTP, challenge, count_events, second_half, sign_in, with_code};
use crate::support::count_mails;

#[tokio::test(flavor = "multi_thread")]
async fn s4_a_code_and_every_earlier_one_is_refused_once_it_was_taken() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    // The code that confirmed the app is taken too.
    let first = ada.authenticator.code(&app);
    assert_eq!(sign_in(&app, "ada", &first).await.expect(401).code(), "invalid_code");
    let step = TimeDelta::seconds(30);
    let at = |steps: i32| ada.authenticator.code_at(app.clock.now() + step * steps);
    app.clock.advance(step * 3);
    let (before, present, after) = (at(-1), at(0), at(1));
    sign_in(&app, "ada", &present).await.expect(200);
    for used in [&present, &before] {
        assert_eq!(sign_in(&app, "ada", used).await.expect(401).code(), "invalid_code");
    }
    sign_in(&app, "ada", &after).await.expect(200);
    assert_eq!(sign_in(&app, "ada", &present).await.expect(401).code(), "invalid_code");
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_the_clock_of_the_app_may_differ_by_one_step() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    for (steps, status) in [(-3, 401), (-2, 401), (2, 401), (3, 401), (-1, 200), (0, 200), (1, 200)] {
        // Far enough for the codes before to be of earlier steps; from the middle of a step, so that none ends meanwhile.
        let into = app.clock.now().timestamp().rem_euclid(30);
        app.clock.advance(TimeDelta::seconds(30 * 5 + 10 - into));
        let code = ada.authenticator.code_at(app.clock.now() + TimeDelta::seconds(30 * steps));
        assert_eq!(sign_in(&app, "ada", &code).await.status, status, "{steps}");
    }
}

/// Twenty browsers at two replicas in turn.
async fn all_at_once(app: &TestApp, username: &str, code: &str) -> Vec<u16> {
    let other = app.replica_with(|_| {}).await;
    let mut halves = Vec::new();
    for index in 0..20 {
        let base = if index % 2 == 0 { app.base() } else { other.base() };
        let client = app.client().at(&base);
        let challenge = challenge(&client, username).await;
        halves.push((client, challenge));
    }
    let finished =
        join_all(halves.iter().map(|(client, challenge)| second_half(client, challenge, code))).await;
    let mut signed_in = 0;
    for (client, _) in &halves {
        signed_in += usize::from(client.get("/api/me/").await.status == 200);
    }
    let statuses: Vec<u16> = finished.iter().map(|reply| reply.status).collect();
    assert_eq!(signed_in, statuses.iter().filter(|status| **status == 200).count());
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_of_twenty_uses_of_one_code_at_two_replicas_one_signs_in() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let mut statuses = all_at_once(&app, "ada", &ada.authenticator.next_code(&app)).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[401; 19]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_of_twenty_uses_of_one_recovery_code_at_two_replicas_one_signs_in() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let mut statuses = all_at_once(&app, "ada", &ada.recovery_codes[3]).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[401; 19]].concat());
    assert_eq!(count_events(&app, "recovery_code_used", "account").await, 1);
    let mails = "SELECT count(*) FROM outbox WHERE kind = 'mail.recovery_code_used'";
    assert_eq!(app.database.value::<i64>(mails).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_recovery_codes_work_once_each_and_the_owner_is_told() {
    let app = TestApp::start().await;
    let ada = Owner::new(&app, "ada").await;
    let bob = Owner::new(&app, "bob").await;
    sign_in(&app, "ada", &ada.recovery_codes[0]).await.expect(200);
    let refused = async |code: &str| {
        assert_eq!(sign_in(&app, "ada", code).await.expect(401).code(), "invalid_code", "{code}");
    };
    refused(&ada.recovery_codes[0]).await;
    refused(&bob.recovery_codes[0]).await;
    // As people type them.
    sign_in(&app, "ada", &ada.recovery_codes[1].to_uppercase().replace('-', " ")).await.expect(200);
    assert_eq!(ada.client.get(FACTORS).await.expect(200).json()["recovery_codes_left"], 8);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "A recovery code was used"), 2);
    assert_eq!(count_mails(&app, "bob@example.org", "A recovery code was used"), 0);
    let mails = app.mail.mails();
    let told = mails.iter().filter(|mail| mail.subject.contains("A recovery code was used"));
    assert!(
        told.clone().all(|mail| mail.text.contains("8 recovery codes are left") || mail.text.contains("9 "))
    );
    for code in &ada.recovery_codes {
        assert!(mails.iter().all(|mail| !mail.text.contains(code)));
    }
    // What Ada's guesses took from Bob: nothing.
    sign_in(&app, "bob", &bob.recovery_codes[0]).await.expect(200);
}

async fn limited() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on").set("TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await
}

/// From a network of its own.
fn from(app: &TestApp, base: &str, network: usize) -> Client {
    app.client().at(base).with_header("X-Forwarded-For", &format!("198.51.{network}.7"))
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_guesses_are_limited_by_account_at_all_replicas_and_keep_no_owner_out() {
    let app = limited().await;
    let other = app.replica_with(|_| {}).await;
    app.register("ada", None).await.expect(201);
    let before_enrolment = app.login("ada").await.cookie("device").unwrap().value;
    let ada = Owner::enrolled(&app, app.login("ada").await).await;
    let wrong = ada.authenticator.wrong_code(&app);
    let mut curve = Vec::new();
    for index in 0..10 {
        let base = if index % 2 == 0 { app.base() } else { other.base() };
        let client = from(&app, &base, index);
        let challenge = challenge(&client, "ada").await;
        let reply = second_half(&client, &challenge, &wrong).await;
        if reply.status == 429 {
            assert_eq!(reply.code(), "rate_limited");
            let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert!(reply.header("ratelimit-policy").unwrap().contains("\"factor-account\";q=5;w=300"));
        }
        curve.push(reply.status);
    }
    assert_eq!(curve, [&[401; 5][..], &[429; 5]].concat());
    assert_eq!(
        count_events(&app, "factor_failed", "unknown").await,
        5,
        "what is turned away is not looked at"
    );

    // The right code is not looked at either, from where guesses come from.
    let stranger = from(&app, &app.base(), 50);
    let challenge_of_stranger = challenge(&stranger, "ada").await;
    let code = ada.authenticator.next_code(&app);
    second_half(&stranger, &challenge_of_stranger, &code).await.expect(429);
    // So it is from a browser that was known once, before what ended all sessions: its cookie counts no more.
    let outdated = from(&app, &app.base(), 51);
    outdated.set_cookie("device", &before_enrolment);
    second_half(&outdated, &challenge_of_stranger, &code).await.expect(429);
    // A browser that she signed in with since has tries of its own.
    ada.client.post_empty("/api/logout/").await.expect(204);
    let known = challenge(&ada.client, "ada").await;
    second_half(&ada.client, &known, &code).await.expect(200);
    // And anywhere a recovery code lets her in.
    second_half(&stranger, &challenge_of_stranger, &ada.recovery_codes[0]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_whoever_is_signed_in_guesses_no_more_often_and_right_codes_are_not_counted() {
    let app = limited().await;
    let ada = Owner::new(&app, "ada").await;
    for _ in 0..8 {
        let code = ada.authenticator.next_code(&app);
        sign_in(&app, "ada", &code).await.expect(200);
    }
    let body = with_code(&ada.authenticator.wrong_code(&app));
    let mut statuses = Vec::new();
    for index in 0..8 {
        let reply = match index % 2 {
            0 => ada.client.delete(TOTP, body.clone()).await,
            _ => ada.client.post(RECOVERY_CODES, body.clone()).await,
        };
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(count_events(&app, "factor_failed", "unknown").await, 5);
}

/// cases/accounts 26
#[tokio::test(flavor = "multi_thread")]
async fn s5_a_day_of_guesses_keeps_no_owner_out() {
    // Redis counts by its own clock: the limit of minutes is widened, so that the one of the day is met.
    let file = std::env::temp_dir().join(format!("trellis-limits-{}", std::process::id()));
    std::fs::write(&file, "factor-account 100/5m\n").unwrap();
    let app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on").set("TRUSTED_PROXIES", "127.0.0.0/8");
        settings.set("LIMITS_FILE", file.to_str().unwrap());
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    let ada = Owner::new(&app, "ada").await;
    let wrong = ada.authenticator.wrong_code(&app);
    let eve = from(&app, &app.base(), 1);
    let challenge_of_eve = challenge(&eve, "ada").await;
    let mut curve = Vec::new();
    for _ in 0..22 {
        curve.push(second_half(&eve, &challenge_of_eve, &wrong).await.status);
    }
    assert_eq!(curve, [&[401; 20][..], &[429; 2]].concat());
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(second_half(&eve, &challenge_of_eve, "000000-000000-000000-000000").await.status);
    }
    assert_eq!(codes, [&[401; 10][..], &[429; 2]].concat());

    // In a session, even in a browser that is not known.
    let known = ada.client.cookie("device").unwrap().value;
    ada.client.set_cookie("device", "x");
    ada.client.post(RECOVERY_CODES, with_code(&ada.authenticator.next_code(&app))).await.expect(200);
    // In a known browser.
    let browser = from(&app, &app.base(), 2);
    browser.set_cookie("device", &known);
    let challenge = challenge(&browser, "ada").await;
    let reply = second_half(&browser, &challenge, &ada.authenticator.next_code(&app)).await.expect(200);
    let policies = reply.header("ratelimit-policy").unwrap();
    assert_eq!(policies, "\"factor-browser\";q=5;w=300, \"factor-browser-day\";q=20;w=86400");
}

/// cases/accounts 26
#[tokio::test(flavor = "multi_thread")]
async fn s5_wrong_recovery_codes_elsewhere_keep_no_owner_out() {
    let app = limited().await;
    let ada = Owner::new(&app, "ada").await;
    let eve = from(&app, &app.base(), 1);
    let challenge_of_eve = challenge(&eve, "ada").await;
    for status in [&[401; 10][..], &[429; 2]].concat() {
        second_half(&eve, &challenge_of_eve, "000000-000000-000000-000000").await.expect(status);
    }
    let elsewhere = from(&app, &app.base(), 2);
    let challenge = challenge(&elsewhere, "ada").await;
    second_half(&elsewhere, &challenge, &ada.recovery_codes[0]).await.expect(200);
}
