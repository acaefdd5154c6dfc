//! Pictures of accounts and links: sent, made anew, served for good, taken away.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::{add_link, quick_app, with_page, within_a_second};

const AVATAR: &str = "/api/profile/avatar/";

/// A picture of one colour, as a PNG with a text inside that must not survive.
fn png(red: u8) -> Vec<u8> {
    let picture = image::RgbImage::from_pixel(300, 200, image::Rgb([red, 80, 120]));
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let mut file = file.into_inner();
    file.extend_from_slice(b"<script>alert('behind the end')</script>");
    file
}

async fn put(client: &Client, path: &str, media_type: &str, file: Vec<u8>) -> Reply {
    client.send_raw(Method::PUT, path, Some((media_type, file)), &[]).await
}

/// The path of a picture's address.
fn path(url: &Value) -> String {
    url.as_str().unwrap().strip_prefix("http://trellis.test").unwrap().to_owned()
}

async fn gone(app: &TestApp, path: &str) {
    within_a_second("the picture is gone", async || match app.client().get(path).await.status {
        404 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_a_picture_is_made_anew_and_served_for_good() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let first = put(&ada, AVATAR, "image/png", png(10)).await.expect(200).json()["avatar_url"].clone();
    let served = app.client().get(&path(&first)).await.expect(200);
    assert_eq!(served.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(served.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(served.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    assert!(["image/webp", "image/png", "image/jpeg"].contains(&served.header("content-type").unwrap()));
    let picture = image::load_from_memory(&served.body).unwrap();
    assert_eq!((picture.width(), picture.height()), (400, 400));
    assert!(!served.text().contains("script"), "what was behind the picture is gone");
    let page = app.client().get("/api/u/ada/").await.expect(200).json();
    assert_eq!(page["avatar_url"], first);
    assert!(
        app.client().get("/@ada").await.expect(200).text().contains(&format!("src=\"{}\"", path(&first)))
    );

    // Another picture has another address; the first is nobody's any more.
    let second = put(&ada, AVATAR, "image/png", png(200)).await.expect(200).json()["avatar_url"].clone();
    assert_ne!(first, second);
    gone(&app, &path(&first)).await;
    let cleared = ada.delete_empty(AVATAR).await.expect(200).json();
    assert_eq!(cleared["avatar_url"], Value::Null);
    gone(&app, &path(&second)).await;
    ada.delete_empty(AVATAR).await.expect(200);
    for other in [
        "/avatars/x",
        "/avatars/0",
        &path(&first).to_uppercase(),
        &path(&first).replace("avatars", "thumbnails"),
    ] {
        assert_eq!(app.client().get(other).await.status, 404, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_has_a_picture_of_its_own() {
    let app = quick_app().await;
    let (ada, bob) = (with_page(&app, "ada").await, with_page(&app, "bob").await);
    let link = add_link(&ada, "shop").await;
    let own = format!("/api/links/{}/thumbnail/", link["id"].as_str().unwrap());
    put(&bob, &own, "image/png", png(1)).await.expect(404);
    let url = put(&ada, &own, "image/png", png(1)).await.expect(200).json()["thumbnail_url"].clone();
    let served = app.client().get(&path(&url)).await.expect(200);
    assert_eq!(image::load_from_memory(&served.body).unwrap().width(), 160);
    let page = app.client().get("/api/u/ada/").await.expect(200).json();
    assert_eq!(page["links"][0]["thumbnail_url"], url);
    assert_eq!(ada.delete_empty(&own).await.expect(200).json()["thumbnail_url"], Value::Null);
    gone(&app, &path(&url)).await;
    // It goes with its link, and with its account's right to be seen.
    let url = put(&ada, &own, "image/png", png(2)).await.expect(200).json()["thumbnail_url"].clone();
    app.client().get(&path(&url)).await.expect(200);
    app.database.batch_execute("UPDATE users SET blocked_at = now() WHERE username = 'ada'").await.unwrap();
    gone(&app, &path(&url)).await;
    app.database.batch_execute("UPDATE users SET blocked_at = NULL").await.unwrap();
    ada.delete_empty(&format!("/api/links/{}/", link["id"].as_str().unwrap())).await.expect(204);
    let left: i64 = app.database.value("SELECT count(*) FROM thumbnails").await;
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_what_is_no_picture_or_too_large_is_refused_and_nothing_is_written() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let link = add_link(&ada, "shop").await;
    let thumbnail = format!("/api/links/{}/thumbnail/", link["id"].as_str().unwrap());
    let largest = 5 * 1024 * 1024;
    for path in [AVATAR, &thumbnail] {
        for media_type in [
            "application/json",
            "image/svg+xml",
            "text/html",
            "application/octet-stream",
            "multipart/form-data; boundary=x",
        ] {
            let reply = put(&ada, path, media_type, png(1)).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (415, "unsupported_media_type"),
                "{media_type}"
            );
        }
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec();
        for (file, status) in [
            (svg, 422),
            (Vec::new(), 422),
            (b"GIF".to_vec(), 422),
            (png(1)[..100].to_vec(), 422),
            (vec![0; largest], 422),
            (vec![0; largest + 1], 413),
        ] {
            let length = file.len();
            assert_eq!(put(&ada, path, "image/png", file).await.status, status, "{length} bytes");
        }
        app.client().send_raw(Method::PUT, path, Some(("image/png", png(1))), &[]).await.expect(401);
    }
    let kept: i64 =
        app.database.value("SELECT (SELECT count(*) FROM avatars) + (SELECT count(*) FROM thumbnails)").await;
    assert_eq!(kept, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_a_picture_has_as_long_to_arrive_as_any_body() {
    let app = quick_app().await;
    let replica = app.replica_tuned(|config| config.body_timeout = Duration::from_millis(300)).await;
    with_page(&app, "ada").await;
    let token = crate::support::Bearer::login(&app, "ada").await.access;
    let head = format!(
        "PUT {AVATAR} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nx"
    );
    let answer = crate::support::raw(replica.addr, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_taken_sixty_times_an_hour() {
    let app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on").set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    let ada = with_page(&app, "ada").await;
    let mut statuses = Vec::new();
    for _ in 0..61 {
        statuses.push(put(&ada, AVATAR, "image/png", b"no picture".to_vec()).await.status);
    }
    assert_eq!((statuses.iter().filter(|status| **status == 422).count(), statuses.last()), (60, Some(&429)));
    ada.patch("/api/profile/", json!({ "bio": "still" })).await.expect(200);
}
