//! `/api/links/`: adding, changing and deleting links, within limits, and nobody else's.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::{add_link, quick_app, with_page};

const PATH: &str = "/api/links/";

async fn titles(client: &Client) -> Vec<String> {
    let list = client.get(PATH).await.expect(200).json();
    list["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

fn path(link: &Value) -> String {
    format!("{PATH}{}/", link["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_made_read_changed_and_deleted() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    assert_eq!(ada.get(PATH).await.expect(200).json(), json!({ "items": [], "limit": 50 }));
    let plain = add_link(&ada, " Shop <b> ").await;
    assert_eq!(
        (&plain["kind"], &plain["title"], &plain["url"]),
        (&json!("link"), &json!("Shop <b>"), &json!("https://example.org/"))
    );
    assert_eq!(
        (&plain["enabled"], &plain["pinned"], &plain["highlighted"]),
        (&json!(true), &json!(false), &json!(false))
    );
    let id = plain["id"].as_str().unwrap();
    assert_eq!(plain["follow_url"], format!("http://trellis.test/l/{id}"));

    let body = json!({ "kind": "header", "title": "Music", "url": null, "pinned": true, "visible_from": "2026-01-01T00:00:00+01:00",
                       "visible_until": "2027-01-01T00:00:00Z", "enabled": false, "highlighted": true });
    let header = ada.post(PATH, body).await.expect(201).json();
    assert_eq!(
        (&header["kind"], &header["url"], &header["follow_url"]),
        (&json!("header"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&header["visible_from"], &header["visible_until"]),
        (&json!("2025-12-31T23:00:00Z"), &json!("2027-01-01T00:00:00Z"))
    );
    assert_eq!(ada.get(&path(&header)).await.expect(200).json(), header);
    assert_eq!(titles(&ada).await, ["Shop <b>", "Music"]);

    let changed =
        ada.patch(&path(&plain), json!({ "url": "tel:+49123456", "pinned": true })).await.expect(200).json();
    assert_eq!(
        (&changed["title"], &changed["url"], &changed["pinned"]),
        (&json!("Shop <b>"), &json!("tel:+49123456"), &json!(true))
    );
    let cleared = ada.patch(&path(&header), json!({ "visible_from": null })).await.expect(200).json();
    assert_eq!(
        (&cleared["visible_from"], &cleared["visible_until"]),
        (&Value::Null, &header["visible_until"])
    );

    ada.delete_empty(&path(&plain)).await.expect(204);
    for reply in [
        ada.get(&path(&plain)).await,
        ada.delete_empty(&path(&plain)).await,
        ada.patch(&path(&plain), json!({})).await,
    ] {
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
    }
    assert_eq!(titles(&ada).await, ["Music"]);
    // Each change raised the version by one.
    assert_eq!(ada.get("/api/profile/").await.json()["version"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_the_links_of_others_are_as_if_there_were_none() {
    let app = quick_app().await;
    let (ada, bob) = (with_page(&app, "ada").await, with_page(&app, "bob").await);
    let link = add_link(&ada, "mine").await;
    let before = ada.get(PATH).await.expect(200).json();
    let path = path(&link);
    let order = json!({ "ids": [link["id"]] });
    for reply in [
        bob.get(&path).await,
        bob.patch(&path, json!({ "title": "yours" })).await,
        bob.delete_empty(&path).await,
        bob.delete_empty(&format!("{path}thumbnail/")).await,
    ] {
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
    }
    assert_eq!(bob.put("/api/links/order/", order).await.expect(422).errors(), ["/ids invalid_value"]);
    assert_eq!(titles(&bob).await, [""; 0]);
    assert_eq!(ada.get(PATH).await.expect(200).json(), before);
    for path in [PATH, &path] {
        app.client().get(path).await.expect(401);
    }
    for id in ["x", "019a0000-0000-7000-8000-000000000001", "..", "%00"] {
        assert_eq!(ada.get(&format!("{PATH}{id}")).await.status, 404, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_a14_every_wrong_value_of_a_link_is_named_and_nothing_is_written() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let link = add_link(&ada, "old").await;
    let header = ada.post(PATH, json!({ "kind": "header", "title": "head" })).await.expect(201).json();
    let before = ada.get(PATH).await.expect(200).json();
    let good = "https://example.org/";
    for (field, value, code) in [
        ("title", json!(""), "empty"),
        ("title", json!(" \u{200b} "), "empty"),
        ("title", json!("a".repeat(121)), "too_long"),
        ("title", json!("a\u{0}b"), "invalid_character"),
        ("title", json!("a\nb"), "invalid_character"),
        ("title", json!("photo\u{202e}gpj.exe"), "invalid_character"),
        ("title", Value::Null, "wrong_type"),
        ("title", json!(["x"]), "wrong_type"),
        ("url", json!("javascript:alert(1)"), "invalid_url"),
        ("url", json!(" JAVASCRIPT:alert(1)"), "invalid_url"),
        ("url", json!("java\tscript:alert(1)"), "invalid_character"),
        ("url", json!("data:text/html,<svg onload=alert(1)>"), "invalid_url"),
        ("url", json!("vbscript:x"), "invalid_url"),
        ("url", json!("file:///etc/passwd"), "invalid_url"),
        ("url", json!("https://bank.example@evil.example"), "invalid_url"),
        ("url", json!("https://example.org/\r\nSet-Cookie: a=b"), "invalid_character"),
        ("url", json!("https://example.org/\u{202e}"), "invalid_character"),
        ("url", json!("//example.org"), "invalid_url"),
        ("url", json!("example.org"), "invalid_url"),
        ("url", json!(format!("{good}{}", "a".repeat(2_048))), "too_long"),
        ("url", Value::Null, "wrong_type"),
        ("enabled", json!("true"), "wrong_type"),
        ("pinned", json!(1), "wrong_type"),
        ("highlighted", Value::Null, "wrong_type"),
        ("visible_from", json!("tomorrow"), "invalid_value"),
        ("visible_until", json!(1_700_000_000), "wrong_type"),
        ("position", json!(1), "unknown_field"),
        ("user_id", json!("x"), "unknown_field"),
    ] {
        let expected = [format!("/{field} {code}")];
        let mut body = json!({ "title": "new", "url": good });
        body[field] = value.clone();
        let reply = ada.post(PATH, body).await;
        assert_eq!(
            (reply.status, &reply.errors()[..]),
            (422, &expected[..]),
            "POST {field} {value}: {}",
            reply.text()
        );
        let reply = ada.patch(&path(&link), json!({ field: value })).await;
        assert_eq!(
            (reply.status, &reply.errors()[..]),
            (422, &expected[..]),
            "PATCH {field} {value}: {}",
            reply.text()
        );
    }
    let from_until =
        json!({ "visible_from": "2026-01-02T00:00:00Z", "visible_until": "2026-01-02T00:00:00Z" });
    for (method, path, body, errors) in [
        (Method::POST, PATH.to_owned(), json!({}), vec!["/title required", "/url required"]),
        (
            Method::POST,
            PATH.to_owned(),
            json!({ "kind": "Link", "title": "x", "url": good }),
            vec!["/kind invalid_value"],
        ),
        (
            Method::POST,
            PATH.to_owned(),
            json!({ "kind": "header", "title": "x", "url": good }),
            vec!["/url invalid_value"],
        ),
        (
            Method::POST,
            PATH.to_owned(),
            json!({ "title": "x", "url": good, "visible_from": "2026-01-02T00:00:00Z", "visible_until": "2026-01-01T00:00:00Z" }),
            vec!["/visible_until invalid_value"],
        ),
        (Method::PATCH, path(&link), from_until, vec!["/visible_until invalid_value"]),
        (Method::PATCH, path(&link), json!({ "kind": "header" }), vec!["/kind unknown_field"]),
        (Method::PATCH, path(&header), json!({ "url": good }), vec!["/url invalid_value"]),
    ] {
        let reply = ada.send(method, &path, Some(body.clone()), &[]).await;
        assert_eq!(
            (reply.status, reply.errors()),
            (422, errors.iter().map(|e| (*e).to_owned()).collect()),
            "{body}"
        );
    }
    assert_eq!(ada.get(PATH).await.expect(200).json(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_text_that_would_be_markup_is_kept_and_given_back_as_it_is() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    for hostile in [
        "<svg onload=alert(1)>",
        "</title><script>alert(1)</script>",
        "\"' onmouseover=alert(1)",
        "{{ 7*7 }}",
        "&lt;&#39;",
    ] {
        assert_eq!(add_link(&ada, hostile).await["title"], hostile);
    }
}

/// The lock on the profile makes the count right, whoever comes first.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_never_pass_the_limit() {
    let app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
        settings.set("LINKS_PER_PAGE", "5");
    })
    .await;
    let (second, _handle) = app.second_api().await;
    let ada = with_page(&app, "ada").await;
    let elsewhere = ada.at(&format!("http://{second}"));
    add_link(&ada, "first").await;
    let replies: Vec<Reply> = join_all((0..20).map(|index| {
        let client = if index % 2 == 0 { &ada } else { &elsewhere };
        client.post(PATH, json!({ "title": format!("link {index}"), "url": "https://example.org" }))
    }))
    .await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    let refused = replies.iter().filter(|reply| reply.status == 409 && reply.code() == "link_limit").count();
    assert_eq!((made, refused), (4, 16));
    let list = ada.get(PATH).await.expect(200).json();
    assert_eq!((list["items"].as_array().unwrap().len(), &list["limit"]), (5, &json!(5)));
    let places: i64 = app.database.value("SELECT count(DISTINCT position) FROM links").await;
    assert_eq!(places, 5);
    ada.delete_empty(&path(&list["items"][0])).await.expect(204);
    add_link(&ada, "again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o7_the_same_request_twice_makes_one_link() {
    let app = quick_app().await;
    let (ada, bob) = (with_page(&app, "ada").await, with_page(&app, "bob").await);
    let post = async |client: &Client, key: &str, title: &str| {
        let body = json!({ "title": title, "url": "https://example.org/" });
        client.send(Method::POST, PATH, Some(body), &[("Idempotency-Key", key)]).await
    };
    let replies = join_all((0..20).map(|_| post(&ada, "one", "Shop"))).await;
    let made = replies[0].clone().expect(201).json();
    assert!(replies.iter().all(|reply| (reply.status, reply.json()) == (201, made.clone())));
    assert_eq!(titles(&ada).await, ["Shop"]);
    // Renamed meanwhile: it is found as it is now.
    ada.patch(&path(&made), json!({ "title": "Store" })).await.expect(200);
    assert_eq!(post(&ada, "one", "Shop").await.expect(201).json()["title"], "Store");
    let other = post(&ada, "one", "Another").await.expect(422);
    assert_eq!(other.code(), "idempotency_key_reused");
    assert_eq!(post(&ada, "a b", "x").await.expect(400).code(), "bad_request");
    assert_ne!(post(&bob, "one", "Shop").await.expect(201).json()["id"], made["id"], "a key is its owner's");
    post(&ada, "two", "Shop").await.expect(201);
    assert_eq!(titles(&ada).await, ["Store", "Shop"]);
}
