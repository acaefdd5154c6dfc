//! Cards and QR codes of public pages.

use serde_json::json;
use testkit::app::TestApp;
use testkit::client::Reply;

use crate::support::{assert_alike, quick_app, with_page, within_a_second};

async fn get(app: &TestApp, path: &str, tag: Option<&str>) -> Reply {
    let headers: Vec<_> = tag.map(|tag| ("If-None-Match", tag)).into_iter().collect();
    app.client().send(reqwest::Method::GET, path, None, &headers).await
}

/// The size that the header of a PNG file tells.
fn size(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_a_png_that_changes_with_the_page() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let path = "/api/u/ada/card.png";
    let first = get(&app, path, None).await.expect(200);
    assert_eq!(size(&first.body), (1_200, 630));
    assert_eq!(first.header("content-type"), Some("image/png"));
    assert_eq!(first.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert_eq!(first.header("x-content-type-options"), Some("nosniff"));
    let tag = first.header("etag").unwrap().to_owned();
    let again = get(&app, path, Some(&tag)).await.expect(304);
    assert_eq!((again.body.len(), again.header("etag")), (0, Some(tag.as_str())));
    assert_eq!(again.header("cache-control"), first.header("cache-control"));
    assert_eq!(get(&app, "/api/u/ADA/card.png", None).await.expect(200).body, first.body);
    let names = ["\u{5d0}\u{5d3}\u{5d4} 🎉", "آدا", "👩‍👩‍👧‍👦", &"w".repeat(60)];
    let mut seen = vec![first.body];
    for name in names {
        ada.patch("/api/profile/", json!({ "display_name": name })).await.expect(200);
        let card = within_a_second("the card changes", async || {
            let card = get(&app, path, Some(&tag)).await;
            if card.status == 200 && !seen.contains(&card.body) {
                Ok(card)
            } else {
                Err(card.status.to_string())
            }
        })
        .await;
        assert_eq!(size(&card.body), (1_200, 630));
        seen.push(card.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_a_crowd_that_asks_for_a_card_has_it_drawn_once() {
    let app = quick_app().await;
    with_page(&app, "ada").await;
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let client = app.client();
            tokio::spawn(async move { client.get("/api/u/ada/card.png").await.expect(200).body })
        })
        .collect();
    let mut cards = Vec::new();
    for task in asking {
        cards.push(task.await.unwrap());
    }
    assert!(cards.iter().all(|card| *card == cards[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn qr_codes_lead_to_the_page_in_every_size_that_is_allowed() {
    let app = quick_app().await;
    with_page(&app, "ada").await;
    for (query, side) in [("", 512), ("?size=128", 128), ("?size=2048", 2_048), ("?size=333", 333)] {
        let png = get(&app, &format!("/api/u/ada/qr.png{query}"), None).await.expect(200);
        assert_eq!((size(&png.body), png.header("content-type")), ((side, side), Some("image/png")));
        let svg = get(&app, &format!("/api/u/ada/qr.svg{query}"), None).await.expect(200);
        assert_eq!(svg.header("content-type"), Some("image/svg+xml"));
        assert!(
            svg.text().starts_with("<svg ") && svg.text().contains(&format!("width=\"{side}\"")),
            "{}",
            svg.text()
        );
        for reply in [png, svg] {
            let tag = reply.header("etag").unwrap().to_owned();
            let path = if reply.text().starts_with("<svg") { "svg" } else { "png" };
            get(&app, &format!("/api/u/ada/qr.{path}{query}"), Some(&tag)).await.expect(304);
            get(&app, &format!("/api/u/ada/qr.{path}?size=1000"), Some(&tag)).await.expect(200);
        }
    }
    for size in ["", "0", "127", "2049", "-1", "+200", "200.0", "1e3", "x", "99999999999999999999"] {
        for kind in ["svg", "png"] {
            let refused =
                get(&app, &format!("/api/u/ada/qr.{kind}?size={size}"), None).await.expect(422).json();
            assert_eq!(refused["errors"][0]["pointer"], "?size", "{size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_pictures_of_pages_that_are_not_public_are_answered_alike() {
    let app = quick_app().await;
    app.register("unverified", None).await.expect(201);
    with_page(&app, "blocked").await;
    app.database
        .batch_execute("UPDATE users SET blocked_at = now() WHERE username = 'blocked'")
        .await
        .unwrap();
    for picture in ["card.png", "qr.svg", "qr.png"] {
        let mut replies = Vec::new();
        for name in ["nobody", "unverified", "blocked", "admin", "x"] {
            replies.push((name, get(&app, &format!("/api/u/{name}/{picture}"), None).await.expect(404)));
        }
        assert_alike(&replies);
    }
}
