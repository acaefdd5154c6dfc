//! Figures over time: day by day, the leaderboard, and the live stream.

use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use serde_json::{Value, json};
use testkit::app::{PATIENCE, TestApp};
use testkit::client::Client;

use crate::crowd::Crowd;

async fn quick_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await
}

async fn bring(app: &TestApp, who: &Client, name: &str, count: usize, confirmed: usize) {
    let crowd = Crowd::at(app);
    let friends = crowd.bring(name, count, &app.code_of(who).await).await;
    crowd.confirm(&friends[..confirmed]).await;
    app.jobs_done().await;
}

/// `date clicks/registrations/successful` of each day that has any.
fn busy(series: &Value) -> Vec<String> {
    let days = series["items"].as_array().unwrap().iter();
    let figures = |day: &Value| format!("{}/{}/{}", day["clicks"], day["registrations"], day["successful"]);
    days.filter(|day| figures(day) != "0/0/0")
        .map(|day| format!("{} {}", day["date"].as_str().unwrap(), figures(day)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_has_every_day_with_visits_registrations_and_successes() {
    let mut app = quick_app().await;
    app.start_worker();
    let ada = app.member("ada").await;
    let today = app.clock.now().date_naive();
    app.client().get(&format!("/r/{}", app.code_of(&ada).await)).await.expect(302);
    bring(&app, &ada, "early", 3, 2).await;
    app.clock.advance(TimeDelta::days(2));
    let ada = app.login("ada").await;
    bring(&app, &ada, "late", 2, 2).await;

    let series = ada.get("/api/referral-stats/series/").await.expect(200).json();
    let later = today + TimeDelta::days(2);
    assert_eq!(series["items"].as_array().unwrap().len(), 30);
    assert_eq!(series["to"], later.to_string());
    assert_eq!(series["from"], (later - TimeDelta::days(29)).to_string());
    assert_eq!(busy(&series), [format!("{today} 1/3/2"), format!("{later} 0/2/2")]);

    let one = format!("/api/referral-stats/series/?from={today}&to={today}");
    assert_eq!(ada.get(&one).await.expect(200).json()["items"].as_array().unwrap().len(), 1);
    let bob = app.member("bob").await;
    assert!(busy(&bob.get("/api/referral-stats/series/").await.expect(200).json()).is_empty());
    app.client().get("/api/referral-stats/series/").await.expect(401);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_none_is_refused_by_name() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let year = "/api/referral-stats/series/?from=2024-01-01&to=2024-12-31";
    assert_eq!(ada.get(year).await.expect(200).json()["items"].as_array().unwrap().len(), 366);
    for (query, error) in [
        ("from=2024-01-01&to=2025-01-01", "?from invalid_value"),
        ("from=2024-01-02&to=2024-01-01", "?from invalid_value"),
        ("from=2024-02-30", "?from invalid_value"),
        ("to=tomorrow", "?to invalid_value"),
        ("to=+12024-01-1", "?to invalid_value"),
        ("to=", "?to empty"),
        ("to=2024-01-01&to=2024-01-01", "?to duplicate_field"),
        ("from=9999-12-31", "?from invalid_value"),
    ] {
        let reply = ada.get(&format!("/api/referral-stats/series/?{query}")).await.expect(422);
        assert_eq!(reply.errors(), [error], "{query}");
    }
    let first = ada.get("/api/referral-stats/series/?to=0000-01-01").await.expect(200).json();
    assert_eq!(first["to"], "0000-01-01");
    assert_eq!(NaiveDate::MIN.to_string().len(), 13, "there is room below the first year");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaderboard_names_who_asked_for_it_in_a_stable_order() {
    let mut app = quick_app().await;
    app.start_worker();
    let mut people = Vec::new();
    for (name, friends) in [("ada", 2), ("bob", 3), ("carol", 2), ("shy", 4), ("idle", 0), ("gone", 5)] {
        let person = app.member(name).await;
        bring(&app, &person, &format!("of-{name}"), friends, friends).await;
        if name != "shy" {
            assert_eq!(
                person.get("/api/me/leaderboard/").await.expect(200).json(),
                json!({ "named": false })
            );
            let choice = person.put("/api/me/leaderboard/", json!({})).await;
            assert_eq!(choice.errors(), ["/named required"]);
            person.put("/api/me/leaderboard/", json!({ "named": true })).await.expect(200);
            assert_eq!(person.get("/api/me/leaderboard/").await.expect(200).json(), json!({ "named": true }));
        }
        people.push(person);
    }
    let gone = people.last().unwrap();
    gone.delete("/api/me/", json!({ "password": testkit::app::PASSWORD })).await.expect(202);
    let board = |window: &'static str| {
        let client = app.client();
        async move {
            let reply = client.get(&format!("/api/leaderboard/{window}")).await.expect(200).json();
            let items = reply["items"].as_array().unwrap().clone();
            items
                .iter()
                .map(|item| format!("{} {} {}", item["rank"], item["username"], item["successful"]))
                .collect::<Vec<_>>()
        }
    };
    let expected = ["1 \"bob\" 3", "2 \"ada\" 2", "2 \"carol\" 2"];
    for window in ["", "?window=all", "?window=7d", "?window=30d"] {
        assert_eq!(board(window).await, expected, "{window}");
    }
    app.clock.advance(TimeDelta::days(8));
    assert_eq!(board("?window=7d").await, [""; 0]);
    assert_eq!(board("?window=30d").await, expected);
    let reply = app.client().get("/api/leaderboard/?window=1y").await.expect(422);
    assert_eq!(reply.errors(), ["?window invalid_value"]);
    people[1].put("/api/me/leaderboard/", json!({ "named": false })).await.expect(401);
    let bob = app.login("bob").await;
    for wrong in [json!({ "named": "yes" }), json!({ "named": null }), json!({ "named": true, "rank": 1 })] {
        bob.put("/api/me/leaderboard/", wrong).await.expect(422);
    }
    bob.put("/api/me/leaderboard/", json!({ "named": false })).await.expect(200);
    app.clock.advance(TimeDelta::seconds(31));
    assert_eq!(board("").await, ["1 \"ada\" 2", "1 \"carol\" 2"]);
}

/// A stream of events, as a browser's `EventSource` reads it.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(base: &str, client: &Client) -> Self {
        let token = client.cookie("access_token").unwrap().value;
        let url = format!("{base}/api/referral-stats/stream/");
        let request = reqwest::Client::new().get(url).header("Authorization", format!("Bearer {token}"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The figures of the next event; `None` when the stream ends.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event
                    .strip_prefix("event: stats\ndata: ")
                    .map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.into();
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("an event in time");
            self.text += std::str::from_utf8(&chunk.unwrap()?).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_stream_shows_figures_as_they_change_on_every_replica_and_ends_with_its_session() {
    let mut app = quick_app().await;
    app.start_worker();
    let ada = app.member("ada").await;
    let other = app.replica_with(|_| {}).await;
    let mut here = Events::open(&app.base(), &ada).await;
    let mut there = Events::open(&other.base(), &ada).await;
    for events in [&mut here, &mut there] {
        assert_eq!(events.next().await.unwrap(), ada.get("/api/referral-stats/").await.json());
    }
    bring(&app, &ada, "friend", 1, 1).await;
    for events in [&mut here, &mut there] {
        let mut seen = events.next().await.unwrap();
        while seen["successful"] != 1 {
            seen = events.next().await.unwrap();
        }
        assert_eq!(seen["rewards"]["credits"], "10.00");
    }
    ada.post_empty("/api/logout/").await.expect(204);
    assert_eq!((here.next().await, there.next().await), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_few_streams_and_gets_their_seats_back() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Events::open(&app.base(), &ada).await);
    }
    let sixth = ada.try_send(reqwest::Method::GET, "/api/referral-stats/stream/", None, &[]).await.unwrap();
    let reply = sixth.expect(503);
    assert_eq!(reply.code(), "overloaded");
    assert!(reply.header("retry-after").is_some());
    app.client().get("/api/referral-stats/stream/").await.expect(401);
    open.clear();
    testkit::app::eventually("a seat is free", async || {
        // The whole of a stream is never read: its head says enough.
        let token = ada.cookie("access_token").unwrap().value;
        let request = reqwest::Client::new().get(format!("{}/api/referral-stats/stream/", app.base()));
        let request =
            request.timeout(Duration::from_secs(5)).header("Authorization", format!("Bearer {token}"));
        let status = request.send().await.unwrap().status();
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
