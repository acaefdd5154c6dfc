//! What anybody may read gives away no address, no internal id, and not who has confirmed.

use api::routes::{Access, table};
use domain::token::Token;
use reqwest::Method;
use testkit::app::TestApp;
use testkit::client::Reply;

use crate::support::{assert_alike, method};

/// Everything that an answer says, its headers too; without the request's id, which is a UUID of its own.
fn said(reply: &Reply) -> String {
    let headers = reply.headers.iter().filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    let mut lines: Vec<_> = headers
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines.push(reply.text());
    lines.join("\n").replace(reply.header("x-request-id").unwrap(), "REQUEST-ID").to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_public_answers_hold_no_address_no_id_and_no_word_of_who_has_confirmed() {
    let app = TestApp::start().await;
    // Names that no page has by chance, and as long as each other.
    let ada = app.member("qzx-one").await;
    app.verify("qzx-one").await;
    let unverified = app.member("qzx-two").await;
    app.register("bob", Some(&app.code_of(&ada).await)).await.expect(201);
    app.jobs_done().await;
    // The documentation has addresses of its own as examples.
    app.database.batch_execute("UPDATE users SET email = username || '@hidden.invalid'").await.unwrap();
    let ids =
        "SELECT id::text FROM users UNION SELECT id::text FROM sessions UNION SELECT id::text FROM referrals";
    let mut secrets: Vec<String> =
        app.database.query(ids, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(secrets.len() >= 6);
    secrets.push("hidden.invalid".to_owned());

    let codes = [("confirmed", app.code_of(&ada).await), ("not confirmed", app.code_of(&unverified).await)];
    let rows = table().into_iter().filter(|row| row.access == Access::Public && method(row) == Method::GET);
    let mut seen = 0;
    for row in rows.filter(|row| !row.development) {
        let mut replies = Vec::new();
        for (who, code) in &codes {
            let user = if *who == "confirmed" { "qzx-one" } else { "qzx-two" };
            let fill = |part: &str| match part {
                "{code}" => code.clone(),
                "@{username}" => format!("@{user}"),
                part if part.starts_with('{') => user.to_owned(),
                part => part.to_owned(),
            };
            let path = row.path.split('/').map(fill).collect::<Vec<_>>().join("/");
            let reply = app.client().get(&path).await;
            let said = said(&reply).replace(code, "CODE").replace(user, "USER");
            for secret in &secrets {
                assert!(!said.contains(secret.as_str()), "{path} says {secret}: {said}");
            }
            replies.push((reply.status, said));
            seen += 1;
        }
        if row.path.contains("{username}") {
            // Who has not confirmed has no page, as if there were nobody.
            let path = row.path.replace("{username}", "qzx-six");
            let reply = app.client().get(&path).await.expect(404);
            let nobody = (404, said(&reply).replace("qzx-six", "USER"));
            assert_eq!((replies[0].0, &replies[1]), (200, &nobody), "{} tells who is there", row.path);
        } else if row.path != "/r/{code}" {
            // The referral cookie is signed, and so differs with the code; all else is the same for both.
            assert_eq!(replies[0], replies[1], "{} tells who has confirmed", row.path);
        }
    }
    assert!(seen > 20, "{seen} answers were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_somebody_who_has_not_confirmed_a_registration_shows_nowhere() {
    let mut app = TestApp::api_with(|settings| {
        settings.set("REGISTRATION", "verified");
    })
    .await;
    app.start_worker();
    let body = serde_json::json!({ "email": "ada@example.org", "username": "ada" });
    app.client().post("/api/register/", body).await.expect(202);
    app.jobs_done().await;
    let client = app.client();
    let login = |name: &str| serde_json::json!({ "identifier": name, "password": "Vq7-tangerine-kiln" });
    let replies = [
        ("pending", client.post("/api/login/", login("ada@example.org")).await),
        ("pending, by name", client.post("/api/login/", login("ada")).await),
        ("nobody", client.post("/api/login/", login("nobody@example.org")).await),
    ];
    assert_alike(&replies).expect(401);
    let forgot = |email: &str| serde_json::json!({ "email": email });
    let replies = [
        ("pending", client.post("/api/forgot-password/", forgot("ada@example.org")).await),
        ("nobody", client.post("/api/forgot-password/", forgot("nobody@example.org")).await),
    ];
    assert_alike(&replies).expect(202);
    let unknown = Token::random().expose();
    let body = serde_json::json!({ "token": unknown, "password": "Vq7-tangerine-kiln" });
    client.post("/api/register/confirm/", body).await.expect(400);
}
