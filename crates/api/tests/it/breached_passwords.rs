//! Asking whether a password is known from a breach: what is sent, what is refused, and that nobody waits for the answer.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::breaches::{Answer, RangeServer};

use crate::support::OTHER_PASSWORD;

/// SHA-1 of [`PASSWORD`] and [`OTHER_PASSWORD`], computed apart from this code with sha1sum.
const DIGESTS: [&str; 2] =
    ["8BA91441FBD067BA5DBE466515FE41151004F439", "0EEECAF98074F337D5CE149D6F53B1FF0ABF20CE"];

async fn app(ranges: &RangeServer) -> TestApp {
    let url = ranges.url();
    TestApp::api_with(|settings| {
        settings
            .set("PASSWORD_BREACH_URL", &url)
            .set("ARGON2_MEMORY_KIB", "64")
            .set("ARGON2_ITERATIONS", "1");
    })
    .await
}

/// A list as the service sends it: the digest's end, seen `count` times, among others.
fn list(digest: &str, count: u32) -> Answer {
    let suffix = &digest[5..];
    Answer::Body(format!(
        "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n{suffix}:{count}\r\n00D4F6E8FA6EECAD2A3AA415EEC418D38EC:2\r\n"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_a_breached_password_is_refused_wherever_one_is_chosen_and_five_digits_are_sent() {
    let ranges = RangeServer::start().await;
    let mut app = app(&ranges).await;
    app.start_worker();
    ranges.answer(list(DIGESTS[0], 3));
    let reply = app.register("ada", None).await.expect(422);
    assert_eq!(reply.errors(), ["/password weak_password"]);
    assert!(reply.text().contains("breach"), "{}", reply.text());
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users").await, 0);
    // Padding, and lists without it.
    ranges.answer(list(DIGESTS[0], 0));
    let ada = app.member("ada").await;

    ranges.answer(list(DIGESTS[1], 1));
    let change = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    let reply = ada.post("/api/me/password/", change).await.expect(422);
    assert_eq!(reply.errors(), ["/password weak_password"]);
    let token = crate::support::reset_token(&app, "ada").await;
    let reply = crate::support::reset(&app, &token, OTHER_PASSWORD).await.expect(422);
    assert_eq!(reply.errors(), ["/password weak_password"]);
    ranges.answer(Answer::Body(String::new()));
    crate::support::reset(&app, &token, OTHER_PASSWORD).await.expect(204);

    let requests = ranges.requests();
    assert_eq!(requests.len(), 5, "signing in asks nobody: {requests:#?}");
    for request in requests {
        let digest =
            DIGESTS.iter().find(|digest| request.starts_with(&format!("GET /range/{} HTTP", &digest[..5])));
        let digest = digest.unwrap_or_else(|| panic!("{request}"));
        let lower = request.to_lowercase();
        assert!(lower.contains("add-padding: true"), "{request}");
        for secret in [&digest[5..], &digest[..6], PASSWORD, OTHER_PASSWORD, "ada", "cookie", "authorization"]
        {
            assert!(!lower.contains(&secret.to_lowercase()), "{secret} in {request}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_a_range_service_that_fails_in_whatever_way_stands_in_nobodys_way() {
    let ranges = RangeServer::start().await;
    let app = app(&ranges).await;
    let suffix = &DIGESTS[0][5..];
    for (index, answer) in [
        Answer::Status("500 Internal Server Error"),
        Answer::Status("429 Too Many Requests"),
        Answer::Status("301 Moved Permanently"),
        Answer::Body("<html>It works!</html>".to_owned()),
        Answer::Body(format!("{suffix}:3\r\n<html>")),
        Answer::Garbage,
        Answer::Close,
        Answer::Endless,
        Answer::Stall,
    ]
    .into_iter()
    .enumerate()
    {
        ranges.answer(answer.clone());
        let begun = Instant::now();
        app.register(&format!("user-{index}"), None).await.expect(201);
        assert!(begun.elapsed() < Duration::from_secs(5), "{answer:?} took {:?}", begun.elapsed());
    }
    assert_eq!(ranges.requests().len(), 9);
    drop(ranges);
    app.register("nobody-listens", None).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_nobody_is_asked_unless_that_is_configured() {
    let ranges = RangeServer::start().await;
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    assert_eq!(ranges.requests(), [""; 0]);
}
