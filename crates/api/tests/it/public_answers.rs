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

    let (ada, two) = (app.code_of(&ada).await, app.code_of(&unverified).await);
    // Whose name and code are asked for. Only who has confirmed has a page; who has not is like somebody who is not there.
    let everybody = [("qzx-one", &ada), ("qzx-two", &two)];
    let pages = [("qzx-one", &ada), ("qzx-two", &two), ("qzx-six", &two)];
    let rows = table().into_iter().filter(|row| row.access == Access::Public && method(row) == Method::GET);
    let mut seen = 0;
    for row in rows.filter(|row| !row.development) {
        let mut replies = Vec::new();
        let of_page = row.path.contains("{username}");
        for (user, code) in if of_page { &pages[..] } else { &everybody[..] } {
            let fill = |part: &str| match part {
                "{code}" => (*code).clone(),
                part if part.contains("{username}") => part.replace("{username}", user),
                part if part.starts_with('{') => (*user).to_owned(),
                part => part.to_owned(),
            };
            let path = row.path.split('/').map(fill).collect::<Vec<_>>().join("/");
            let reply = app.client().get(&path).await;
            let said = said(&reply).replace(*code, "CODE").replace(user, "USER");
            for secret in &secrets {
                assert!(!said.contains(secret.as_str()), "{path} says {secret}: {said}");
            }
            replies.push((reply.status, said));
            seen += 1;
        }
        // The referral cookie is signed, and so differs with the code; all else is the same for both.
        if of_page {
            assert_eq!(replies[0].0, 200, "{}", row.path);
            assert!(replies[1] == replies[2], "{} tells who registered", row.path);
        } else if row.path != "/r/{code}" {
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
