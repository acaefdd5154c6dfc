//! `GET /l/{link_id}`: where it leads, and when it leads nowhere.

use std::time::Instant;

use chrono::TimeDelta;
use reqwest::Method;
use testkit::app::within;
use uuid::Uuid;

use super::{FIREFOX, Owner, app, visitor};
use crate::support::assert_alike;

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_to_its_target_and_no_cache_may_keep_that() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    for (url, location) in [
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("http://example.org", "http://example.org/"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
        ("mailto:ada@example.org", "mailto:ada@example.org"),
        ("tel:+491234567", "tel:+491234567"),
    ] {
        let link = ada.link(&app, "x", url).await;
        for path in [format!("/l/{link}"), format!("/l/{link}/"), format!("/l/{link}?utm_source=x")] {
            for method in [Method::GET, Method::HEAD] {
                let reply = guest.send(method, &path, None, &[]).await.expect(302);
                assert_eq!(reply.header("location"), Some(location), "{path}");
                assert_eq!(reply.header("cache-control"), Some("no-store"));
                assert_eq!(reply.text(), "");
                assert!(!reply.headers.contains_key("set-cookie"));
            }
        }
    }
}

/// What an edit makes of a link.
const CHANGES: [(&str, &str); 10] = [
    ("not enabled", "UPDATE links SET enabled = false"),
    ("not yet", "UPDATE links SET visible_from = now() + interval '1 hour'"),
    ("no more", "UPDATE links SET visible_from = NULL, visible_until = now() - interval '1 second'"),
    ("taken down", "UPDATE links SET disabled_at = now(), disabled_reason = 'x'"),
    ("page taken down", "UPDATE profiles SET disabled_at = now(), disabled_reason = 'x'"),
    ("address not confirmed", "UPDATE users SET email_verified_at = NULL"),
    ("owner blocked", "UPDATE users SET blocked_at = now()"),
    ("owner gone", "UPDATE users SET deleted_at = now()"),
    ("address that is none", "UPDATE links SET url = 'javascript:alert(1)'"),
    // The last: it stays.
    (
        "domain blocked",
        "INSERT INTO blocked_domains VALUES ('example.org', gen_random_uuid(), 'scam', now())",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn v4_a_link_that_is_not_public_is_nowhere_within_a_second_like_one_that_never_was() {
    let app = app().await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    let missing = guest.get(&format!("/l/{}", Uuid::now_v7())).await.expect(404);
    for (index, (what, change)) in CHANGES.iter().enumerate() {
        let ada = Owner::of(&app, &format!("ada{index}")).await;
        let link = ada.link(&app, "x", "https://example.org/").await;
        let path = format!("/l/{link}");
        guest.get(&path).await.expect(302);
        app.database.batch_execute(change).await.unwrap();
        let began = Instant::now();
        let reply = within(std::time::Duration::from_secs(5), what, async || {
            let reply = guest.get(&path).await;
            if reply.status == 404 { Ok(reply) } else { Err(reply.status.to_string()) }
        })
        .await;
        assert!(began.elapsed().as_millis() < 1_500, "{what}: {:?}", began.elapsed());
        assert_alike(&[("a link that never was", missing.clone()), (what, reply)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_link_shows_between_its_times_to_the_second_whatever_is_cached() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let now = app.clock.now();
    let (from, until) = (now + TimeDelta::hours(1), now + TimeDelta::hours(2));
    let sql = format!("UPDATE links SET visible_from = '{from}', visible_until = '{until}'");
    app.database.batch_execute(&sql).await.unwrap();
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    let path = format!("/l/{link}");
    guest.get(&path).await.expect(404);
    app.clock.advance(TimeDelta::hours(1));
    guest.get(&path).await.expect(302);
    app.clock.advance(TimeDelta::hours(1));
    guest.get(&path).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn h9_what_is_no_link_is_not_there() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let header = Uuid::now_v7();
    let sql = format!(
        "INSERT INTO links (id, user_id, kind, title, position, created_at, updated_at)
         VALUES ('{header}', '{}', 'header', 'x', 0, now(), now())",
        ada.id
    );
    app.database.batch_execute(&sql).await.unwrap();
    for text in [
        header.to_string().as_str(),
        "0",
        "x",
        "%00",
        "%0d%0aLocation:x",
        "..%2f..",
        "019a0000-0000-7000-8000-00000000000",
        "019a0000-0000-7000-8000-0000000000011",
        "https:%2f%2fevil.example",
        "%F0%9F%A6%80",
    ] {
        let reply = app.client().get(&format!("/l/{text}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{text}");
        assert!(!reply.headers.contains_key("location"));
    }
    let reply = app.client().send(Method::POST, &format!("/l/{header}"), None, &[]).await.expect(405);
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

/// Copies of targets stand in while PostgreSQL is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_followed_a_moment_ago_leads_on_while_postgresql_hangs() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    guest.get(&format!("/l/{link}")).await.expect(302);
    let other = app.database.connect().await;
    other.batch_execute("BEGIN; LOCK TABLE links IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let until = Instant::now() + std::time::Duration::from_secs(2);
    while Instant::now() < until {
        guest.get(&format!("/l/{link}")).await.expect(302);
    }
    other.batch_execute("COMMIT").await.unwrap();
}
