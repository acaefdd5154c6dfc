//! What an attacker, a careless provider or a wrong turn may bring back (A17).

use chrono::TimeDelta;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Client;
use testkit::provider::{CLIENT_ID, Person, Provider, Signature};

use super::trip::{app, attempt_cookie, back_at, begin, callback, sign_in};

async fn nobody_got_in(app: &TestApp, what: &str) {
    let counts = "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM identities)
                       + (SELECT count(*) FROM users)";
    assert_eq!(app.database.value::<i64>(counts).await, 0, "{what}");
}

async fn refused(app: &TestApp, browser: &Client, path: &str, expected: (u16, &str), what: &str) {
    let reply = callback(browser, path).await;
    assert_eq!((reply.status, reply.code().as_str()), expected, "{what}: {}", reply.text());
    assert!(browser.cookie("access_token").is_none(), "{what}");
    nobody_got_in(app, what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_missing_foreign_or_late_state_is_refused() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let invalid = (400, "invalid_state");
    let (victim, attacker) = (app.client(), app.client());
    let begun = begin(&victim, "acme", "").await;
    let good = back_at(&provider, &begun).await;
    let (path, state) = good.rsplit_once("&state=").unwrap();

    refused(&app, &victim, path, invalid, "no state").await;
    refused(&app, &victim, &format!("{path}&state="), invalid, "an empty state").await;
    refused(&app, &victim, &format!("{path}&state={}", &state[1..]), invalid, "another state").await;
    refused(&app, &victim, &format!("{path}&state=x&state={state}"), invalid, "two states").await;
    refused(&app, &app.client(), &good, invalid, "another browser").await;

    // The attacker's own way back, with code and state, in the browser of the victim: a forged sign-in.
    let forged = back_at(&provider, &begin(&attacker, "acme", "").await).await;
    refused(&app, &victim, &forged, invalid, "the attacker's state").await;
    refused(&app, &app.client(), &forged, invalid, "the attacker's state, without a cookie").await;

    // The state of another provider.
    let mixed = good.replace("/acme/", "/github/");
    refused(&app, &victim, &mixed, invalid, "another provider's callback").await;

    // A cookie that somebody wrote, or changed.
    let (name, cookie) = attempt_cookie(&victim);
    let (text, mac) = cookie.split_once('.').unwrap();
    let flipped = format!("{}A.{mac}", &text[..text.len() - 1]);
    for forged in
        [text, "x", &flipped, &format!("{text}."), &format!("{text}.{}", &mac[1..]), &format!(".{mac}")]
    {
        let browser = app.client();
        browser.set_cookie(&name, forged);
        refused(&app, &browser, &good, invalid, "a forged cookie").await;
    }

    // None of it has used the state up; time does.
    app.clock.advance(TimeDelta::seconds(601));
    refused(&app, &victim, &good, invalid, "too late").await;
    assert_eq!(provider.count("/token"), 0, "no code was shown to the provider");
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_state_that_was_used_is_refused_for_good_also_when_its_sign_in_failed() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let browser = app.client();
    let begun = begin(&browser, "acme", "").await;
    let thief = browser.stolen();
    let path = back_at(&provider, &begun).await;
    callback(&browser, &path).await.expect(303);
    let again = callback(&thief, &path).await.expect(400);
    assert_eq!(again.code(), "invalid_state");
    // With a code of its own, too: the state is what counts.
    let fresh = back_at(&provider, &begun).await;
    callback(&thief, &fresh).await.expect(400);
    assert!(thief.cookie("access_token").is_none());

    let browser = app.client();
    let begun = begin(&browser, "acme", "").await;
    let path = back_at(&provider, &begun).await;
    provider.now(|now| now.signature = Signature::Broken);
    callback(&browser, &path).await.expect(401);
    provider.is_good_with(Person::new("ada"));
    callback(&browser, &back_at(&provider, &begun).await).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_code_that_was_stolen_or_planted_is_of_no_use() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let (victim, attacker) = (app.client(), app.client());
    // The attacker saw the victim's code, and brings it back with a state of their own: the verifier is another.
    let stolen = back_at(&provider, &begin(&victim, "acme", "").await).await;
    let own = back_at(&provider, &begin(&attacker, "acme", "").await).await;
    let with = |path: &str, state_of: &str| {
        let (code, _) = path.rsplit_once("&state=").unwrap();
        format!("{code}&state={}", state_of.rsplit_once("&state=").unwrap().1)
    };
    let refusal = (401, "provider_refused");
    refused(&app, &attacker, &with(&stolen, &own), refusal, "a stolen code").await;
    // The attacker's code in the victim's browser, with the victim's state.
    let planted = back_at(&provider, &begin(&attacker, "acme", "").await).await;
    refused(&app, &victim, &with(&planted, &stolen), refusal, "a planted code").await;
    for (query, what) in [("", "no code"), ("&code=", "an empty code"), ("&code=nonsense", "an unknown code")]
    {
        let browser = app.client();
        let begun = begin(&browser, "acme", "").await;
        let path = format!("/api/oauth/acme/callback?state={}{query}", begun["state"]);
        refused(&app, &browser, &path, refusal, what).await;
    }
    let browser = app.client();
    let begun = begin(&browser, "acme", "").await;
    let long = format!("/api/oauth/acme/callback?state={}&code={}", begun["state"], "x".repeat(4_097));
    refused(&app, &browser, &long, refusal, "a code without end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_an_id_token_that_is_not_for_this_sign_in_lets_nobody_in() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let now = app.clock.now().timestamp();
    let claims = [
        ("another nonce", json!({ "nonce": "another" })),
        ("no nonce", json!({ "nonce": null })),
        ("another audience", json!({ "aud": "another-client" })),
        ("no audience", json!({ "aud": null })),
        ("an audience beside us", json!({ "aud": [CLIENT_ID, "another-client"] })),
        ("another authorised party", json!({ "azp": "another-client" })),
        ("another issuer", json!({ "iss": "https://evil.example" })),
        ("our issuer with a slash", json!({ "iss": format!("{}/", provider.issuer()) })),
        ("no issuer", json!({ "iss": null })),
        ("expired", json!({ "exp": now - 60 })),
        ("no expiry", json!({ "exp": null })),
        ("of the future", json!({ "iat": now + 3_600, "exp": now + 7_200 })),
        ("no subject", json!({ "sub": null })),
        ("an empty subject", json!({ "sub": "" })),
        ("a subject without end", json!({ "sub": "x".repeat(256) })),
        ("a subject of control characters", json!({ "sub": "a\u{0}b" })),
        ("another access token", json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" })),
        ("a subject that is a number", json!({ "sub": 1 })),
    ];
    let refusal = (401, "provider_refused");
    for (what, changes) in claims {
        provider.is_good_with(Person::new("ada"));
        provider.now(|now| now.claims = changes);
        let browser = app.client();
        let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
        refused(&app, &browser, &path, refusal, what).await;
    }
    for signature in [
        Signature::None,
        Signature::ClientSecret,
        Signature::PublicKey,
        Signature::OtherKey,
        Signature::UnpublishedKey,
        Signature::Broken,
    ] {
        provider.is_good_with(Person::new("ada"));
        provider.now(|now| now.signature = signature);
        let browser = app.client();
        let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
        refused(&app, &browser, &path, refusal, &format!("{signature:?}")).await;
    }
    for (what, tokens) in [
        ("no ID token", json!({ "id_token": null })),
        ("an ID token that is none", json!({ "id_token": "x.y.z" })),
        ("an ID token of five parts", json!({ "id_token": "a.b.c.d.e" })),
        ("an ID token that is a number", json!({ "id_token": 7 })),
        ("no access token", json!({ "access_token": null })),
        ("another access token", json!({ "access_token": "another" })),
        ("a token of another kind", json!({ "token_type": ["Bearer"] })),
    ] {
        provider.is_good_with(Person::new("ada"));
        provider.now(|now| now.tokens = Some(tokens));
        let browser = app.client();
        let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
        refused(&app, &browser, &path, refusal, what).await;
    }
    let failed: i64 =
        app.database.value("SELECT count(*) FROM security_events WHERE event = 'sign_in_failed'").await;
    assert_eq!(failed, 18 + 6 + 7, "each is on record");
    // And nothing of this keeps the person out.
    provider.is_good_with(Person::new("ada"));
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_an_answer_of_another_issuer_is_refused() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let invalid = (400, "invalid_state");
    for names in ["https://evil.example", "http://trellis.test", ""] {
        provider.is_good_with(Person::new("ada"));
        provider.now(|now| now.names = Some(names.to_owned()));
        let browser = app.client();
        let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
        if names.is_empty() {
            callback(&browser, &path).await.expect(303);
            continue;
        }
        refused(&app, &browser, &path, invalid, names).await;
    }
    // A provider that says it always names itself has to.
    provider.is_good_with(Person::new("ada"));
    provider.now(|now| now.metadata = json!({ "authorization_response_iss_parameter_supported": true }));
    app.clock.advance(TimeDelta::minutes(61));
    let browser = app.client();
    let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
    callback(&browser, &path).await.expect(400);
    provider.now(|now| now.names = Some(provider.issuer().to_owned()));
    let browser = app.client();
    provider.now(|now| now.claims = times(&app));
    callback(&browser, &back_at(&provider, &begin(&browser, "acme", "").await).await).await.expect(303);
}

/// The times of a token by the clock of the test.
fn times(app: &TestApp) -> Value {
    let now = app.clock.now().timestamp();
    json!({ "iat": now, "exp": now + 300 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_an_address_alone_never_opens_the_account_of_somebody_else() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    app.register("ada", None).await.expect(201);
    let taken = |reply: testkit::client::Reply| assert_eq!(reply.expect(409).code(), "email_taken");

    // Somebody who says at the provider that Ada's address is theirs.
    let evil = Person { email_verified: false, subject: "evil".to_owned(), ..Person::new("ada") };
    provider.is_good_with(evil.clone());
    let browser = app.client();
    taken(sign_in(&app, &browser, &provider, "acme", "").await);
    assert!(browser.cookie("access_token").is_none());
    // Ada at the provider, while the account here is still anybody's who typed her address.
    provider.is_good_with(Person::new("ada"));
    taken(sign_in(&app, &app.client(), &provider, "acme", "").await);
    // In other letters it is the same address.
    provider.is_good_with(Person { email: Some(" ADA@Example.ORG".to_owned()), ..evil.clone() });
    taken(sign_in(&app, &app.client(), &provider, "acme", "").await);
    let identities: i64 = app.database.value("SELECT count(*) FROM identities").await;
    assert_eq!(identities, 0);

    // Once Ada confirmed hers, the provider's word is as good; nobody else's is.
    app.verify("ada").await;
    provider.is_good_with(evil);
    taken(sign_in(&app, &app.client(), &provider, "acme", "").await);
    provider.is_good_with(Person::new("ada"));
    let browser = app.client();
    sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    assert_eq!(browser.get("/api/me/").await.json()["username"], "ada");
    app.jobs_done().await;
    assert_eq!(crate::support::count_mails(&app, "ada@example.org", "new way to sign in"), 1);
    let body = json!({ "identifier": "ada", "password": PASSWORD });
    app.client().post("/api/login/", body).await.expect(200);
    let events = browser.get("/api/me/security-events/").await.json();
    let linked =
        events["items"].as_array().unwrap().iter().filter(|event| event["event"] == "identity_linked");
    assert_eq!(linked.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_an_address_that_the_provider_does_not_vouch_for_makes_an_account_that_has_to_confirm_it() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    provider.is_good_with(Person { email_verified: false, ..Person::new("ada") });
    let browser = app.client();
    sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    assert_eq!(browser.get("/api/me/").await.json()["email_verified"], false);
    app.verify_in(&browser, "ada").await;
    assert_eq!(browser.get("/api/me/").await.json()["email_verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_the_user_info_counts_for_the_subject_of_the_id_token_only() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    provider.now(|now| {
        now.by_user_info = true;
        now.user_info = json!({ "sub": "somebody-else" });
    });
    let browser = app.client();
    let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
    refused(&app, &browser, &path, (401, "provider_refused"), "somebody else's user info").await;
    provider.now(|now| now.user_info = json!({ "email_verified": "true" }));
    let browser = app.client();
    sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    let me = browser.get("/api/me/").await.json();
    assert_eq!((&me["username"], &me["email_verified"]), (&json!("ada"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_blocked_account_is_opened_by_no_provider() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    app.database.batch_execute("UPDATE users SET blocked_at = now()").await.unwrap();
    let browser = app.client();
    let reply = sign_in(&app, &browser, &provider, "acme", "").await.expect(403);
    assert_eq!(reply.code(), "account_blocked");
    assert!(browser.cookie("access_token").is_none());
    // Nor is a second account made with its address.
    provider.is_good_with(Person { subject: "another".to_owned(), ..Person::new("ada") });
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(409);
}
