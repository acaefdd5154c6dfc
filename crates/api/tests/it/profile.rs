//! `/api/profile/`: what is kept of what people say about themselves, and what is refused.

use chrono::TimeDelta;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::Client;

use crate::support::{Bearer, buy_premium, quick_app, with_page, within_a_second};

const PATH: &str = "/api/profile/";

async fn patch(client: &Client, body: Value) -> Value {
    client.patch(PATH, body).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_what_was_last_said_and_what_is_left_out_stays() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let first = ada.get(PATH).await.expect(200).json();
    assert_eq!(first["page_url"], "http://trellis.test/@ada");
    assert_eq!(
        (&first["display_name"], &first["bio"], &first["theme"]),
        (&json!(""), &json!(""), &json!("paper"))
    );
    assert_eq!(
        (&first["listed"], &first["social"], &first["avatar_url"]),
        (&json!(true), &json!([]), &Value::Null)
    );
    assert_eq!(
        (&first["premium"], &first["links_limit"], &first["version"]),
        (&json!(false), &json!(50), &json!(0))
    );
    assert_eq!((&first["disabled"], &first["public"]), (&Value::Null, &json!(true)));

    let social = json!([{ "network": "github", "url": "https://github.com/ada" },
                        { "network": "email", "url": "mailto:ada@example.org" }]);
    let body = json!({ "display_name": "  Ada 👩‍🚀 أدا ", "bio": "one\r\ntwo", "theme": "dusk", "listed": false, "social": social });
    let full = patch(&ada, body).await;
    assert_eq!((&full["display_name"], &full["bio"]), (&json!("Ada 👩‍🚀 أدا"), &json!("one\ntwo")));
    assert_eq!((&full["theme"], &full["listed"], &full["social"]), (&json!("dusk"), &json!(false), &social));
    assert_eq!(full["version"], 1);

    let part = patch(&ada, json!({ "bio": "three" })).await;
    assert_eq!(
        (&part["display_name"], &part["social"], &part["theme"]),
        (&full["display_name"], &social, &json!("dusk"))
    );
    assert_eq!((&part["bio"], &part["version"]), (&json!("three"), &json!(2)));

    let cleared =
        patch(&ada, json!({ "display_name": null, "bio": "", "theme": null, "social": null })).await;
    assert_eq!(
        (&cleared["display_name"], &cleared["bio"], &cleared["theme"]),
        (&json!(""), &json!(""), &json!("paper"))
    );
    assert_eq!((&cleared["social"], &cleared["listed"]), (&json!([]), &json!(false)));
    assert_eq!(ada.get(PATH).await.expect(200).json(), cleared);

    // What nobody sees says so.
    app.register("carol", None).await.expect(201);
    let carol = Bearer::login(&app, "carol").await.client;
    assert_eq!(carol.get(PATH).await.expect(200).json()["public"], false);
    // Nobody else's is touched.
    let bob = with_page(&app, "bob").await;
    assert_eq!(bob.get(PATH).await.expect(200).json()["listed"], true);
    app.client().get(PATH).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_every_wrong_value_of_a_profile_is_named_and_nothing_is_written() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let place = |network: &str, url: &str| json!({ "social": [{ "network": network, "url": url }] });
    for (body, errors) in [
        (json!({ "display_name": "a".repeat(61) }), vec!["/display_name too_long"]),
        (json!({ "display_name": "a\nb" }), vec!["/display_name invalid_character"]),
        (json!({ "display_name": "a\u{202e}b" }), vec!["/display_name invalid_character"]),
        (json!({ "display_name": "a\0" }), vec!["/display_name invalid_character"]),
        (
            json!({ "display_name": 7, "listed": null }),
            vec!["/display_name wrong_type", "/listed wrong_type"],
        ),
        (json!({ "bio": "b".repeat(501), "listed": "yes" }), vec!["/bio too_long", "/listed wrong_type"]),
        (json!({ "bio": "a\u{7}b" }), vec!["/bio invalid_character"]),
        (json!({ "theme": "neon" }), vec!["/theme invalid_value"]),
        (json!({ "theme": "aurora" }), vec!["/theme premium_needed"]),
        (json!({ "theme": "" }), vec!["/theme empty"]),
        (json!({ "social": {} }), vec!["/social wrong_type"]),
        (json!({ "social": ["x"] }), vec!["/social/0 wrong_type"]),
        (json!({ "social": [{}] }), vec!["/social/0/network required", "/social/0/url required"]),
        (place("myspace", "https://example.org"), vec!["/social/0/network invalid_value"]),
        (place("github", "https://github.com.evil.example/"), vec!["/social/0/url invalid_url"]),
        (place("website", "javascript:alert(1)"), vec!["/social/0/url invalid_url"]),
        (place("website", "data:text/html,x"), vec!["/social/0/url invalid_url"]),
        (place("website", "https://a:b@example.org/"), vec!["/social/0/url invalid_url"]),
        (place("website", "https://example.org/\n"), vec![]),
        (place("website", "https://example.org/\u{7}x"), vec!["/social/0/url invalid_character"]),
        (
            json!({ "social": vec![json!({ "network": "website", "url": "https://example.org" }); 13] }),
            vec!["/social too_long"],
        ),
        (
            json!({ "version": 7, "disabled": null, "user_id": "x" }),
            vec!["/disabled unknown_field", "/user_id unknown_field", "/version unknown_field"],
        ),
    ] {
        if errors.is_empty() {
            // White space around an address is nobody's intention.
            ada.patch(PATH, body).await.expect(200);
            ada.patch(PATH, json!({ "social": null })).await.expect(200);
            continue;
        }
        let before = ada.get(PATH).await.expect(200).json();
        let reply = ada.patch(PATH, body.clone()).await;
        assert_eq!(
            (reply.status, reply.errors()),
            (422, errors.iter().map(|e| (*e).to_owned()).collect()),
            "{body}"
        );
        assert_eq!(ada.get(PATH).await.expect(200).json(), before, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn premium_buys_a_theme_and_room_which_lapse_without_a_loss() {
    let app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
        settings.set("LINKS_PER_PAGE", "2").set("LINKS_PER_PAGE_PREMIUM", "3");
    })
    .await;
    let ada = with_page(&app, "ada").await;
    buy_premium(&app, "ada", &ada).await;
    let profile = patch(&ada, json!({ "theme": "aurora" })).await;
    assert_eq!(
        (&profile["theme"], &profile["premium"], &profile["links_limit"]),
        (&json!("aurora"), &json!(true), &json!(3))
    );
    for title in ["one", "two", "three"] {
        crate::support::add_link(&ada, title).await;
    }
    let page = app.client().get("/api/u/ada/").await.expect(200).json();
    assert_eq!(page["theme"], "aurora");

    app.clock.advance(TimeDelta::days(8));
    let ada = Bearer::login(&app, "ada").await.client;
    let profile = ada.get(PATH).await.expect(200).json();
    assert_eq!((&profile["theme"], &profile["premium"]), (&json!("aurora"), &json!(false)));
    let page = within_a_second("the default theme shows", async || {
        let page = app.client().get("/api/u/ada/").await.expect(200).json();
        if page["theme"] == "paper" { Ok(page) } else { Err(page.to_string()) }
    })
    .await;
    assert_eq!(page["links"].as_array().unwrap().len(), 3, "nothing is lost");
    let refused =
        ada.post("/api/links/", json!({ "title": "four", "url": "https://example.org" })).await.expect(409);
    assert_eq!((refused.code().as_str(), &refused.json()["limit"]), ("link_limit", &json!(2)));
    // What is there may be changed still, and the choice of the theme is kept.
    patch(&ada, json!({ "bio": "later" })).await;
    assert_eq!(ada.get(PATH).await.json()["theme"], "aurora");
}
