//! Copies of pages in the processes: fresh within a second on every replica, loaded once, and there while PostgreSQL is not.

use std::time::{Duration, Instant};

use api::nearby::BELIEVED;
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{TestApp, eventually};
use testkit::cable::Cable;

use crate::support::{add_link, quick_app, with_page, within_a_second};

/// How many statements of this database wait for a lock.
const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread")]
async fn c2_an_edit_shows_on_every_replica_within_a_second_and_never_goes_back() {
    let app = quick_app().await;
    let (second, _handle) = app.second_api().await;
    let ada = with_page(&app, "ada").await;
    let readers = [app.client(), app.client().at(&format!("http://{second}"))];
    for round in 0..5 {
        let bio = format!("round {round}");
        for reader in &readers {
            reader.get("/api/u/ada/").await.expect(200);
        }
        ada.patch("/api/profile/", json!({ "bio": bio })).await.expect(200);
        for reader in &readers {
            within_a_second("the edit shows", async || {
                let shown = reader.get("/api/u/ada/").await.expect(200).json()["bio"].clone();
                if shown == bio.as_str() { Ok(()) } else { Err(shown.to_string()) }
            })
            .await;
            // What was seen once is not unseen.
            for _ in 0..20 {
                assert_eq!(reader.get("/api/u/ada/").await.expect(200).json()["bio"], bio.as_str());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_of_all_who_miss_a_page_at_once_one_asks_the_database() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    add_link(&ada, "Shop").await;
    let mut holder = app.database.connect().await;
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (client, began) = (app.client(), Instant::now());
    let readers = tokio::spawn(async move { join_all((0..200).map(|_| client.get("/@ada"))).await });
    eventually("somebody waits for the lock", async || {
        let waiting: i64 = app.database.value(WAITING).await;
        if waiting > 0 { Ok(()) } else { Err(waiting.to_string()) }
    })
    .await;
    loop {
        let waiting: i64 = app.database.value(WAITING).await;
        // Only what comes later than this may begin a load of its own.
        if began.elapsed() >= BELIEVED {
            break;
        }
        assert_eq!(waiting, 1);
    }
    lock.commit().await.unwrap();
    for reply in readers.await.unwrap() {
        assert!(reply.expect(200).text().contains("Shop"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_pages_are_served_while_postgresql_is_gone_and_fresh_again_after() {
    let origin = quick_app().await;
    let cable = Cable::to(&origin.database.url()).await;
    let replica = origin
        .replica_with(|settings| {
            settings.set("DATABASE_URL", &cable.url());
        })
        .await;
    let ada = with_page(&origin, "ada").await;
    add_link(&ada, "Shop").await;
    let reader = origin.client().at(&replica.base());
    let before = reader.get("/@ada").await.expect(200);
    reader.get("/api/u/nobody/").await.expect(404);
    cable.cut();
    let since = Instant::now();
    let mut slowest = Duration::ZERO;
    // Past the time for which a copy is believed.
    while since.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        let reply = reader.get("/@ada").await.expect(200);
        assert_eq!((reply.body.len(), reply.header("etag")), (before.body.len(), before.header("etag")));
        reader.get("/api/u/nobody/").await.expect(404);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "a page took {slowest:?}");
    // What was never read cannot be told.
    let unknown = reader.try_send(reqwest::Method::GET, "/@somebody", None, &[]).await.unwrap();
    assert_eq!((unknown.status, unknown.code().as_str()), (503, "unavailable"));
    assert!(unknown.header("retry-after").is_some());
    ada.patch("/api/profile/", json!({ "bio": "meanwhile" })).await.expect(200);
    cable.mend();
    eventually("the page is fresh again", async || {
        let page = reader.get("/api/u/ada/").await.expect(200).json();
        if page["bio"] == "meanwhile" { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
}

/// A page that is read touches no Redis at all.
#[tokio::test(flavor = "multi_thread")]
async fn c1_pages_need_no_redis() {
    let app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    with_page(&app, "ada").await;
    let replica = app
        .replica_with(|settings| {
            settings.set("REDIS_URL", "redis://127.0.0.1:1/").set("CACHE_REDIS_URL", "redis://127.0.0.1:1/");
        })
        .await;
    let reader = app.client().at(&replica.base());
    for _ in 0..3 {
        reader.get("/@ada").await.expect(200);
        reader.get("/api/u/ada/").await.expect(200);
    }
}
