//! A public page from the copies of the process, as HTML and as JSON, against a bare actix-web route that returns the same
//! bytes; both in this process, with as many threads, taken in turn.

use std::time::Duration;

use actix_web::web::Bytes;
use serde_json::json;
use testkit::app::TestApp;

use super::median;
use super::stats::{CONNECTIONS, bare_server, wrk};

/// Links on the page: what people have.
const LINKS: usize = 12;

/// wrk wants a header.
const HEADER: &str = "Accept: */*";

pub(super) async fn run(rounds: usize, round: Duration) {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    app.database.batch_execute("UPDATE users SET email_verified_at = now()").await.unwrap();
    let social = json!([{ "network": "github", "url": "https://github.com/ada" },
                        { "network": "mastodon", "url": "https://social.example/@ada" }]);
    let profile = json!({ "display_name": "Ada Lovelace", "bio": "The first programmer.", "social": social });
    ada.patch("/api/profile/", profile).await.expect(200);
    for index in 0..LINKS {
        let link = json!({ "title": format!("Link number {index}"), "url": "https://example.org/" });
        ada.post("/api/links/", link).await.expect(201);
    }
    for path in ["/@ada", "/api/u/ada/"] {
        compare(&app, path, rounds, round).await;
    }
}

async fn compare(app: &TestApp, path: &str, rounds: usize, round: Duration) {
    let page = app.client().get(path).await.expect(200);
    let size = page.body.len();
    let bare = bare_server("text/html; charset=utf-8", Bytes::from(page.body)).await;
    let (url, bare_url) = (format!("{}{path}", app.base()), format!("http://{bare}/"));
    wrk(&url, HEADER, Duration::from_secs(1)).await;
    wrk(&bare_url, HEADER, Duration::from_secs(1)).await;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let our = wrk(&url, HEADER, round).await;
        let their = wrk(&bare_url, HEADER, round).await;
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    println!("GET {path}, {size} bytes, {CONNECTIONS} connections, {rounds} rounds of {round:?}");
    println!("  ours            {:>9.0} requests/s", median(&mut ours));
    println!("  bare actix-web  {:>9.0} requests/s", median(&mut theirs));
    println!("  ratio           {:>9.2}", median(&mut ratios));
}
