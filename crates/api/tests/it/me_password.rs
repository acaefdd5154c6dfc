//! Changing the password while signed in.

use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::dump;

use crate::support::{Bearer, OTHER_PASSWORD, count_mails, login_status, refresh};

const CHANGED: &str = "Your password was changed";

#[tokio::test(flavor = "multi_thread")]
async fn t7_changing_the_password_keeps_this_session_and_ends_every_other() {
    let app = TestApp::start().await;
    let here = app.member("ada").await;
    let elsewhere = app.login("ada").await;
    let bearer = Bearer::login(&app, "ada").await;
    let bob = app.member("bob").await;
    for client in [&here, &elsewhere, &bearer.client] {
        client.get("/api/me/").await.expect(200);
    }
    let body = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    here.post("/api/me/password/", body).await.expect(204);

    elsewhere.get("/api/me/").await.expect(401);
    elsewhere.post_empty("/api/token/refresh/").await.expect(401);
    bearer.client.get("/api/me/").await.expect(401);
    refresh(&app, &bearer.refresh).await.expect(401);
    here.get("/api/me/").await.expect(200);
    here.post_empty("/api/token/refresh/").await.expect(200);
    here.get("/api/me/").await.expect(200);
    bob.get("/api/me/").await.expect(200);

    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    assert_eq!(login_status(&app, "ada", OTHER_PASSWORD).await, 200);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", CHANGED), 1);
    assert_eq!(count_mails(&app, "bob@example.org", CHANGED), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_changed_without_the_present_one_or_to_a_weak_one() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let other = app.login("ada").await;
    let before = dump::tables(&app.database, &["last_seen_at", "generation", "due_at"]).await;
    let wrong = json!({ "current_password": OTHER_PASSWORD, "password": OTHER_PASSWORD });
    let reply = ada.post("/api/me/password/", wrong).await.expect(401);
    assert_eq!(reply.code(), "invalid_credentials");
    for (password, code) in
        [("short", "too_short"), ("password1", "weak_password"), ("ada@example.org", "weak_password")]
    {
        let body = json!({ "current_password": PASSWORD, "password": password });
        let reply = ada.post("/api/me/password/", body).await.expect(422);
        assert_eq!(reply.errors(), [format!("/password {code}")], "{password}");
    }
    assert_eq!(dump::tables(&app.database, &["last_seen_at", "generation", "due_at"]).await, before);
    other.get("/api/me/").await.expect(200);
    ada.get("/api/me/").await.expect(200);
}

/// Of parallel changes that were all checked against one old password, one counts.
#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_changes_one_wins_and_its_password_is_the_one() {
    let app = TestApp::api_only().await;
    let mut clients = vec![app.member("ada").await];
    for _ in 0..4 {
        clients.push(app.login("ada").await);
    }
    let changes = clients.iter().enumerate().map(|(index, client)| {
        let body = json!({ "current_password": PASSWORD, "password": format!("{OTHER_PASSWORD}-{index}") });
        async move { client.post("/api/me/password/", body).await.status }
    });
    let statuses = join_all(changes).await;
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 401].contains(status)), "{statuses:?}");
    for (index, (client, status)) in clients.iter().zip(&statuses).enumerate() {
        let won = *status == 204;
        let expected = if won { 200 } else { 401 };
        assert_eq!(client.get("/api/me/").await.status, expected);
        assert_eq!(login_status(&app, "ada", &format!("{OTHER_PASSWORD}-{index}")).await, expected);
    }
}
