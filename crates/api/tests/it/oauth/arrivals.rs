//! People who are new here: what they are called, who brought them, and that each has one account.

use chrono::TimeDelta;
use domain::accounts::{Email, Reserved};
use domain::audit::Trace;
use domain::identities::{self, IdentityError, Newcomer, Profile};
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::TestApp;
use testkit::client::Client;
use testkit::provider::{Person, Provider};

use super::trip::{app, back_at, begin, callback, sign_in};

async fn referral(app: &TestApp, username: &str) -> Option<(String, String)> {
    let sql = "SELECT r.status, r.reason FROM referrals r JOIN users u ON u.id = r.referred_user_id
               WHERE u.username = $1";
    let row = app.database.query_opt(sql, &[&username]).await.unwrap();
    row.map(|row| (row.get(0), row.get(1)))
}

async fn arrive(app: &TestApp, provider: &Provider, name: &str, browser: &Client, query: &str) {
    provider.is_good_with(Person::new(name));
    sign_in(app, browser, provider, "acme", query).await.expect(303);
}

fn pending(waits_for: &str) -> (String, String) {
    ("pending".to_owned(), waits_for.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_the_code_survives_the_way_to_the_provider_and_back_however_it_came() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let id = ada.get("/api/me/").await.json()["id"].as_str().unwrap().to_owned();

    arrive(&app, &provider, "by-link", &app.client(), &format!("?referral={code}")).await;
    assert_eq!(referral(&app, "by-link").await, Some(pending("awaiting_settlement")));
    arrive(&app, &provider, "by-id", &app.client(), &format!("?referral={id}")).await;
    assert_eq!(referral(&app, "by-id").await, Some(pending("awaiting_settlement")));
    arrive(&app, &provider, "by-typing", &app.client(), &format!("?referral_code={}", code.to_uppercase()))
        .await;
    assert_eq!(referral(&app, "by-typing").await, Some(pending("awaiting_settlement")));
    let browser = app.client();
    browser.get(&format!("/r/{code}")).await.expect(302);
    arrive(&app, &provider, "by-cookie", &browser, "").await;
    assert_eq!(referral(&app, "by-cookie").await, Some(pending("awaiting_settlement")));

    // What was typed comes before a link, and a link before the cookie.
    let grace = app.code_of(&app.member("grace").await).await;
    let browser = app.client();
    browser.get(&format!("/r/{grace}")).await.expect(302);
    arrive(&app, &provider, "last", &browser, &format!("?referral={grace}&referral_code={code}")).await;
    let sql = "SELECT r.username FROM users u JOIN users r ON r.id = u.referred_by WHERE u.username = 'last'";
    assert_eq!(app.database.value::<String>(sql).await, "ada");

    // A code that was typed wrong is said at once; one of a link stands in nobody's way.
    let reply = app.client().get("/api/oauth/acme/start?referral_code=0000000000").await.expect(422);
    assert_eq!(reply.errors(), ["?referral_code invalid_referral_code"]);
    arrive(&app, &provider, "by-nobody", &app.client(), "?referral=0000000000").await;
    assert_eq!(referral(&app, "by-nobody").await, None);
    arrive(&app, &provider, "by-noise", &app.client(), &format!("?referral={}", "x".repeat(900))).await;
    assert_eq!(referral(&app, "by-noise").await, None);
    // Whoever is here already is brought by nobody any more.
    arrive(&app, &provider, "by-nobody", &app.client(), &format!("?referral={code}")).await;
    assert_eq!(referral(&app, "by-nobody").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_an_address_that_the_provider_vouches_for_makes_the_referral_count_at_once() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    arrive(&app, &provider, "bob", &app.client(), &format!("?referral={code}")).await;
    let stats = app.stats_when(&ada, |stats| stats["successful"] == 1).await;
    assert_eq!(stats["rewards"]["credits"], "10.00");
    assert_eq!(
        crate::support::count_mails(&app, "bob@example.org", "Confirm"),
        0,
        "nothing is left to confirm"
    );

    // One that it does not vouch for waits for the mail.
    provider.is_good_with(Person { email_verified: false, ..Person::new("carol") });
    sign_in(&app, &app.client(), &provider, "acme", &format!("?referral={code}")).await.expect(303);
    app.jobs_done().await;
    assert_eq!(referral(&app, "carol").await, Some(pending("awaiting_verification")));
    app.verify("carol").await;
    app.stats_when(&ada, |stats| stats["successful"] == 2).await;
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_nobody_brings_themselves_by_way_of_a_provider() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let rejected = |reason: &str| Some(("rejected".to_owned(), reason.to_owned()));
    // With a session here, and with the memory of one.
    arrive(&app, &provider, "second", &ada, &format!("?referral={code}")).await;
    assert_eq!(referral(&app, "second").await, rejected("self_referral_same_browser"));
    let browser = app.login("ada").await;
    browser.post_empty("/api/logout/").await.expect(204);
    arrive(&app, &provider, "third", &browser, &format!("?referral={code}")).await;
    assert_eq!(referral(&app, "third").await, rejected("self_referral_same_browser"));
    // With the same mailbox under another spelling.
    provider.is_good_with(Person { email: Some("ada+x@example.org".to_owned()), ..Person::new("fourth") });
    sign_in(&app, &app.client(), &provider, "acme", &format!("?referral={code}")).await.expect(303);
    assert_eq!(referral(&app, "fourth").await, rejected("self_referral_same_email"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_one_account_however_many_browsers_arrive_at_once() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let replica = app.replica_with(|_| {}).await;
    let mut ways = Vec::new();
    for n in 0..12 {
        let browser = app.client();
        let browser = if n % 2 == 0 { browser } else { browser.at(&replica.base()) };
        let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
        ways.push((browser, path));
    }
    let replies = join_all(ways.iter().map(|(browser, path)| callback(browser, path))).await;
    assert!(replies.iter().all(|reply| reply.status == 303), "{replies:?}");
    let counts = app.database.query_one("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM identities), (SELECT count(*) FROM sessions)", &[]).await.unwrap();
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, i64>(1), counts.get::<_, i64>(2)), (1, 1, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_a_name_that_is_valid_and_free() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    app.register("ada", None).await.expect(201);
    // All want one name, at once.
    let mut ways = Vec::new();
    for n in 0..6 {
        let person = Person {
            subject: format!("ada-{n}"),
            email: Some(format!("ada@host-{n}.example")),
            ..Person::new("Ada")
        };
        provider.is_good_with(person);
        let browser = app.client();
        let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
        ways.push((browser, path));
    }
    provider.is_good_with(Person::new("unused"));
    let replies = join_all(ways.iter().map(|(browser, path)| callback(browser, path))).await;
    assert!(replies.iter().all(|reply| reply.status == 303), "{replies:?}");
    for (name, email, wanted) in [
        ("admin", "grace@example.org", "grace"),
        ("\u{5d0}\u{5d1}", "x@example.org", "user-"),
        ("<script>", "s@example.org", "script"),
    ] {
        let person = Person { email: Some(email.to_owned()), ..Person::new(name) };
        provider.is_good_with(person);
        let browser = app.client();
        sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
        let me = browser.get("/api/me/").await.json();
        assert!(me["username"].as_str().unwrap().starts_with(wanted), "{name}: {me}");
        // It may be changed as any other.
        let changed = browser.patch("/api/me/", json!({ "username": format!("{wanted}x1") })).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_an_address_that_had_an_account_before_is_nobody_new() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let code = app.code_of(&app.member("ada").await).await;
    let browser = app.client();
    arrive(&app, &provider, "bob", &browser, "").await;
    browser.delete("/api/me/", json!({})).await.expect(202);
    let identities: i64 = app.database.value("SELECT count(*) FROM identities").await;
    assert_eq!(identities, 0, "what links to a deleted account is gone");
    // The same person comes back as somebody new, who counts for nobody.
    let browser = app.client();
    arrive(&app, &provider, "bob", &browser, &format!("?referral={code}")).await;
    let name = browser.get("/api/me/").await.json()["username"].as_str().unwrap().to_owned();
    assert_ne!(name, "bob", "the name stays reserved");
    let rejected = Some(("rejected".to_owned(), "email_of_deleted_account".to_owned()));
    assert_eq!(referral(&app, &name).await, rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_where_addresses_are_confirmed_first_the_provider_has_to_vouch_for_them() {
    let provider = Provider::start().await;
    let app = super::trip::app_with(&provider, |settings| {
        settings.set("REGISTRATION", "verified");
    })
    .await;
    arrive(&app, &provider, "ada", &app.client(), "").await;
    for name in ["ada", "nobody"] {
        let unknown = format!("another-{name}");
        provider.is_good_with(Person { email_verified: false, subject: unknown, ..Person::new(name) });
        let reply = sign_in(&app, &app.client(), &provider, "acme", "").await.expect(422);
        assert_eq!(reply.code(), "email_missing", "{name}");
    }
}

/// The same, without the way to the provider.
#[tokio::test(flavor = "multi_thread")]
async fn a5_an_address_that_nobody_vouches_for_does_not_tell_whether_it_has_an_account() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    app.register("ada", None).await.expect(201);
    let config = api::Config::read(app.settings.settings()).unwrap();
    let (keys, policy) = (&config.common.keys, config.common.referrals);
    let newcomer = Newcomer {
        claim: None,
        known_as: Vec::new(),
        confirmation: TimeDelta::hours(48),
        may_be_unverified: false,
        reserved: Reserved::default(),
    };
    for (name, email_verified) in [("ada", false), ("nobody", false), ("grace", true)] {
        let profile = Profile {
            provider: "acme".to_owned(),
            issuer: provider.issuer().to_owned(),
            subject: name.to_owned(),
            email: Some(Email::parse(&format!("{name}@example.org")).unwrap()),
            email_verified,
            names: vec![name.to_owned()],
        };
        let (pool, now) = (app.database.pool(1), app.clock.now());
        let arrival =
            identities::sign_in(&pool, now, keys, policy, &profile, &newcomer, &Trace::default()).await;
        match arrival {
            Ok(arrival) => assert!(email_verified && arrival.registered.is_some(), "{name}"),
            Err(IdentityError::EmailMissing) => assert!(!email_verified, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}
