//! One's account: looking at it, and changing its name.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};

use crate::support::login_status;

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_the_account_that_one_registered() {
    let app = TestApp::start().await;
    let registered = app.register("ada", None).await.expect(201).json();
    let ada = app.login("ada").await;
    let reply = ada.get("/api/me/").await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let mut me = reply.json();
    let alone = me.as_object_mut().unwrap();
    // What a page needs to act for the session, and what the holder alone is to know.
    assert!(alone.remove("csrf_token").unwrap().is_string());
    assert_eq!(alone.remove("email_bounced_at"), Some(Value::Null));
    assert_eq!(me, registered["user"]);
    app.verify("ada").await;
    assert_eq!(ada.get("/api/me/").await.json()["email_verified"], true);
    app.client().get("/api/me/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_changed_to_a_free_one_and_everything_else_stays() {
    let app = TestApp::api_with(|settings| {
        settings.set("USERNAME_CHANGES", "10/30d");
    })
    .await;
    let ada = app.member("ada").await;
    app.register("bill", None).await.expect(201);
    let before = ada.get("/api/me/").await.json();
    for (name, status, code) in [
        ("bill", 409, "username_taken"),
        ("B1LL", 409, "username_taken"),
        ("admin", 422, "validation"),
        ("a", 422, "validation"),
    ] {
        let reply = ada.patch("/api/me/", json!({ "username": name })).await.expect(status);
        assert_eq!(reply.code(), code, "{name}");
    }
    assert_eq!(ada.get("/api/me/").await.json(), before);

    // Its own look-alike is not somebody else's name.
    for name in ["Ada", "ada-lovelace", "ada-l0velace"] {
        let reply = ada.patch("/api/me/", json!({ "username": name })).await.expect(200);
        let mut expected = before.clone();
        expected["username"] = name.to_lowercase().into();
        assert_eq!(ada.get("/api/me/").await.json(), expected);
        for alone in ["csrf_token", "email_bounced_at"] {
            expected.as_object_mut().unwrap().remove(alone);
        }
        assert_eq!(reply.json(), expected);
    }
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    assert_eq!(login_status(&app, "ada-l0velace", PASSWORD).await, 200);
    assert_eq!(login_status(&app, "ada@example.org", PASSWORD).await, 200);
    // A name that was left stays its owner's.
    let body = json!({ "email": "second@example.org", "username": "ada", "password": PASSWORD });
    assert_eq!(app.client().post("/api/register/", body).await.expect(409).code(), "username_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_one_name_at_once_one_gets_it() {
    let app = TestApp::api_only().await;
    let clients = [app.member("ada").await, app.member("bob").await, app.member("carol").await];
    let names = ["same-1", "same-l", "same-I"];
    let renames =
        clients.iter().zip(names).map(|(client, name)| client.patch("/api/me/", json!({ "username": name })));
    let mut statuses: Vec<_> = join_all(renames).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
}
