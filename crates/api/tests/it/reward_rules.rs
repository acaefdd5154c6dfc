//! `GET, PUT /api/admin/reward-rules/`: what managers read and replace.

use domain::db::Tx;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::{Bearer, quick_app};

const PATH: &str = "/api/admin/reward-rules/";

pub(crate) async fn manager(app: &TestApp, name: &str) -> Client {
    app.register(name, None).await.expect(201);
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    Bearer::login(app, name).await.client
}

/// Gives somebody credits, as a manager would.
pub(crate) async fn fund(app: &TestApp, username: &str, credits: i64) {
    let id: String =
        app.database.value(&format!("SELECT id::text FROM users WHERE username = '{username}'")).await;
    let key = format!("fund-{}", uuid::Uuid::now_v7());
    let adjustment = domain::rewards::Adjustment {
        user_id: id.parse().unwrap(),
        amount: domain::rewards::Amount::from_whole(credits),
        reason: "for a test",
        actor: domain::audit::Actor::Operator,
        idempotency_key: &key,
    };
    let mut tx = Tx::begin(&app.database.pool(1)).await.unwrap();
    domain::rewards::adjust(&mut tx, app.clock.now(), adjustment).await.unwrap();
    tx.commit().await.unwrap();
}

async fn put(client: &Client, body: Value) -> Reply {
    client.send(Method::PUT, PATH, Some(body), &[]).await
}

fn rule(changes: &Value) -> Value {
    let mut rule = json!({ "trigger": "per_referral", "beneficiary": "referrer", "reward_type": "credits", "amount": "10.00" });
    for (name, value) in changes.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_read_the_rules_and_put_them_back_changed() {
    let mut app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let shipped = boss.get(PATH).await.expect(200).json();
    assert_eq!(shipped["version"], 1);
    let rules = shipped["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 4);
    let per_referral =
        rules.iter().find(|rule| rule["trigger"] == "per_referral" && rule["beneficiary"] == "referrer");
    let expected = json!({
        "trigger": "per_referral", "milestone": null, "beneficiary": "referrer", "reward_type": "credits",
        "amount": "10.00", "campaign": null, "max_per_month": null, "max_total": null, "starts_at": null, "ends_at": null,
    });
    assert_eq!(per_referral, Some(&expected));

    let mut changed = shipped.clone();
    for rule in changed["rules"].as_array_mut().unwrap() {
        if rule["beneficiary"] == "referred" {
            rule["amount"] = "7.5".into();
        }
    }
    changed["rules"].as_array_mut().unwrap().push(rule(&json!({
        "campaign": "advent", "amount": "3", "max_per_month": 2, "max_total": 5,
        "starts_at": "2026-12-01T00:00:00+01:00", "ends_at": "2026-12-25T00:00:00Z",
    })));
    changed.as_object_mut().unwrap().remove("changed_at");
    let reply = put(&boss, changed.clone()).await.expect(200).json();
    assert_eq!((&reply["version"], reply["rules"].as_array().unwrap().len()), (&json!(2), 5));
    let advent = reply["rules"].as_array().unwrap().iter().find(|rule| rule["campaign"] == "advent").unwrap();
    assert_eq!((&advent["amount"], &advent["max_total"]), (&json!("3.00"), &json!(5)));
    assert_eq!(advent["starts_at"], "2026-11-30T23:00:00Z");
    assert_eq!(boss.get(PATH).await.expect(200).json(), reply, "what was answered is what stands");

    let again = put(&boss, changed.clone()).await.expect(200).json();
    assert_eq!(again, reply, "whoever did not get the answer gets it");
    changed["rules"].as_array_mut().unwrap().pop();
    let late = put(&boss, changed).await.expect(409);
    assert_eq!(late.code(), "version_conflict");
    let events = boss.get("/api/admin/audit/?event=reward_rules_changed").await.expect(200).json();
    let me = boss.get("/api/me/").await.json()["id"].clone();
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!((&events["items"][0]["actor"], &events["items"][0]["actor_id"]), (&json!("manager"), &me));

    // In force without a restart.
    app.start_worker();
    let ada = app.member("ada").await;
    app.register("bob", Some(&app.code_of(&ada).await)).await.expect(201);
    app.verify("bob").await;
    app.jobs_done().await;
    let bob = app.login("bob").await;
    app.stats_when(&bob, |stats| stats["rewards"]["credits"] == "7.50").await;
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_managers_who_save_at_once_one_is_told_to_read_again() {
    let app = quick_app().await;
    let (one, two) = (manager(&app, "one").await, manager(&app, "two").await);
    for round in 1..=5 {
        let body = |amount: i64| json!({ "version": round, "rules": [rule(&json!({ "amount": amount.to_string() }))] });
        let (first, second) = tokio::join!(put(&one, body(round)), put(&two, body(100 + round)));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
    }
    assert_eq!(one.get(PATH).await.json()["version"], 6);
    let standing: i64 =
        app.database.value("SELECT count(*) FROM reward_rules WHERE retired_at IS NULL").await;
    assert_eq!(standing, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_what_is_wrong_with_a_rule_is_said_by_its_place() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    app.client().get(PATH).await.expect(401);
    let ada = Bearer::login(&app, {
        app.register("ada", None).await.expect(201);
        "ada"
    })
    .await;
    assert_eq!(ada.client.get(PATH).await.expect(403).code(), "forbidden");
    put(&ada.client, json!({ "version": 1, "rules": [] })).await.expect(403);
    for (body, errors) in [
        (json!({}), vec!["/rules required", "/version required"]),
        (json!({ "version": "1", "rules": {} }), vec!["/rules wrong_type", "/version wrong_type"]),
        (json!({ "version": 0, "rules": [1] }), vec!["/rules/0 wrong_type", "/version invalid_value"]),
        (
            json!({ "version": 1, "rules": [{}] }),
            vec![
                "/rules/0/amount required",
                "/rules/0/beneficiary required",
                "/rules/0/reward_type required",
                "/rules/0/trigger required",
            ],
        ),
        (
            json!({ "version": 1, "rules": [rule(&json!({ "id": 1 })), rule(&json!({ "campaign": "b", "amount": "1.005" }))], "x": 1 }),
            vec!["/rules/0/id unknown_field", "/rules/1/amount invalid_value", "/x unknown_field"],
        ),
    ] {
        let reply = put(&boss, body.clone()).await.expect(422);
        assert_eq!(reply.errors(), errors, "{body}");
    }
    let everything = json!({ "version": 0, "rules": [
        rule(&json!({ "amount": "0", "id": 1 })),
        1,
        rule(&json!({ "campaign": "No Spaces", "amount": "1.005" })),
        rule(&json!({ "trigger": "milestone", "campaign": "advent", "max_total": 1 })),
        rule(&json!({ "reward_type": "gold", "amount": "1000000.01", "starts_at": "tomorrow" })),
        rule(&json!({ "amount": "ten" })),
    ] });
    let errors = [
        "/rules/0/amount invalid_value",
        "/rules/0/id unknown_field",
        "/rules/1 wrong_type",
        "/rules/2/amount invalid_value",
        "/rules/2/campaign invalid_value",
        "/rules/3/campaign invalid_value",
        "/rules/3/max_total invalid_value",
        "/rules/3/milestone required",
        "/rules/4/amount invalid_value",
        "/rules/4/reward_type invalid_value",
        "/rules/4/starts_at invalid_value",
        "/rules/5 duplicate_field",
        "/rules/5/amount invalid_value",
        "/version invalid_value",
    ];
    assert_eq!(put(&boss, everything).await.expect(422).errors(), errors, "in one answer");
    for (change, error) in [
        (json!({ "amount": "0" }), "/rules/0/amount invalid_value"),
        (json!({ "amount": "-1" }), "/rules/0/amount invalid_value"),
        (json!({ "amount": 10 }), "/rules/0/amount wrong_type"),
        (json!({ "amount": "1000000.01" }), "/rules/0/amount invalid_value"),
        (json!({ "reward_type": "premium", "amount": "1.5" }), "/rules/0/amount invalid_value"),
        (json!({ "reward_type": "discount", "amount": "101" }), "/rules/0/amount invalid_value"),
        (json!({ "reward_type": "gold" }), "/rules/0/reward_type invalid_value"),
        (json!({ "beneficiary": "both" }), "/rules/0/beneficiary invalid_value"),
        (json!({ "trigger": "milestone" }), "/rules/0/milestone required"),
        (json!({ "trigger": "milestone", "milestone": 0 }), "/rules/0/milestone invalid_value"),
        (json!({ "milestone": 5 }), "/rules/0/milestone invalid_value"),
        (
            json!({ "trigger": "milestone", "milestone": 5, "max_total": 1 }),
            "/rules/0/max_total invalid_value",
        ),
        (json!({ "max_per_month": 0 }), "/rules/0/max_per_month invalid_value"),
        (json!({ "campaign": "No Spaces" }), "/rules/0/campaign invalid_value"),
        (json!({ "starts_at": "tomorrow" }), "/rules/0/starts_at invalid_value"),
        (
            json!({ "starts_at": "2026-12-02T00:00:00Z", "ends_at": "2026-12-01T00:00:00Z" }),
            "/rules/0/ends_at invalid_value",
        ),
    ] {
        let reply = put(&boss, json!({ "version": 1, "rules": [rule(&change)] })).await.expect(422);
        assert_eq!(reply.errors(), [error], "{change}");
    }
    let twice = json!({ "version": 1, "rules": [rule(&json!({})), rule(&json!({ "amount": "20" }))] });
    assert_eq!(put(&boss, twice).await.expect(422).errors(), ["/rules/1 duplicate_field"]);
    let mut many: Vec<_> = (0..51).map(|n| rule(&json!({ "campaign": format!("c{n}") }))).collect();
    many[0] = rule(&json!({ "amount": "-1" }));
    assert_eq!(
        put(&boss, json!({ "version": 1, "rules": many })).await.expect(422).errors(),
        ["/rules/0/amount invalid_value", "/rules/50 too_long"]
    );
    assert_eq!(boss.get(PATH).await.json()["version"], 1, "nothing was changed");
    put(&boss, json!({ "version": 1, "rules": [] })).await.expect(200);
}
