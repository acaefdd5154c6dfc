//! Registering: what it makes, what it refuses, and which names and addresses count as one.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Reply;

use crate::support::{login_status, raw};

async fn register(app: &TestApp, email: &str, username: &str, password: &str) -> Reply {
    let body = json!({ "email": email, "username": username, "password": password });
    app.client().post("/api/register/", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_makes_an_account_and_does_not_sign_in() {
    let app = TestApp::api_only().await;
    let client = app.client();
    let body = json!({ "email": " Ada@EXAMPLE.org ", "username": "Ada-L", "password": PASSWORD });
    let reply = client.post("/api/register/", body).await.expect(201);
    assert!(!reply.headers.contains_key("set-cookie"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let json = reply.json();
    assert_eq!(json["referral"], Value::Null);
    let user = json["user"].as_object().unwrap();
    let mut names: Vec<_> = user.keys().map(String::as_str).collect();
    names.sort_unstable();
    let documented =
        ["created_at", "email", "email_verified", "id", "referral_code", "referral_url", "role", "username"];
    assert_eq!(names, documented);
    assert_eq!((&user["email"], &user["username"]), (&json!("ada@example.org"), &json!("ada-l")));
    assert_eq!((&user["email_verified"], &user["role"]), (&json!(false), &json!("user")));
    let code = user["referral_code"].as_str().unwrap();
    assert_eq!(user["referral_url"], format!("http://trellis.test/r/{code}"));
    client.get("/api/me/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_passwords_are_argon2id_with_a_salt_each() {
    let app = TestApp::api_only().await;
    for name in ["ada", "bob"] {
        app.register(name, None).await.expect(201);
    }
    let wanted = r"^\$argon2id\$v=19\$m=(19456|[2-9]\d{4,}|\d{6,}),t=([2-9]|\d{2,}),p=[1-9]\d*\$";
    let good: i64 = app
        .database
        .value(&format!("SELECT count(DISTINCT password_hash) FROM users WHERE password_hash ~ '{wanted}'"))
        .await;
    assert_eq!(good, 2);
    let salts: i64 =
        app.database.value("SELECT count(DISTINCT split_part(password_hash, '$', 5)) FROM users").await;
    assert_eq!(salts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_long_unguessable_passwords_are_taken_without_rules_of_composition() {
    let app = TestApp::api_only().await;
    let longest: String = "x9 Kp-".chars().cycle().take(128).collect();
    let too_long = format!("{longest}y");
    let most_bytes = "é".repeat(513);
    let taken =
        ["Vq7-tang", "correct horse battery staple", "пароль-синий-трамвай", "🦀🍉🚲🎻 ямб хорей", &longest];
    for (index, password) in taken.iter().enumerate() {
        let (email, username) = (format!("u{index}@example.org"), format!("user-{index}"));
        register(&app, &email, &username, password).await.expect(201);
        assert_eq!(login_status(&app, &email, password).await, 200, "{password}");
    }
    for (password, code) in [
        ("Vq7-tan", "too_short"),
        (&too_long, "too_long"),
        (&most_bytes, "too_long"),
        ("password", "weak_password"),
        ("Password1", "weak_password"),
        ("12345678", "weak_password"),
        ("qwertyuiop", "weak_password"),
        ("aaaaaaaaaaaa", "weak_password"),
        ("trellis1", "weak_password"),
        ("ada@example.org", "weak_password"),
        ("countess-ada", "weak_password"),
        ("Countess-Ada", "weak_password"),
    ] {
        let reply = register(&app, "ada@example.org", "countess-ada", password).await.expect(422);
        assert_eq!(reply.errors(), [format!("/password {code}")], "{password}");
    }
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users").await, 5);
}

/// Hashing takes several seconds here, so whatever is answered within one was not hashed.
#[tokio::test(flavor = "multi_thread")]
async fn a8_an_endless_password_is_refused_before_it_is_hashed() {
    let app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "65536").set("ARGON2_ITERATIONS", "100");
    })
    .await;
    let over = "a".repeat(1_025);
    let begun = Instant::now();
    register(&app, "ada@example.org", "ada", &over).await.expect(422);
    let body = json!({ "identifier": "nobody", "password": over });
    let reply = app.client().post("/api/login/", body).await.expect(422);
    assert_eq!(reply.errors(), ["/password too_long"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    // A megabyte is refused by its announced length, and without one as soon as 64 KiB are exceeded.
    let head = "POST /api/login/ HTTP/1.1\r\nHost: trellis.test\r\nContent-Type: application/json\r\n";
    let announced =
        format!("{head}Content-Length: 1048576\r\n\r\n{{\"identifier\":\"ada\",\"password\":\"aaaa");
    let chunk = "a".repeat(65_537);
    let streamed = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n", chunk.len());
    for request in [announced, streamed] {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let answer = raw(app.addr, request.as_bytes()).await;
            fastest = fastest.min(begun.elapsed());
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(answer.contains("\"code\":\"payload_too_large\""), "{answer}");
        }
        assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_parallel_registrations_of_one_address_make_one_account() {
    let app = TestApp::api_only().await;
    let replies = join_all((0..50).map(|index| {
        let email = if index % 2 == 0 { "A@x.example" } else { " a@X.example" };
        let body = json!({ "email": email, "username": format!("user-{index}"), "password": PASSWORD });
        let client = app.client();
        async move { client.post("/api/register/", body).await }
    }))
    .await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    let taken = replies.iter().filter(|reply| reply.status == 409 && reply.code() == "email_taken").count();
    assert_eq!((made, taken), (1, 49));
    let rows: i64 = app.database.value("SELECT count(*) FROM users WHERE email = 'a@x.example'").await;
    assert_eq!(rows, 1);
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users").await, 1);
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM email_verifications").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_addresses_that_reach_one_mailbox_by_the_rules_of_dns_are_one() {
    let app = TestApp::api_only().await;
    register(&app, "ada@bücher.example", "ada", PASSWORD).await.expect(201);
    for same in ["ada@xn--bcher-kva.example", "ADA@BÜCHER.example", "ada@bu\u{308}cher.example"] {
        let reply = register(&app, same, "somebody", PASSWORD).await.expect(409);
        assert_eq!(reply.code(), "email_taken", "{same}");
        assert_eq!(login_status(&app, same, PASSWORD).await, 200, "{same}");
    }
    register(&app, "ada+tag@bücher.example", "somebody", PASSWORD).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_read_alike_are_one_and_names_of_the_service_are_nobodys() {
    let app = TestApp::api_only().await;
    register(&app, "bill@example.org", "bill.modern", PASSWORD).await.expect(201);
    for alike in ["bill.modern", "BILL.Modern", "b1ll.modern", "bi1l.modern", "bill.modem", "bill.m0dern"] {
        let reply = register(&app, "other@example.org", alike, PASSWORD).await.expect(409);
        assert_eq!(reply.code(), "username_taken", "{alike}");
    }
    for reserved in
        ["admin", "Admin", "adm1n", "api", "login", "me", "support", "trellis", "tre11is", "rn0derator"]
    {
        let reply = register(&app, "other@example.org", reserved, PASSWORD).await.expect(422);
        let wanted = if reserved == "me" { "too_short" } else { "username_reserved" };
        assert_eq!(reply.errors(), [format!("/username {wanted}")], "{reserved}");
    }
    // Of two parallel registrations of names that read alike, one is made.
    let replies = join_all((0..20).map(|index| {
        let username = if index % 2 == 0 { "carol.1" } else { "carol.l" };
        let body =
            json!({ "email": format!("c{index}@example.org"), "username": username, "password": PASSWORD });
        let client = app.client();
        async move { client.post("/api/register/", body).await }
    }))
    .await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 201 || reply.code() == "username_taken"));
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_nobody_registers_more_than_the_documented_fields() {
    let app = TestApp::api_only().await;
    let body = json!({
        "email": "ada@example.org", "username": "ada", "password": PASSWORD,
        "role": "admin", "credits": 999, "id": "019a0000-0000-7000-8000-000000000001", "email_verified": true,
        "referred_by": "019a0000-0000-7000-8000-000000000001", "user": { "role": "admin" },
    });
    let reply = app.client().post("/api/register/", body).await.expect(422);
    let names = ["credits", "email_verified", "id", "referred_by", "role", "user"];
    assert_eq!(reply.errors(), names.map(|name| format!("/{name} unknown_field")));
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users").await, 0);

    let ada = app.member("ada").await;
    let reply = ada.patch("/api/me/", json!({ "username": "ada", "role": "admin" })).await.expect(422);
    assert_eq!(reply.errors(), ["/role unknown_field"]);
    assert_eq!(ada.get("/api/me/").await.json()["role"], "user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_link_of_any_kind_never_stands_in_the_way() {
    let app = TestApp::api_only().await;
    let bob = app.register("bob", None).await.expect(201).json();
    let (code, id) = (bob["user"]["referral_code"].as_str().unwrap(), bob["user"]["id"].as_str().unwrap());
    let long = "x".repeat(3_000);
    let good = ["", "-"].map(|between| format!("{}{between}{}", &code[..5], &code[5..]));
    for (index, (link, leads)) in [
        (good[0].as_str(), true),
        (good[1].as_str(), true),
        (id, true),
        ("", false),
        ("0000000000", false),
        ("019a0000-0000-7000-8000-000000000001", false),
        ("%00", false),
        ("%0d%0aSet-Cookie:x=1", false),
        ("%ff%fe", false),
        ("'%20OR%201=1--", false),
        (&long, false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user-{index}");
        let body = json!({ "email": format!("{name}@example.org"), "username": name, "password": PASSWORD });
        let reply = app.client().post(&format!("/api/register/?referral={link}"), body).await.expect(201);
        let expected = if leads { json!({ "status": "pending" }) } else { Value::Null };
        assert_eq!(reply.json()["referral"], expected, "{link}");
    }
    // A code that was typed is another matter: it can be mended.
    let body = json!({ "email": "eve@example.org", "username": "eve", "password": PASSWORD,
                       "referral_code": "0000000000" });
    let reply = app.client().post("/api/register/", body).await.expect(422);
    assert_eq!(reply.errors(), ["/referral_code invalid_referral_code"]);
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users WHERE username = 'eve'").await, 0);
}
