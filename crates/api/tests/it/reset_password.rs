//! Setting a new password with the token of a mail: once, in time, and only while nothing newer happened.

use chrono::TimeDelta;
use domain::token::Token;
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Reply;

use crate::support::{
    Bearer, OTHER_PASSWORD, RESET, VERIFY, assert_alike, count_mails, forgot, login_status, refresh, reset,
    reset_token, wait_for_tokens,
};
use crate::timing::{Medians, PAIRS};

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.register("ada", None).await.expect(201);
    app
}

fn assert_invalid(reply: Reply) {
    assert_eq!(reply.expect(400).code(), "invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_of_twenty_uses_of_one_token_one_sets_the_password() {
    let app = start().await;
    let token = reset_token(&app, "ada").await;
    let passwords: Vec<String> = (0..20).map(|index| format!("{OTHER_PASSWORD}-{index}")).collect();
    let replies = join_all(passwords.iter().map(|password| reset(&app, &token, password))).await;
    let won: Vec<_> = replies.iter().zip(&passwords).filter(|(reply, _)| reply.status == 204).collect();
    assert_eq!(won.len(), 1, "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    for reply in replies.iter().filter(|reply| reply.status != 204) {
        assert_invalid(reply.clone());
    }
    assert_eq!(login_status(&app, "ada", won[0].1).await, 200);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "Your password was changed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_token_is_good_for_an_hour() {
    let app = start().await;
    let token = reset_token(&app, "ada").await;
    app.clock.advance(TimeDelta::minutes(59));
    // A password that is refused spends nothing.
    reset(&app, &token, "password1").await.expect(422);
    reset(&app, &token, "ada@example.org").await.expect(422);
    app.clock.advance(TimeDelta::minutes(2));
    assert_invalid(reset(&app, &token, OTHER_PASSWORD).await);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 200);
    let token = reset_token(&app, "ada").await;
    app.clock.advance(TimeDelta::minutes(59));
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
}

/// The lifetime is a setting, and the mails of the quota are counted over no longer than that.
#[tokio::test(flavor = "multi_thread")]
async fn r4_a_short_lifetime_leaves_no_gap_either() {
    let mut app = TestApp::api_with(|settings| {
        settings.set("RESET_LINK_LIFETIME", "15m");
    })
    .await;
    app.start_worker();
    app.register("ada", None).await.expect(201);
    let mut token = reset_token(&app, "ada").await;
    for _ in 0..2 {
        assert_eq!(reset_token(&app, "ada").await, token);
    }
    app.clock.advance(TimeDelta::minutes(15));
    assert_invalid(reset(&app, &token, OTHER_PASSWORD).await);
    token = reset_token(&app, "ada").await;
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_sign_in_and_a_new_password_void_a_token() {
    let app = start().await;
    let newer = reset_token(&app, "ada").await;
    let ada = app.login("ada").await;
    assert_invalid(reset(&app, &newer, OTHER_PASSWORD).await);

    let token = reset_token(&app, "ada").await;
    let body = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    ada.post("/api/me/password/", body).await.expect(204);
    assert_invalid(reset(&app, &token, PASSWORD).await);
    assert_eq!(login_status(&app, "ada", OTHER_PASSWORD).await, 200);

    // A failed sign-in voids nothing, and neither does somebody else's success.
    app.clock.advance(TimeDelta::hours(1));
    let token = reset_token(&app, "ada").await;
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    app.member("bob").await;
    reset(&app, &token, PASSWORD).await.expect(204);
}

/// Jobs may run in any order: the younger request's mail may be made first. All mails carry one link.
#[tokio::test(flavor = "multi_thread")]
async fn r4_one_link_is_mailed_in_whatever_order_jobs_run() {
    let mut app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    for _ in 0..2 {
        forgot(&app, "ada@example.org").await.expect(202);
    }
    let put_off = "UPDATE outbox SET due_at = 'infinity', leased_until = 'infinity' WHERE id =
                   (SELECT id FROM outbox WHERE kind = 'mail.password_reset' ORDER BY id LIMIT 1)";
    assert_eq!(app.database.execute(put_off, &[]).await.unwrap(), 1);
    let [newer] = first_tokens(&mut app).await;
    let go = "UPDATE outbox SET due_at = now(), leased_until = NULL WHERE done_at IS NULL";
    app.database.execute(go, &[]).await.unwrap();
    app.jobs_done().await;
    let all = crate::support::tokens(&app, "ada@example.org", RESET);
    assert_eq!(all, [newer.clone(), newer.clone()]);
    reset(&app, &newer, OTHER_PASSWORD).await.expect(204);
}

async fn first_tokens<const N: usize>(app: &mut TestApp) -> [String; N] {
    app.start_worker();
    wait_for_tokens(app, "ada@example.org", RESET, N).await.try_into().unwrap()
}

/// A request that no worker has seen yet is void too once its owner signs in.
#[tokio::test(flavor = "multi_thread")]
async fn r4_a_sign_in_voids_what_is_not_yet_mailed() {
    let mut app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    forgot(&app, "ada@example.org").await.expect(202);
    app.login("ada").await;
    app.start_worker();
    app.jobs_done().await;
    for token in crate::support::tokens(&app, "ada@example.org", RESET) {
        assert_invalid(reset(&app, &token, OTHER_PASSWORD).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_a_reset_ends_every_session_mails_a_notice_and_does_not_sign_in() {
    let app = start().await;
    let browsers = [app.login("ada").await, app.login("ada").await];
    let bearer = Bearer::login(&app, "ada").await;
    let bob = app.member("bob").await;
    let token = reset_token(&app, "ada").await;
    let client = app.client();
    let body = json!({ "token": token, "password": OTHER_PASSWORD });
    let reply = client.post("/api/reset-password/", body).await.expect(204);
    assert!(!reply.headers.contains_key("set-cookie"));
    assert_eq!(reply.text(), "");
    client.get("/api/me/").await.expect(401);
    for browser in &browsers {
        browser.get("/api/me/").await.expect(401);
        browser.post_empty("/api/token/refresh/").await.expect(401);
    }
    bearer.client.get("/api/me/").await.expect(401);
    refresh(&app, &bearer.refresh).await.expect(401);
    bob.get("/api/me/").await.expect(200);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    assert_eq!(login_status(&app, "ada", OTHER_PASSWORD).await, 200);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "Your password was changed"), 1);
    assert_eq!(count_mails(&app, "bob@example.org", "Your password was changed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_every_bad_token_is_answered_alike_and_as_fast() {
    let app = start().await;
    app.register("bob", None).await.expect(201);
    app.register("carol", None).await.expect(201);
    let expired = reset_token(&app, "ada").await;
    app.clock.advance(TimeDelta::minutes(61));
    let overtaken = reset_token(&app, "ada").await;
    app.login("ada").await;
    let used = reset_token(&app, "ada").await;
    reset(&app, &used, OTHER_PASSWORD).await.expect(204);
    let of_deleted = reset_token(&app, "bob").await;
    let bob = app.login("bob").await;
    bob.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let of_blocked = reset_token(&app, "carol").await;
    app.database.execute("UPDATE users SET blocked_at = now() WHERE username = 'carol'", &[]).await.unwrap();
    let for_verification = wait_for_tokens(&app, "ada@example.org", VERIFY, 1).await.remove(0);
    let unknown = Token::random().expose();
    let padded = format!("{unknown}=");
    let mut replies = Vec::new();
    for (name, token) in [
        ("unknown", unknown.as_str()),
        ("expired", &expired),
        ("overtaken", &overtaken),
        ("used", &used),
        ("of a deleted account", &of_deleted),
        ("of a blocked account", &of_blocked),
        ("for another purpose", &for_verification),
        ("cut", &unknown[1..]),
        ("padded", &padded),
        ("a text", "x"),
        ("look-alikes", "аbсdеfghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"),
        ("SQL", "' OR 1=1 --"),
        ("spaces", "   "),
    ] {
        replies.push((name, reset(&app, token, OTHER_PASSWORD).await));
    }
    let reply = assert_alike(&replies).expect(400);
    assert_eq!(reply.code(), "invalid_token");
    let client = app.client();
    let spend = |token: &str| {
        let (client, body) = (client.clone(), json!({ "token": token, "password": OTHER_PASSWORD }));
        async move { client.post("/api/reset-password/", body).await.expect(400) }
    };
    for other in [&used, &expired, &padded] {
        let medians = Medians::of(PAIRS, || spend(&unknown), || spend(other)).await;
        assert!(!medians.differ(), "{medians:?}");
    }
}
