//! The figures as they are asked for: spans, zones, CSV.

use std::time::Duration;

use serde_json::Value;
use testkit::app::{TestApp, within};
use uuid::Uuid;

use super::{FIREFOX, Owner, app, click, summary, visitor};

/// Puts clicks into an hour, as the roll-up would.
async fn put(app: &TestApp, subject: Uuid, dimension: i16, hour: &str, value: &str, clicks: i32) {
    let sql = format!(
        "INSERT INTO click_hours (subject_id, dimension, hour, value, clicks, unique_clicks, robot_clicks)
         VALUES ('{subject}', {dimension}, '{hour}', '{value}', {clicks}, 1, 2)"
    );
    app.database.batch_execute(&sql).await.unwrap();
}

/// `from clicks` of each piece.
fn series(stats: &Value) -> Vec<String> {
    let pieces = stats["series"].as_array().unwrap().iter();
    pieces.map(|piece| format!("{} {}", piece["from"].as_str().unwrap(), piece["clicks"])).collect()
}

async fn ask(owner: &Owner, link: Uuid, query: &str) -> Value {
    owner.client.get(&format!("/api/links/{link}/stats/?{query}")).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_has_every_piece_and_days_have_23_and_25_hours() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    // Clocks in Berlin go forward on 2026-03-29 and back on 2026-10-25.
    for (hour, clicks) in [
        ("2026-03-28T22:00:00Z", 1),
        ("2026-03-28T23:00:00Z", 2),
        ("2026-03-29T21:00:00Z", 4),
        ("2026-03-29T22:00:00Z", 8),
        ("2026-10-24T22:00:00Z", 16),
        ("2026-10-25T22:00:00Z", 32),
        ("2026-10-25T23:00:00Z", 64),
    ] {
        put(&app, link, 0, hour, "", clicks).await;
    }
    let spring = ask(&ada, link, "from=2026-03-28&to=2026-03-30&tz=Europe/Berlin").await;
    assert_eq!(
        series(&spring),
        ["2026-03-27T23:00:00Z 1", "2026-03-28T23:00:00Z 6", "2026-03-29T22:00:00Z 8"]
    );
    assert_eq!(summary(&spring["totals"]), "15/4/8/0");
    assert_eq!(
        (spring["from"].as_str(), spring["to"].as_str()),
        (Some("2026-03-27T23:00:00Z"), Some("2026-03-30T22:00:00Z"))
    );
    let autumn = ask(&ada, link, "from=2026-10-25&to=2026-10-26&tz=Europe/Berlin").await;
    assert_eq!(series(&autumn), ["2026-10-24T22:00:00Z 48", "2026-10-25T23:00:00Z 64"]);
    for (day, hours, clicks) in [("2026-03-29", 23, 6), ("2026-10-25", 25, 48), ("2026-11-22", 24, 0)] {
        let query = format!("from={day}&to={day}&tz=Europe/Berlin&interval=hour");
        let day = ask(&ada, link, &query).await;
        assert_eq!((series(&day).len(), &day["totals"]["clicks"]), (hours, &clicks.into()), "{query}");
    }
    let utc = ask(&ada, link, "from=2026-03-28&to=2026-03-29").await;
    assert_eq!(series(&utc), ["2026-03-28T00:00:00Z 3", "2026-03-29T00:00:00Z 12"]);
    let weeks = ask(&ada, link, "from=2026-03-25&to=2026-04-05&interval=week&include_bots=true").await;
    assert_eq!(series(&weeks), ["2026-03-25T00:00:00Z 23", "2026-03-30T00:00:00Z 0"]);
    // A time is the day that it is on, there.
    let time =
        ask(&ada, link, "from=2026-03-28T23:30:00Z&to=2026-03-29T12:00:00%2B02:00&tz=Europe/Berlin").await;
    assert_eq!(series(&time), ["2026-03-28T23:00:00Z 6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_a_series_is_the_last_thirty_days() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let today = app.clock.now().date_naive();
    for (query, pieces) in [("", 30), ("interval=hour", 7 * 24), ("interval=week", 12)] {
        let stats = ada.client.get(&format!("/api/profile/stats/?{query}")).await.expect(200).json();
        let series = stats["series"].as_array().unwrap();
        assert!((pieces..=pieces + 1).contains(&series.len()), "{query}: {}", series.len());
        assert!(stats["to"].as_str().unwrap() > today.to_string().as_str());
        assert_eq!((&stats["tz"], stats["links"].as_array().unwrap().len()), (&"UTC".into(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_every_wrong_parameter_of_the_figures_is_named() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    for path in [format!("/api/links/{link}/stats/"), "/api/profile/stats/".to_owned()] {
        for (query, errors) in [
            ("from=x", vec!["?from invalid_value"]),
            ("from=", vec!["?from empty"]),
            ("from=2026-02-30", vec!["?from invalid_value"]),
            ("from=2026-1-1", vec!["?from invalid_value"]),
            ("to=2026-11-22T10:00", vec!["?to invalid_value"]),
            ("to=99999-01-01", vec!["?to invalid_value"]),
            ("from=0001-01-01&to=0001-01-02", vec!["?from invalid_value", "?to invalid_value"]),
            ("from=2026-11-02&to=2026-11-01", vec!["?from invalid_value"]),
            ("from=2026-11-01&to=2026-12-02&interval=hour", vec!["?from invalid_value"]),
            ("from=2020-01-01&to=2026-12-02", vec!["?from invalid_value"]),
            ("from=1970-01-01", vec!["?from invalid_value"]),
            ("interval=month", vec!["?interval invalid_value"]),
            ("interval=Day", vec!["?interval invalid_value"]),
            ("tz=Berlin", vec!["?tz invalid_value"]),
            ("tz=%2B02:00", vec!["?tz invalid_value"]),
            ("tz=..%2f..%2fetc%2fpasswd", vec!["?tz invalid_value"]),
            ("tz=UTC&tz=UTC", vec!["?tz duplicate_field"]),
            ("include_bots=yes", vec!["?include_bots invalid_value"]),
            ("include_bots=1", vec!["?include_bots invalid_value"]),
            ("format=xml", vec!["?format invalid_value"]),
            ("format=csv%00", vec!["?format invalid_character"]),
            (
                "interval=x&tz=y&include_bots=z",
                vec!["?include_bots invalid_value", "?interval invalid_value", "?tz invalid_value"],
            ),
        ] {
            let reply = ada.client.get(&format!("{path}?{query}")).await.expect(422);
            let mut found = reply.errors();
            found.sort();
            assert_eq!(found, errors, "{path}?{query}");
        }
        for zone in
            ["Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia", "Etc/GMT-14", "Asia/Beirut"]
        {
            ada.client.get(&format!("{path}?tz={zone}")).await.expect(200);
        }
    }
    for path in ["x", "%00", &Uuid::now_v7().to_string()] {
        ada.client.get(&format!("/api/links/{path}/stats/")).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_a_csv_has_every_figure_and_no_formula() {
    let app = app().await;
    let ada = Owner::of(&app, "ada").await;
    let evil = ada.link(&app, "=HYPERLINK(\"https://evil.example\",\"x\")", "https://example.org/").await;
    ada.link(&app, "A, \"quoted\" title", "https://example.org/").await;
    for subject in [ada.id, evil] {
        put(&app, subject, 0, "2026-11-22T10:00:00Z", "", 7).await;
        put(&app, subject, 2, "2026-11-22T10:00:00Z", "-referrer.example", 5).await;
        put(&app, subject, 3, "2026-11-22T10:00:00Z", "phone", 7).await;
    }
    put(&app, ada.id, 1, "2026-11-22T10:00:00Z", &evil.to_string(), 7).await;
    let sql = format!(
        "UPDATE click_hours SET views = 28, unique_views = 9, own_clicks = 3 WHERE subject_id = '{}' AND dimension = 0",
        ada.id
    );
    app.database.batch_execute(&sql).await.unwrap();
    let query = "from=2026-11-22&to=2026-11-23";
    let reply = ada.client.get(&format!("/api/profile/stats/?{query}&format=csv")).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename=\"clicks.csv\""));
    let text = reply.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "\"section\",\"value\",\"title\",\"clicks\",\"unique\",\"bots\",\"views\",\"unique_views\",\"own\",\"click_through_rate\""
    );
    for line in [
        "\"totals\",\"\",\"\",\"7\",\"1\",\"2\",\"28\",\"9\",\"3\",\"0.25\"".to_owned(),
        "\"series\",\"2026-11-22T00:00:00Z\",\"\",\"7\",\"1\",\"2\",\"28\",\"9\",\"\",\"\"".to_owned(),
        "\"series\",\"2026-11-23T00:00:00Z\",\"\",\"0\",\"0\",\"0\",\"0\",\"0\",\"\",\"\"".to_owned(),
        format!(
            "\"links\",\"{evil}\",\"'=HYPERLINK(\"\"https://evil.example\"\",\"\"x\"\")\",\"7\",\"1\",\"2\",\"\",\"\",\"\",\"\""
        ),
        "\"referrers\",\"'-referrer.example\",\"\",\"5\",\"1\",\"2\",\"0\",\"0\",\"\",\"\"".to_owned(),
        "\"devices\",\"phone\",\"\",\"7\",\"1\",\"2\",\"0\",\"0\",\"\",\"\"".to_owned(),
    ] {
        assert!(lines.contains(&line.as_str()), "{line} is missing in {text}");
    }
    for accept in ["text/csv", "Text/CSV; charset=utf-8", "text/csv, application/json;q=0.5"] {
        let client = ada.client.with_header("Accept", accept);
        let sheet = client.get(&format!("/api/links/{evil}/stats/?{query}")).await.expect(200);
        assert!(sheet.header("content-type").unwrap().starts_with("text/csv"), "{accept}");
        assert!(
            sheet.text().contains("\"totals\",\"\",\"\",\"7\",\"1\",\"2\",\"\",\"\",\"0\",\"\""),
            "{}",
            sheet.text()
        );
        let json = client.get(&format!("/api/links/{evil}/stats/?{query}&format=json")).await.expect(200);
        assert_eq!(json.json()["totals"]["clicks"], 7);
    }
    let json =
        ada.client.with_header("Accept", "*/*").get(&format!("/api/links/{evil}/stats/?{query}")).await;
    assert_eq!(json.expect(200).json()["totals"]["clicks"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_click_is_in_the_figures_of_every_replica_five_seconds_later_at_most() {
    const PROMISED: Duration = Duration::from_secs(5);
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let replica = app.replica_with(|_| {}).await;
    let elsewhere = ada.client.at(&replica.base());
    // One at a time, so that each waits for a pass of its own, wherever in its pause the worker is.
    for round in 1..=5 {
        click(&visitor(&app, "203.0.113.7", FIREFOX), link).await;
        let path = format!("/api/links/{link}/stats/");
        within(PROMISED, "the click is in the figures", async || {
            for client in [&ada.client, &elsewhere] {
                let totals = client.get(&path).await.expect(200).json()["totals"].clone();
                if totals["clicks"] != round {
                    return Err(summary(&totals));
                }
            }
            Ok(())
        })
        .await;
        let page = ada.page_stats().await;
        assert_eq!(summary(&page["totals"]), format!("{round}/1/0/0"), "the page is counted with its link");
    }
}
