//! How often somebody may try to sign in, and that this tells nothing about who has an account.

use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::OTHER_PASSWORD;

async fn start() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on").set("TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await
}

async fn fail(client: &Client, identifier: &str) -> Reply {
    let body = json!({ "identifier": identifier, "password": OTHER_PASSWORD });
    client.post("/api/login/", body).await
}

/// From twenty networks, at two replicas in turn: it is the account that is counted, whether there is one or not.
#[tokio::test(flavor = "multi_thread")]
async fn a11_guesses_at_one_account_are_limited_wherever_they_come_from_and_arrive() {
    let app = start().await;
    let other = app.replica_with(|_| {}).await;
    app.register("ada", None).await.expect(201);
    for identifier in ["ada@example.org", "nobody@example.org", "ada", "nobody"] {
        let mut curve = Vec::new();
        for index in 0..20 {
            let base = if index % 2 == 0 { app.base() } else { other.base() };
            let client = app.client().at(&base).with_header("X-Forwarded-For", &format!("198.51.{index}.7"));
            // However the name is written, it is one.
            let identifier = if index % 3 == 0 { identifier.to_uppercase() } else { identifier.to_owned() };
            let reply = fail(&client, &identifier).await;
            if reply.status == 429 {
                assert_eq!(reply.code(), "rate_limited");
                let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=900).contains(&wait), "{wait}");
            }
            curve.push(reply.status);
        }
        assert_eq!(curve, [&[401; 10][..], &[429; 10]].concat(), "{identifier}");
    }
    // Another account is not concerned.
    app.register("bob", None).await.expect(201);
    app.login("bob").await;
}

/// With limits on, what they tell in headers must not say either whether two names belong to one account.
#[tokio::test(flavor = "multi_thread")]
async fn a3_the_limits_tell_nothing_about_accounts() {
    let app = start().await;
    app.register("ada", None).await.expect(201);
    let mut told: Vec<Vec<Value>> = Vec::new();
    for identifiers in [["ada", "ada@example.org"], ["nobody", "nobody@example.org"]] {
        let mut answers = Vec::new();
        for _ in 0..6 {
            for identifier in identifiers {
                let reply = fail(&app.client(), identifier).await;
                // What is left by account; what is left by address falls whoever it is for.
                let limits = reply.header("ratelimit").expect("the limits are told");
                let of_account = limits.split(", ").find(|limit| limit.contains("-account")).unwrap();
                let (left, _) = of_account.split_once(";t=").unwrap();
                answers.push(json!([reply.status, left]));
            }
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
}

/// A list of stolen passwords, tried from one network: each account once, so that no account's limit is met.
#[tokio::test(flavor = "multi_thread")]
async fn a11_many_accounts_from_one_network_are_noticed_and_slowed() {
    let app = start().await;
    let other = app.replica_with(|_| {}).await;
    app.register("ada", None).await.expect(201);
    let from = |network: &str, index: usize| {
        let base = if index.is_multiple_of(2) { app.base() } else { other.base() };
        app.client().at(&base).with_header("X-Forwarded-For", &format!("{network}.{}", index % 200))
    };
    // One account, again and again, is one account.
    for index in 0..5 {
        fail(&from("198.51.100", index), "ada").await.expect(401);
    }
    let mut curve = Vec::new();
    for index in 0..40 {
        curve.push(fail(&from("198.51.100", index), &format!("somebody-{index}")).await.status);
    }
    assert_eq!(curve, [&[401; 29][..], &[429; 11]].concat(), "the thirtieth account is the last");
    let refused = fail(&from("198.51.100", 0), "ada").await.expect(429);
    assert_eq!(refused.json()["violated-policies"], json!(["login-stuffing"]));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "one more in half a minute, not {wait} s");
    // Other networks are not concerned.
    fail(&from("198.51.101", 0), "ada").await.expect(401);
}
