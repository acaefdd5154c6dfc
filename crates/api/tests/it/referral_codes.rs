//! Referral codes: how they are made, looked at and followed.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

/// A key that is fixed, and what it makes of `ada@example.org` with n = 0, 1 and 2. Computed apart from this code, with
/// Python's hmac, sha256 (a secret becomes a key by it) and Crockford's alphabet.
const KEY: &str = "p5Xw9rTq2LkV7nBz4HsD8fJc1GmY6aQe";
const CANDIDATES: [&str; 3] = ["ad9n3sx7t8", "kkngt534y1", "pthn6exgg7"];

async fn app_with_key() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("REFERRAL_KEY", KEY);
    })
    .await
}

async fn register(app: &TestApp, email: &str, username: &str) -> Value {
    let body = json!({ "email": email, "username": username, "password": PASSWORD });
    app.client().post("/api/register/", body).await.expect(201).json()["user"].clone()
}

/// Somebody holds this code, whatever the address.
async fn occupy(app: &TestApp, code: &str) {
    let statement = format!(
        "INSERT INTO users (id, username, username_key, email, referral_code, created_at)
         VALUES (gen_random_uuid(), '{code}', '{code}', '{code}@example.org', '{code}', now())"
    );
    app.database.batch_execute(&statement).await.unwrap();
}

async fn is_valid(client: &Client, code: &str) -> bool {
    let reply = client.get(&format!("/api/referral-codes/{code}/")).await.expect(200).json();
    let valid = reply["valid"].as_bool().unwrap();
    assert_eq!(reply, json!({ "valid": valid }), "nothing but that");
    valid
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_a_code_is_the_keyed_hash_of_the_normalised_address() {
    let app = app_with_key().await;
    let user = register(&app, "  Ada@EXAMPLE.org ", "ada").await;
    assert_eq!(user["referral_code"], CANDIDATES[0]);
    assert_eq!(user["referral_url"], format!("http://trellis.test/r/{}", CANDIDATES[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_a_code_that_is_taken_gives_way_to_the_next_candidate() {
    let app = app_with_key().await;
    occupy(&app, CANDIDATES[0]).await;
    assert_eq!(register(&app, "ada@example.org", "ada").await["referral_code"], CANDIDATES[1]);

    let app = app_with_key().await;
    occupy(&app, CANDIDATES[0]).await;
    occupy(&app, CANDIDATES[1]).await;
    assert_eq!(register(&app, "ada@example.org", "ada").await["referral_code"], CANDIDATES[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_a_stored_code_survives_a_new_key_and_a_new_name() {
    let mut app = app_with_key().await;
    let ada = app.member("ada").await;
    ada.patch("/api/me/", json!({ "username": "countess" })).await.expect(200);
    app.settings.set("REFERRAL_KEY", "another-Xw9rTq2LkV7nBz4HsD8fJc1GmY6");
    let (second, _handle) = app.second_api().await;
    let second = format!("http://{second}");
    for client in [ada.clone(), ada.at(&second)] {
        assert_eq!(client.get("/api/me/").await.expect(200).json()["referral_code"], CANDIDATES[0]);
        let stats = client.get("/api/referral-stats/").await.expect(200).json();
        assert_eq!(stats["referral_code"], CANDIDATES[0]);
        assert!(is_valid(&client, CANDIDATES[0]).await);
    }
    let body = json!({ "email": "bob@example.org", "username": "bob", "password": PASSWORD,
                       "referral_code": CANDIDATES[0] });
    let reply = Client::new(&second).post("/api/register/", body).await.expect(201).json();
    assert_eq!(reply["referral"]["status"], "pending", "the old code works under the new key");
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_the_code_of_a_deleted_account_is_retired_for_ever() {
    let app = app_with_key().await;
    let ada = app.member("ada").await;
    assert!(is_valid(&app.client(), CANDIDATES[0]).await);
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    assert!(!is_valid(&app.client(), CANDIDATES[0]).await);
    let again = register(&app, "ada@example.org", "ada-again").await;
    assert_eq!(again["referral_code"], CANDIDATES[1], "the address comes back, its code does not");
    assert!(!is_valid(&app.client(), CANDIDATES[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_read_as_people_type_them() {
    let app = TestApp::api_only().await;
    // A code with all that is folded.
    occupy(&app, "a01b01c01d").await;
    let client = app.client();
    for typed in ["a01b01c01d", "A01B01C01D", "aOlbOicoId", "a-01b-01c-01d", "%20a01b01c01d%20", "aolb0Ic0LD"]
    {
        assert!(is_valid(&client, typed).await, "{typed}");
    }
    let long = "a".repeat(2_000);
    for typed in [
        "a01b01c01",
        "a01b01c01dd",
        "u01b01c01d",
        "0000000000",
        "a01b01c01d%00",
        "%D0%B001b01c01d",
        "-",
        "%2F",
        "..",
        long.as_str(),
        "'%20OR%201=1",
        "%0d%0a",
    ] {
        // Those that are no path segment at all have no such route.
        let reply = client.get(&format!("/api/referral-codes/{typed}/")).await;
        match reply.status {
            200 => assert_eq!(reply.json(), json!({ "valid": false }), "{typed}"),
            404 => assert_eq!(reply.code(), "not_found", "{typed}"),
            _ => panic!("{typed}: {reply:?}"),
        }
    }
    app.database.batch_execute("UPDATE users SET blocked_at = now()").await.unwrap();
    assert!(!is_valid(&client, "a01b01c01d").await, "nobody is brought by a blocked account");
}

/// Where a link leads, which must be `/register` and nowhere else.
fn led_to(reply: &Reply) -> String {
    let location = reply.header("location").expect("it leads somewhere");
    assert!(location == "/register" || location.starts_with("/register?referral="), "{location}");
    location.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_referral_link_leads_to_our_own_page_whatever_is_added_to_it() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let home = format!("/register?referral={code}");
    let client = app.client();
    for evil in [
        "//evil.example",
        "%2F%2Fevil.example",
        "https://evil.example",
        "https:evil.example",
        "\\\\evil.example",
        "%5C%5Cevil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "%0d%0aLocation:%20https://evil.example",
        "",
    ] {
        for parameter in ["next", "referral", "url", "redirect_to", "return"] {
            let reply = client.get(&format!("/r/{code}?{parameter}={evil}")).await.expect(302);
            assert_eq!(led_to(&reply), home, "{parameter}={evil}");
        }
        let reply = client.get(&format!("/r/{evil}")).await;
        match reply.status {
            302 => assert_eq!(led_to(&reply), "/register", "{evil}"),
            404 => assert!(reply.header("location").is_none(), "{evil}"),
            _ => panic!("{evil}: {reply:?}"),
        }
        assert!(reply.header("set-cookie").is_none(), "{evil}");
    }
    let hosts =
        client.with_header("X-Forwarded-Host", "evil.example").with_header("Forwarded", "host=evil.example");
    assert_eq!(led_to(&hosts.get(&format!("/r/{code}")).await.expect(302)), home);
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_unknown_and_malformed_codes_lead_to_the_same_page_without_a_cookie() {
    let app = TestApp::api_only().await;
    let client = app.client();
    for (code, home) in
        [("0123456789", "/register?referral=0123456789"), ("nope", "/register"), ("%20", "/register")]
    {
        let reply = client.get(&format!("/r/{code}")).await.expect(302);
        assert_eq!(led_to(&reply), home);
        assert!(reply.header("set-cookie").is_none());
    }
    let visits: i64 = app.database.value("SELECT count(*) FROM referral_days").await;
    assert_eq!(visits, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sets_a_signed_cookie_for_thirty_days_and_counts_each_visit_once() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let friend = app.client();
    let visits = async || -> i64 {
        app.database.value("SELECT coalesce(sum(visits), 0)::bigint FROM referral_days").await
    };
    let head = friend.send(Method::HEAD, &format!("/r/{code}"), None, &[]).await.expect(302);
    assert_eq!(led_to(&head), format!("/register?referral={code}"));
    assert_eq!(visits().await, 0, "a HEAD is no visit: mail scanners and previews send them");
    assert!(friend.cookie("referral").is_none());

    let reply = friend.get(&format!("/r/{code}")).await.expect(302);
    assert_eq!(visits().await, 1);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let cookie = friend.cookie("referral").unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"] {
        assert!(cookie.line.contains(attribute), "{attribute} is missing in: {}", cookie.line);
    }
    assert!(!cookie.line.contains("Domain"), "{}", cookie.line);
    for spelling in [code.to_uppercase(), format!("{}-{}", &code[..5], &code[5..]), format!("{code}/")] {
        friend.get(&format!("/r/{spelling}")).await.expect(302);
    }
    assert_eq!(visits().await, 4);
    assert_eq!(ada.get("/api/referral-stats/").await.expect(200).json()["clicks"], 4);

    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let stranger = app.client();
    let reply = stranger.get(&format!("/r/{code}")).await.expect(302);
    assert_eq!(led_to(&reply), format!("/register?referral={code}"), "like any code that leads to nobody");
    assert!(stranger.cookie("referral").is_none());
    assert_eq!(visits().await, 4);
}
