//! Asking for a reset mail: what the asker learns (nothing), and what is mailed, how often, and with which link.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use domain::token::Token;
use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::app::TestApp;
use testkit::dump;
use testkit::redis::RedisServer;
use testkit::smtp::{Rule, Step};

use crate::support::{
    OTHER_PASSWORD, RESET, assert_alike, forgot, hex, reset, reset_token, tokens, wait_for_tokens,
};
use crate::timing::{Medians, PAIRS};

#[tokio::test(flavor = "multi_thread")]
async fn r1_nobody_learns_whether_an_address_has_an_account() {
    let app = TestApp::start().await;
    app.register("ada", None).await.expect(201);
    let deleted = app.member("deleted").await;
    deleted.delete("/api/me/", json!({ "password": testkit::app::PASSWORD })).await.expect(202);
    let mut replies = Vec::new();
    for (name, address) in [
        ("known", "ada@example.org"),
        ("known, written otherwise", " ADA@Example.org "),
        ("unknown", "nobody@example.org"),
        ("of a host that is not there", "ada@no-such-host.invalid"),
        ("deleted", "deleted@example.org"),
    ] {
        replies.push((name, forgot(&app, address).await));
    }
    let reply = assert_alike(&replies).expect(202);
    assert_eq!(reply.text(), "");
    wait_for_tokens(&app, "ada@example.org", RESET, 1).await;
    app.jobs_done().await;
    let written: Vec<_> = app.mail.mails().into_iter().filter(|mail| mail.text.contains(RESET)).collect();
    assert!(written.iter().all(|mail| mail.to == ["ada@example.org"]), "{written:#?}");
    // Whose address it was is not kept for those who have no account.
    assert_eq!(dump::holding(&app.database, "nobody@example.org").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_it_takes_as_long_for_an_unknown_address_and_does_not_wait_for_mail() {
    let mut app = TestApp::api_only().await;
    app.mail.script(Rule::stall(Step::Connect));
    app.start_worker();
    app.register("ada", None).await.expect(201);
    let client = app.client();
    let ask = |address: &'static str| {
        let client = client.clone();
        async move { client.post("/api/forgot-password/", json!({ "email": address })).await.expect(202) }
    };
    for unknown in ["nobody@example.org", "ada@no-such-host.invalid"] {
        let medians = Medians::of(PAIRS, || ask("ada@example.org"), || ask(unknown)).await;
        assert!(!medians.differ(), "{unknown}: {medians:?}");
    }
    app.mail.behave();
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_a_reset_token_is_256_bits_and_is_nowhere_but_in_the_mail() {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let mut app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", url.expose_secret());
    })
    .await;
    app.register("ada", None).await.expect(201);
    forgot(&app, "ada@example.org").await.expect(202);
    let mut connection = redis.connection().await.unwrap();
    // The queue is looked into while the job is in it, and after.
    let mut held = testkit::app::eventually("the jobs are queued", async || {
        let held = dump::redis(&mut redis.connection().await.unwrap()).await;
        let ids: String =
            app.database.value("SELECT string_agg(id::text, ' ') FROM outbox WHERE done_at IS NULL").await;
        let queued = |id: &str| held.iter().any(|value| value.contains(id));
        if ids.split(' ').all(queued) { Ok(held) } else { Err(format!("{held:?}")) }
    })
    .await;
    app.start_worker();
    let token = wait_for_tokens(&app, "ada@example.org", RESET, 1).await.remove(0);
    held.extend(dump::redis(&mut connection).await);
    app.jobs_done().await;
    held.extend(dump::redis(&mut connection).await);

    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    assert_eq!(bytes.len(), 32);
    for secret in [&token, &hex(&bytes)] {
        assert_eq!(dump::holding(&app.database, secret).await, [""; 0]);
        assert!(!held.iter().any(|value| value.contains(secret)));
    }
    assert!(!held.iter().any(|value| value.contains("ada@example.org")), "V1: Redis holds ids only");
    let digest = Token::parse(&token).unwrap().digest();
    assert_eq!(
        dump::holding(&app.database, &hex(digest.as_slice())).await.len(),
        1,
        "what would be found is found"
    );
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_links_lead_to_our_own_address_whatever_a_request_says() {
    let app = TestApp::api_with(|settings| {
        settings.set("TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await;
    let mut app = app;
    app.start_worker();
    let evil = "evil.example";
    let client = app
        .client()
        .with_header("Host", evil)
        .with_header("X-Forwarded-Host", evil)
        .with_header("X-Forwarded-Proto", "gopher")
        .with_header("X-Forwarded-Server", evil)
        .with_header("X-Original-Host", evil)
        .with_header("X-Original-URL", "https://evil.example/")
        .with_header("Forwarded", "host=evil.example;proto=gopher");
    let body = json!({ "email": "ada@example.org", "username": "ada", "password": testkit::app::PASSWORD });
    let reply = client.post("/api/register/", body).await.expect(201);
    assert!(!reply.text().contains("evil"), "{}", reply.text());
    client.post("/api/forgot-password/", json!({ "email": "ada@example.org" })).await.expect(202);
    let reply = client.post("/api/verify-email/", json!({ "token": "x" })).await.expect(400);
    assert!(!reply.text().contains("evil"), "{}", reply.text());
    let mails = app.mail.wait_for(2, testkit::app::PATIENCE).await.unwrap();
    for mail in &mails {
        assert!(!String::from_utf8_lossy(&mail.raw).contains("evil"), "{mail:#?}");
        assert!(
            mail.links().iter().all(|link| link.starts_with("http://trellis.test/")),
            "{:?}",
            mail.links()
        );
    }
    let token = wait_for_tokens(&app, "ada@example.org", RESET, 1).await.remove(0);
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
}

/// cases/accounts 6: a request while a link is good sends the same link again, and nothing that others ask for takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn r4_r8_a_stranger_who_asks_takes_no_link_away() {
    let app = TestApp::start().await;
    app.register("ada", None).await.expect(201);
    let token = reset_token(&app, "ada").await;
    for _ in 0..9 {
        forgot(&app, "ada@example.org").await.expect(202);
    }
    app.jobs_done().await;
    assert_eq!(tokens(&app, "ada@example.org", RESET), [token.clone(), token.clone(), token.clone()]);
    // A stranger asks once more just before the end, and the holder just after it.
    app.clock.advance(TimeDelta::minutes(59));
    forgot(&app, "ada@example.org").await.expect(202);
    app.jobs_done().await;
    assert_eq!(tokens(&app, "ada@example.org", RESET).len(), 3);
    crate::support::reset(&app, &token, "short").await.expect(422);
    app.clock.advance(TimeDelta::minutes(1));
    let next = reset_token(&app, "ada").await;
    assert_ne!(next, token);
    reset(&app, &token, OTHER_PASSWORD).await.expect(400);
    reset(&app, &next, OTHER_PASSWORD).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_an_address_is_mailed_three_links_an_hour_at_most_whoever_asks() {
    let mut app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    // All wait when the worker starts, so that it works on several at once.
    for reply in join_all((0..12).map(|_| forgot(&app, "ada@example.org"))).await {
        reply.expect(202);
    }
    app.start_worker();
    app.jobs_done().await;
    let sent = tokens(&app, "ada@example.org", RESET).len();
    assert!((1..=3).contains(&sent), "{sent} mails");

    app.clock.advance(TimeDelta::minutes(61));
    reset_token(&app, "ada").await;
}

/// cases/accounts 5
#[tokio::test(flavor = "multi_thread")]
async fn r8_a_network_is_told_of_its_limit_and_a_carrier_fits_it() {
    let mut app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on");
    })
    .await;
    let names: Vec<String> = (0..12).map(|index| format!("user-{index}")).collect();
    for name in &names {
        app.register(name, None).await.expect(201);
        forgot(&app, &format!("{name}@example.org")).await.expect(202);
    }
    app.start_worker();
    app.jobs_done().await;
    for name in &names {
        assert_eq!(tokens(&app, &format!("{name}@example.org"), RESET).len(), 1, "{name}");
    }
    for index in 12..100 {
        forgot(&app, &format!("nobody-{index}@example.org")).await.expect(202);
    }
    // With an account or without, the refusal is one of the network.
    let mut refused = Vec::new();
    while refused.len() < 2 {
        let address = ["user-0@example.org", "nobody@example.org"][refused.len()];
        let reply = forgot(&app, address).await;
        if reply.status == 429 {
            assert_eq!(reply.code(), "rate_limited");
            let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=36).contains(&wait), "{wait}");
            refused.push(reply);
        }
    }
    for reply in &refused {
        assert_eq!(reply.json()["violated-policies"], json!(["forgot-password-address"]));
        assert_eq!(reply.header("ratelimit-policy"), Some("\"forgot-password-address\";q=100;w=3600"));
    }
}

/// The limit of an address is silent, with an account or without: else it would tell what others asked for.
#[tokio::test(flavor = "multi_thread")]
async fn r8_the_limit_of_an_address_is_silent() {
    let mut app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on");
    })
    .await;
    app.register("ada", None).await.expect(201);
    for _ in 0..6 {
        let known = forgot(&app, "ada@example.org").await;
        let unknown = forgot(&app, "nobody@example.org").await;
        for reply in [&known, &unknown] {
            assert_eq!((reply.status, reply.text().as_str()), (202, ""));
            assert_eq!(reply.header("ratelimit-policy"), Some("\"forgot-password-address\";q=100;w=3600"));
        }
    }
    app.start_worker();
    app.jobs_done().await;
    let sent = tokens(&app, "ada@example.org", RESET).len();
    assert!((1..=3).contains(&sent), "{sent} mails");
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_no_field_adds_a_header_or_a_recipient_to_a_mail() {
    let app = TestApp::start().await;
    for email in [
        "ada@example.org\r\nBcc: eve@evil.example",
        "ada@example.org\nBcc: eve@evil.example",
        "ada@example.org%0d%0aBcc: eve@evil.example",
        "ada@example.org,eve@evil.example",
        "ada@example.org;eve@evil.example",
        "ada@example.org eve@evil.example",
        "<ada@example.org>",
        "\"ada\r\n\"@example.org",
        "ada@example.org\u{2028}Bcc: eve@evil.example",
    ] {
        let reply = forgot(&app, email).await.expect(422);
        assert!(reply.errors()[0].starts_with("/email "), "{email:?}: {:?}", reply.errors());
        let body = json!({ "email": email, "username": "ada", "password": testkit::app::PASSWORD });
        let reply = app.client().post("/api/register/", body).await.expect(422);
        assert!(reply.errors()[0].starts_with("/email "), "{email:?}: {:?}", reply.errors());
    }
    for username in ["ada\r\nBcc: eve@evil.example", "ada\nSubject: x", "ada\u{85}x"] {
        let body =
            json!({ "email": "ada@example.org", "username": username, "password": testkit::app::PASSWORD });
        let reply = app.client().post("/api/register/", body).await.expect(422);
        assert_eq!(reply.errors(), ["/username invalid_character"], "{username:?}");
    }
    app.register("ada", None).await.expect(201);
    reset_token(&app, "ada").await;
    app.jobs_done().await;
    for mail in app.mail.mails() {
        assert_eq!(
            (&mail.to, &mail.recipients),
            (&vec!["ada@example.org".to_owned()], &mail.to),
            "{mail:#?}"
        );
        assert!(mail.header("bcc").is_empty() && mail.header("cc").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_a_job_that_is_delivered_twice_mails_the_same_good_link_twice() {
    let app = TestApp::start().await;
    app.register("ada", None).await.expect(201);
    let token = reset_token(&app, "ada").await;
    app.jobs_done().await;
    // As after a worker that died between the mail and its note of it.
    let changed = app
        .database
        .execute(
            "UPDATE outbox SET done_at = NULL, leased_until = NULL, lease_token = NULL, due_at = now()
             WHERE kind = 'mail.password_reset'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(changed, 1);
    let both = wait_for_tokens(&app, "ada@example.org", RESET, 2).await;
    assert_eq!(both, [token.clone(), token.clone()]);
    let mails = app.mail.mails();
    let ids: Vec<_> =
        mails.iter().filter(|mail| mail.text.contains(RESET)).map(|mail| &mail.message_id).collect();
    assert_eq!(ids[0], ids[1], "a mail program shows one");
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
}

/// Nobody waits for a mail for ever: requests that ran out while no worker ran are closed, and forget the address.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ran_out_before_a_worker_saw_it_mails_nothing_and_keeps_no_address() {
    let mut app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    forgot(&app, "ada@example.org").await.expect(202);
    forgot(&app, "nobody@example.org").await.expect(202);
    app.clock.advance(TimeDelta::minutes(61));
    app.start_worker();
    app.jobs_done().await;
    assert_eq!(tokens(&app, "ada@example.org", RESET).len(), 0);
    let held: i64 = app.database.value("SELECT count(*) FROM password_resets WHERE email IS NOT NULL").await;
    assert_eq!(held, 0);
}
