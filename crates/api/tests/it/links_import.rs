//! Links from elsewhere, and to elsewhere.

use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::{add_link, quick_app, with_page};

const LINKSTACK: &str = r#"{"links":[
 {"id":1,"link":"https://example.org/shop","title":"Shop","order":1,"up_link":"yes","button_id":1},
 {"id":2,"link":null,"title":"Hello","order":0,"up_link":"no","button_id":"42"},
 {"id":3,"link":"javascript:alert(1)","title":"Bad","order":2,"up_link":"no","button_id":1},
 {"id":4,"link":null,"title":"<b>words</b>","order":3,"up_link":"no","button_id":93}]}"#;

const LITTLELINK: &str = r##"<div class="button-stack"><a class="button button-default" href="#">LittleLink</a>
<a class="button button-github" href="https://github.com/ada"><img alt="" src="x">GitHub</a></div><a href="/x">No button</a>"##;

const HTML: &str = r#"<ul><li><a href="https://example.org/a">One</a><li><a href="/relative">Two</a>
<li><a href="https://example.org/a">One</a><li><a href="https://bank.example@evil.example/">Three</a><li><a href="https://no-title.example/"></a></ul>
<script>document.write('<a href="https://script.example">no</a>')</script>"#;

async fn import(client: &Client, format: &str, content: &str, apply: bool) -> Reply {
    client.post("/api/links/import/", json!({ "format": format, "content": content, "apply": apply })).await
}

async fn links(client: &Client) -> Vec<Value> {
    client.get("/api/links/").await.expect(200).json()["items"].as_array().unwrap().clone()
}

/// `line title` of what is made, and `line code` of what is not.
fn told(reply: &Value) -> (Vec<String>, Vec<String>) {
    let of = |list: &str, name: &str| {
        let items = reply[list].as_array().unwrap().iter();
        items.map(|item| format!("{} {}", item["line"], item[name].as_str().unwrap())).collect()
    };
    (of("links", "title"), of("refused", "code"))
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_every_format_are_tried_first_and_then_taken() {
    let app = quick_app().await;
    for (name, format, content, made, refused) in [
        (
            "linkstack",
            "linkstack",
            LINKSTACK,
            vec!["2 Hello", "1 Shop"],
            vec!["3 invalid_url", "4 unsupported"],
        ),
        ("littlelink", "littlelink", LITTLELINK, vec!["2 GitHub"], vec!["1 placeholder"]),
        (
            "csvcsv",
            "csv",
            "title,url\nShop,https://example.org/\n,tel:+4989123\nBad,ftp://example.org/\nx\ny,https://example.org/,z\n",
            vec!["2 Shop", "3 +4989123", "6 y"],
            vec!["4 invalid_url", "5 malformed"],
        ),
        (
            "htmlhtml",
            "html",
            HTML,
            vec!["1 One", "2 no-title.example"],
            vec!["1 invalid_url", "2 invalid_url", "2 duplicate"],
        ),
    ] {
        let client = with_page(&app, name).await;
        let dry = import(&client, format, content, false).await.expect(200).json();
        assert_eq!(
            told(&dry),
            (
                made.iter().map(ToString::to_string).collect(),
                refused.iter().map(ToString::to_string).collect()
            ),
            "{format}"
        );
        assert_eq!((&dry["applied"], &dry["fits"], &dry["before"]), (&json!(false), &json!(true), &json!(0)));
        assert_eq!(links(&client).await, Vec::<Value>::new(), "a dry run makes nothing");
        let wet = import(&client, format, content, true).await.expect(200).json();
        assert_eq!((told(&wet), &wet["applied"]), (told(&dry), &json!(true)));
        let titles: Vec<_> =
            links(&client).await.iter().map(|link| link["title"].as_str().unwrap().to_owned()).collect();
        assert_eq!(
            titles,
            made.iter().map(|made| made.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
        );
        // The same list again makes nothing.
        let again = import(&client, format, content, true).await.expect(200).json();
        assert_eq!(again["links"], json!([]), "{again}");
        assert_eq!(links(&client).await.len(), made.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_taken_whole_or_not_at_all_however_many_send_it_at_once() {
    let app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("LINKS_PER_PAGE", "10");
    })
    .await;
    let ada = with_page(&app, "ada").await;
    add_link(&ada, "First").await;
    let rows = |name: &str, count: usize| {
        let rows = (0..count).map(|index| format!("{name}{index},https://{name}.example/{index}\n"));
        rows.collect::<String>()
    };
    let dry = import(&ada, "csv", &rows("x", 10), false).await.expect(200).json();
    assert_eq!((&dry["fits"], &dry["limit"], &dry["before"]), (&json!(false), &json!(10), &json!(1)));
    let full = import(&ada, "csv", &rows("x", 10), true).await.expect(409);
    assert_eq!((full.code().as_str(), &full.json()["limit"]), ("link_limit", &json!(10)));
    assert_eq!(links(&ada).await.len(), 1);
    let tasks: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| {
            let (client, content) = (ada.clone(), rows(name, 4));
            tokio::spawn(async move { import(&client, "csv", &content, true).await.status })
        })
        .into();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 409, 409]);
    assert_eq!(links(&ada).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_blocked_domains_come_in_by_no_list() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    let sql = "INSERT INTO blocked_domains VALUES ('evil.example', '00000000-0000-7000-8000-000000000001', 'x', now())";
    app.database.batch_execute(sql).await.unwrap();
    let content = "A,https://www.evil.example/\nB,https://good.example/\n";
    let reply = import(&ada, "csv", content, true).await.expect(200).json();
    assert_eq!(told(&reply), (vec!["2 B".to_owned()], vec!["1 blocked_domain".to_owned()]));
    assert_eq!(links(&ada).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_a_body_that_is_no_list_is_refused_at_its_field() {
    let app = quick_app().await;
    let ada = with_page(&app, "ada").await;
    for (body, error) in [
        (json!({}), "/format required"),
        (json!({ "format": "csv" }), "/content required"),
        (json!({ "format": "xml", "content": "x" }), "/format invalid_value"),
        (json!({ "format": "csv", "content": "" }), "/content empty"),
        (json!({ "format": "csv", "content": 7 }), "/content wrong_type"),
        (json!({ "format": "csv", "content": "a\0b" }), "/content invalid_character"),
        (json!({ "format": "csv", "content": "x", "apply": "yes" }), "/apply wrong_type"),
        (json!({ "format": "csv", "content": "x", "apply": null }), "/apply wrong_type"),
        (json!({ "format": "csv", "content": "x", "user_id": 1 }), "/user_id unknown_field"),
        (json!({ "format": "linkstack", "content": "<html>" }), "/content invalid_value"),
        (json!({ "format": "linkstack", "content": "[]" }), "/content invalid_value"),
        (json!({ "format": "json", "content": "title,url" }), "/content invalid_value"),
        (json!({ "format": "html", "content": "<a href=x>".repeat(1_001) }), "/content too_long"),
    ] {
        let reply = ada.post("/api/links/import/", body.clone()).await.expect(422).json();
        let errors: Vec<_> = reply["errors"].as_array().unwrap().iter().collect();
        let found = errors.iter().any(|found| {
            format!("{} {}", found["pointer"].as_str().unwrap(), found["code"].as_str().unwrap()) == error
        });
        assert!(found, "{error}: {reply}");
    }
    let rows = "x,https://example.org/\n".repeat(20_000);
    assert_eq!(import(&ada, "csv", &rows, false).await.expect(422).code(), "validation");
    let comment = format!("<!-- {} --><a href='https://example.org/'>x</a>", "x".repeat(900_000));
    assert_eq!(import(&ada, "html", &comment, false).await.expect(200).json()["links"][0]["title"], "x");
    let huge = "x".repeat(1_048_577);
    assert_eq!(import(&ada, "html", &huge, false).await.expect(413).code(), "payload_too_large");
    // The other routes keep their bound.
    let title = "x".repeat(70_000);
    ada.post("/api/links/", json!({ "title": title, "url": "https://example.org/" })).await.expect(413);
    assert_eq!(links(&ada).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_what_is_exported_comes_in_again_as_it_was_and_runs_in_no_spreadsheet() {
    let app = quick_app().await;
    let (ada, bob) = (with_page(&app, "ada").await, with_page(&app, "bob").await);
    for title in
        ["=HYPERLINK(\"https://evil.example\")", "+1", "-1", "@x", "'quoted", "a, \"b\"; c", "שלום 😀"]
    {
        add_link(&ada, title).await;
    }
    ada.post("/api/links/", json!({ "kind": "header", "title": "Top" })).await.expect(201);
    let timed = json!({ "title": "Timed", "url": "tel:+4989123", "enabled": false, "pinned": true, "highlighted": true,
        "visible_from": "2026-01-01T00:00:00Z", "visible_until": "2027-01-01T00:00:00.5Z" });
    ada.post("/api/links/", timed).await.expect(201);
    add_link(&bob, "Other").await;

    let csv = ada.get("/api/links/export/?format=csv").await.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"links.csv\""));
    assert_eq!(csv.header("cache-control"), Some("no-store"));
    assert!(!csv.text().contains("Other"), "only one's own");
    assert!(csv.text().contains("'=HYPERLINK") && !csv.text().contains("\"=HYPERLINK"), "{}", csv.text());
    let json = ada.get("/api/links/export/").await.expect(200).json();
    assert_eq!(json["links"].as_array().unwrap().len(), 9);

    for (name, format, content) in [("eve", "csv", csv.text()), ("dan", "json", json.to_string())] {
        let other = with_page(&app, name).await;
        let reply = import(&other, format, &content, true).await.expect(200).json();
        assert_eq!(reply["refused"], json!([]), "{format}");
        assert_eq!(other.get("/api/links/export/").await.expect(200).json(), json, "{format}");
        let again = import(&other, format, &content, true).await.expect(200).json();
        assert_eq!(again["links"], json!([]), "{format}");
    }
    ada.get("/api/links/export/?format=xml").await.expect(422);
    app.client().get("/api/links/export/").await.expect(401);
}
