//! `/@{username}` and `/api/u/{username}/`: what anybody sees of a page, what nobody does, and how it may be kept.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::{add_link, assert_alike, quick_app, with_page, within_a_second};

async fn json_of(app: &TestApp, name: &str) -> Value {
    app.client().get(&format!("/api/u/{name}/")).await.expect(200).json()
}

async fn html_of(app: &TestApp, name: &str) -> String {
    app.client().get(&format!("/@{name}")).await.expect(200).text()
}

fn titles(page: &Value) -> Vec<&str> {
    page["links"].as_array().unwrap().iter().map(|link| link["title"].as_str().unwrap()).collect()
}

/// Reads the page until it is as wanted: within a second of what was just done.
async fn soon(app: &TestApp, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    within_a_second(what, async || {
        let page = json_of(app, name).await;
        if wanted(&page) { Ok(page) } else { Err(page.to_string()) }
    })
    .await
}

/// Until both forms are gone.
async fn gone(app: &TestApp, name: &str) {
    within_a_second("the page is gone", async || {
        let client = app.client();
        let statuses = [
            client.get(&format!("/@{name}")).await.status,
            client.get(&format!("/api/u/{name}")).await.status,
        ];
        if statuses == [404, 404] { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_what_its_owner_wrote_in_both_forms() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let code = app.code_of(&ada).await;
    let social = json!([{ "network": "mastodon", "url": "https://social.example/@ada" }]);
    let body = json!({ "display_name": "Ada L.", "bio": "First programmer.\nSecond line.", "theme": "harbour", "social": social });
    ada.patch("/api/profile/", body).await.expect(200);
    let shop = add_link(&ada, "Shop").await;
    ada.post("/api/links/", json!({ "kind": "header", "title": "Music" })).await.expect(201);
    let pinned = json!({ "title": "First of all", "url": "mailto:ada@example.org", "pinned": true, "highlighted": true });
    let pinned = ada.post("/api/links/", pinned).await.expect(201).json();

    let page = json_of(&app, "ada").await;
    let fields: BTreeSet<_> = page.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "avatar_url",
        "bio",
        "display_name",
        "links",
        "referral_url",
        "social",
        "theme",
        "updated_at",
        "username",
    ];
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), documented);
    assert_eq!(
        (&page["username"], &page["display_name"], &page["theme"]),
        (&json!("ada"), &json!("Ada L."), &json!("harbour"))
    );
    assert_eq!(
        (&page["social"], &page["referral_url"]),
        (&social, &json!(format!("http://trellis.test/r/{code}")))
    );
    assert_eq!(titles(&page), ["First of all", "Shop", "Music"]);
    let id = |link: &Value| link["id"].as_str().unwrap().to_owned();
    assert_eq!(
        page["links"][0],
        json!({ "id": id(&pinned), "kind": "link", "title": "First of all", "url": format!("http://trellis.test/l/{}", id(&pinned)),
                "thumbnail_url": null, "pinned": true, "highlighted": true })
    );
    assert_eq!((&page["links"][2]["kind"], &page["links"][2]["url"]), (&json!("header"), &Value::Null));
    // Where a link leads is told to whoever follows it.
    assert!(!page.to_string().contains("mailto:") && !page.to_string().contains("example.org/"));

    let reply = app.client().get("/@ada").await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let html = reply.text();
    for part in [
        "data-theme=\"harbour\"",
        "<title>Ada L. (@ada)</title>",
        "<link rel=\"canonical\" href=\"http://trellis.test/@ada\">",
        "<meta property=\"og:image\" content=\"http://trellis.test/api/u/ada/card.png\">",
        "<meta name=\"twitter:card\" content=\"summary_large_image\">",
        "content=\"First programmer. Second line.\"",
        &format!("href=\"/l/{}\"", id(&shop)),
        &format!("href=\"/r/{code}\""),
        "href=\"https://social.example/@ada\" rel=\"me nofollow ugc noopener\"",
        ">Mastodon</span>",
        "<main id=\"links\"",
        "<h1 dir=\"auto\">Ada L.</h1>",
        ">Music</h2>",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert!(!html.contains("noindex") && !html.contains("mailto:"), "{html}");
    ada.patch("/api/profile/", json!({ "listed": false })).await.expect(200);
    within_a_second("it is not listed", async || {
        if html_of(&app, "ada").await.contains("noindex") { Ok(()) } else { Err("listed".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_nothing_on_a_page_runs_and_the_policy_would_not_let_it() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let hostile = "</script><svg onload=alert(1)>\"'>";
    ada.patch("/api/profile/", json!({ "display_name": hostile, "bio": hostile })).await.expect(200);
    add_link(&ada, hostile).await;
    // Rows that never came through the API.
    let sql = "UPDATE profiles SET social = '[{\"network\": \"website\", \"url\": \"javascript:alert(1)\"}]'";
    app.database.batch_execute(sql).await.unwrap();
    let reply = app.client().get("/@ada").await.expect(200);
    let html = reply.text();
    assert!(!html.contains("<svg onload") && !html.contains("javascript:"), "{html}");
    assert_eq!(html.matches("<script").count(), 1, "JSON-LD alone: {html}");
    assert!(!html.contains(" style=") && !html.contains("<style"), "{html}");
    let policy = reply.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'")
            && !policy.contains("script-src")
            && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(!reply.headers.contains_key("set-cookie"));
    assert_eq!(json_of(&app, "ada").await["social"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_whatever_is_not_public_is_answered_alike() {
    let app = quick_app().await;
    for name in ["blocked", "deleted", "disabled"] {
        let client = with_page(&app, name).await;
        add_link(&client, "a link").await;
        json_of(&app, name).await;
        if name == "deleted" {
            client.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
        }
    }
    app.register("unverified", None).await.expect(201);
    app.database
        .batch_execute(
            "UPDATE users SET blocked_at = now() WHERE username = 'blocked';
             UPDATE profiles SET disabled_at = now(), disabled_reason = 'spam'
             WHERE user_id = (SELECT id FROM users WHERE username = 'disabled')",
        )
        .await
        .unwrap();
    for name in ["blocked", "deleted", "disabled"] {
        gone(&app, name).await;
    }
    let long = "a".repeat(300);
    let names = [
        "blocked",
        "deleted",
        "disabled",
        "unverified",
        "nobody",
        "admin",
        "api",
        "x",
        "-",
        "%00",
        "%F0%9F%A6%80",
        "a%2Fb",
        &long,
    ];
    for (path, headers) in [("/@", &[][..]), ("/@", &[("Accept", "text/html,*/*")][..]), ("/api/u/", &[][..])]
    {
        let mut replies = Vec::new();
        for name in names {
            let path = format!("{path}{name}");
            let reply = raw(&app.client(), &path, headers).await;
            assert_eq!(reply.status, 404, "{path}");
            replies.push((name, reply));
        }
        let reply = assert_alike(&replies);
        assert!(reply.header("etag").is_none());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let html = raw(&app.client(), "/@nobody", &[("Accept", "text/html")]).await;
    assert!(html.text().contains("There is no page here"), "{}", html.text());
}

/// The words for people are no problem in the form of the API, on which the common client insists.
async fn raw(client: &Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    if headers.is_empty() {
        return client.get(path).await;
    }
    let base = client.base();
    let mut request = reqwest::Client::new().get(format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, body: response.bytes().await.unwrap().to_vec() }
}

/// Nothing of the account but its name: not the address, not the ids, not who brought it.
#[tokio::test(flavor = "multi_thread")]
async fn v4_a_page_tells_nothing_that_its_owner_did_not_write() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let link = add_link(&ada, "Shop").await;
    ada.patch(
        &format!("/api/links/{}/", link["id"].as_str().unwrap()),
        json!({ "url": "https://secret-target.example/" }),
    )
    .await
    .expect(200);
    let hidden = json!({ "title": "not yet", "url": "https://example.org", "enabled": false });
    ada.post("/api/links/", hidden).await.expect(201);
    let id: String = app.database.value("SELECT id::text FROM users").await;
    for path in ["/@ada", "/api/u/ada/"] {
        let reply = app.client().get(path).await.expect(200);
        let all = format!("{:?} {}", reply.headers, reply.text());
        for secret in
            [id.as_str(), &id.replace('-', ""), "ada@example.org", "@example.org", "secret-target", "not yet"]
        {
            assert!(!all.contains(secret), "{path} tells {secret}: {all}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_show_while_they_should() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let now = app.clock.now();
    let at = |hours: i64| (now + TimeDelta::hours(hours)).to_rfc3339();
    for (title, from, until) in [
        ("always", Value::Null, Value::Null),
        ("over", Value::Null, json!(at(-1))),
        ("now", json!(at(-1)), json!(at(1))),
        ("later", json!(at(1)), json!(at(3))),
    ] {
        let body = json!({ "title": title, "url": "https://example.org", "visible_from": from, "visible_until": until });
        ada.post("/api/links/", body).await.expect(201);
    }
    let off = add_link(&ada, "off").await;
    ada.patch(&format!("/api/links/{}/", off["id"].as_str().unwrap()), json!({ "enabled": false }))
        .await
        .expect(200);
    let taken = add_link(&ada, "taken down").await;
    let sql = format!(
        "UPDATE links SET disabled_at = now(), disabled_reason = 'spam' WHERE id = '{}'",
        taken["id"].as_str().unwrap()
    );
    app.database.batch_execute(&sql).await.unwrap();
    soon(&app, "ada", "what is on now shows", |page| titles(page) == ["always", "now"]).await;
    app.clock.advance(TimeDelta::hours(2));
    soon(&app, "ada", "the next one shows, with no edit", |page| titles(page) == ["always", "later"]).await;
    let seen = ada_again(&app).await.get("/api/links/").await.expect(200).json();
    assert_eq!(seen["items"][5]["disabled"], json!({ "reason": "spam" }), "its owner reads why");
}

async fn ada_again(app: &TestApp) -> Client {
    crate::support::Bearer::login(app, "ada").await.client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_found_in_any_case_and_follows_its_account() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    for name in ["ada", "Ada", "ADA", "%61da"] {
        assert_eq!(json_of(&app, name).await["username"], "ada");
        assert!(html_of(&app, name).await.contains("href=\"http://trellis.test/@ada\""));
    }
    app.client().get("/@ada/").await.expect(200);
    app.client().get("/api/u/ada").await.expect(200);
    ada.patch("/api/me/", json!({ "username": "countess" })).await.expect(200);
    within_a_second("the former name leads to the new one", async || {
        let reply = app.client().get("/@ada").await;
        if reply.status == 301 { Ok(()) } else { Err(reply.status.to_string()) }
    })
    .await;
    assert_eq!(json_of(&app, "countess").await["username"], "countess");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_page_is_told_that_it_stays() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    add_link(&ada, "Shop").await;
    let client = app.client();
    for path in ["/@ada", "/api/u/ada/"] {
        let first = client.get(path).await.expect(200);
        let tag = first.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.len() > 16, "a strong tag: {tag}");
        assert_eq!(first.header("cache-control"), Some("public, max-age=0, stale-while-revalidate=30"));
        assert_eq!(client.get(path).await.header("etag"), Some(tag.as_str()));
        let weak = format!("W/{tag}");
        let many = format!("\"other\", {tag}");
        for known in [tag.as_str(), &weak, &many, "*"] {
            for method in [Method::GET, Method::HEAD] {
                let reply = client.send(method, path, None, &[("If-None-Match", known)]).await;
                assert_eq!((reply.status, reply.text().as_str()), (304, ""), "{known}");
                assert_eq!(reply.header("etag"), Some(tag.as_str()));
                assert_eq!(reply.header("cache-control"), first.header("cache-control"));
            }
        }
        for other in ["\"other\"", "x", "", "\"\u{1}\""] {
            let Ok(value) = reqwest::header::HeaderValue::from_str(other) else { continue };
            let reply =
                client.send(Method::GET, path, None, &[("If-None-Match", value.to_str().unwrap())]).await;
            assert_eq!((reply.status, reply.body.len()), (200, first.body.len()), "{other}");
        }
        let head = client.send(Method::HEAD, path, None, &[]).await.expect(200);
        assert_eq!((head.text().as_str(), head.header("etag")), ("", Some(tag.as_str())));
        ada.patch("/api/profile/", json!({ "bio": path })).await.expect(200);
        within_a_second("the tag is another", async || {
            let reply = client.send(Method::GET, path, None, &[("If-None-Match", &tag)]).await;
            if reply.status == 200 { Ok(()) } else { Err(reply.status.to_string()) }
        })
        .await;
    }
    // Another's page that happens to be as long has another tag.
    with_page(&app, "eve").await;
    assert_ne!(client.get("/@eve").await.header("etag"), client.get("/@ada").await.header("etag"));
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_deletion_takes_the_page_with_all_that_is_on_it() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    ada.patch("/api/profile/", json!({ "display_name": "Augusta King", "bio": "of Lovelace" }))
        .await
        .expect(200);
    let link = add_link(&ada, "Lovelace shop").await;
    let export = ada.get("/api/me/export/").await.expect(200).json()["data"].clone();
    assert_eq!(export["page"][0]["display_name"], "Augusta King");
    assert_eq!(export["page_links"][0]["id"], link["id"]);
    assert_eq!(export["pictures"], json!([]));
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    for text in ["Augusta", "Lovelace"] {
        assert_eq!(testkit::dump::holding(&app.database, text).await, [""; 0], "{text}");
    }
    let left: i64 = app
        .database
        .value("SELECT (SELECT count(*) FROM profiles) + (SELECT count(*) FROM links) + (SELECT count(*) FROM avatars)")
        .await;
    assert_eq!(left, 0);
    gone(&app, "ada").await;
}
