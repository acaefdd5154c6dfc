//! What counts as a click, and as whose.

use chrono::{DurationRound as _, TimeDelta};
use reqwest::Method;
use serde_json::Value;
use testkit::app::TestApp;

use super::{FIREFOX, Owner, PHONE, app, click, summary, visitor};
use crate::support::Bearer;

const ROBOTS: &str = include_str!("../../../../domain/src/clicks/agent/robots.txt");
const PEOPLE: &str = include_str!("../../../../domain/src/clicks/agent/people.txt");

#[tokio::test(flavor = "multi_thread")]
async fn people_count_and_robots_head_prefetch_and_the_owner_are_marked() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let bob = Owner::of(&app, "bob").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let path = format!("/l/{link}");

    let first = visitor(&app, "203.0.113.7", FIREFOX);
    click(&first, link).await;
    click(&first, link).await;
    // The same network and browser is the same visitor; another of either is another.
    click(&visitor(&app, "203.0.113.8", FIREFOX), link).await;
    click(&visitor(&app, "203.0.114.7", FIREFOX), link).await;
    click(&visitor(&app, "203.0.113.7", PHONE), link).await;
    ada.until(link, "5/3/0/0").await;

    for robot in ROBOTS.lines() {
        click(&visitor(&app, "203.0.113.7", robot), link).await;
    }
    let robots = ROBOTS.lines().count();
    first.send(Method::HEAD, &path, None, &[]).await.expect(302);
    for header in [
        ("Sec-Purpose", "prefetch;prerender"),
        ("Purpose", "prefetch"),
        ("X-Moz", "prefetch"),
        ("X-Purpose", "preview"),
        ("Sec-Fetch-Mode", "no-cors"),
    ] {
        first.send(Method::GET, &path, None, &[header]).await.expect(302);
    }
    click(&app.client(), link).await;
    let bots = robots + 1 + 5 + 1;
    ada.until(link, &format!("5/3/{bots}/0")).await;

    // The owner, by cookie and by token; somebody else who is signed in is a visitor.
    for client in [&ada.client, &Bearer::login(&app, "ada").await.client] {
        client.send(Method::GET, &path, None, &[("User-Agent", FIREFOX)]).await.expect(302);
    }
    bob.client.send(Method::GET, &path, None, &[("User-Agent", FIREFOX)]).await.expect(302);
    first.send(Method::GET, &path, None, &[("Sec-Fetch-Mode", "navigate")]).await.expect(302);
    ada.until(link, &format!("7/4/{bots}/2")).await;

    let all = ada.client.get(&format!("/api/links/{link}/stats/?include_bots=true")).await.expect(200).json();
    assert_eq!(summary(&all["totals"]), format!("{}/4/{bots}/2", 7 + bots));
    let page = ada.page_stats().await;
    assert_eq!(summary(&page["totals"]), format!("7/4/{bots}/2"));
    // Nobody else sees them.
    bob.client.get(&format!("/api/links/{link}/stats/")).await.expect(404);
    app.client().get(&format!("/api/links/{link}/stats/")).await.expect(401);
    assert_eq!(summary(&bob.page_stats().await["totals"]), "0/0/0/0");
}

/// The items of a list, as `value clicks`.
fn items(stats: &Value, list: &str) -> Vec<String> {
    let items = stats[list].as_array().unwrap().iter();
    let mut items: Vec<_> =
        items.map(|item| format!("{} {}", item["value"].as_str().unwrap(), item["clicks"])).collect();
    items.sort();
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_are_told_apart_by_device_browser_system_and_where_from() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let mut devices = std::collections::BTreeMap::<&str, u32>::new();
    for line in PEOPLE.lines() {
        let (expected, agent) = line.split_once('|').unwrap();
        *devices.entry(expected.split(", ").next().unwrap()).or_default() += 1;
        click(&visitor(&app, "203.0.113.7", agent), link).await;
    }
    let people = PEOPLE.lines().count();
    let from = visitor(&app, "203.0.113.7", FIREFOX);
    for referer in
        ["https://www.instagram.com/ada?secret", "https://instagram.com/", "http://trellis.test/@ada"]
    {
        from.send(Method::GET, &format!("/l/{link}"), None, &[("Referer", referer)]).await.expect(302);
    }
    *devices.entry("desktop").or_default() += 3;
    ada.until(link, &format!("{}/{people}/0/0", people + 3)).await;

    let stats = ada.stats(link).await;
    let expected: Vec<_> = devices.iter().map(|(device, count)| format!("{device} {count}")).collect();
    assert_eq!(items(&stats, "devices"), expected);
    assert_eq!(items(&stats, "referrers"), [format!(" {}", people + 1), "instagram.com 2".to_owned()]);
    assert!(items(&stats, "browsers").contains(&"Samsung Internet 2".to_owned()), "{stats}");
    assert!(items(&stats, "systems").contains(&"KaiOS 1".to_owned()), "{stats}");
    assert_eq!(
        items(&stats, "countries"),
        [format!(" {}", people + 3)],
        "nobody said where the countries are"
    );
    let page = ada.page_stats().await;
    for list in ["devices", "referrers", "browsers", "systems", "countries"] {
        assert_eq!(items(&page, list), items(&stats, list));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_the_clicks_of_its_links_and_each_visitor_once() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let one = ada.link(&app, "One", "https://example.org/1").await;
    let two = ada.link(&app, "Two", "https://example.org/2").await;
    let three = ada.link(&app, "Three", "https://example.org/3").await;
    let (guest, other) = (visitor(&app, "203.0.113.7", FIREFOX), visitor(&app, "198.51.100.7", FIREFOX));
    for (client, link) in [(&guest, one), (&guest, two), (&guest, two), (&other, two)] {
        click(client, link).await;
    }
    ada.until(two, "3/2/0/0").await;
    let page = ada.page_stats().await;
    assert_eq!(summary(&page["totals"]), "4/2/0/0", "two visitors, who clicked three links between them");
    let links: Vec<_> = page["links"].as_array().unwrap().iter().collect();
    let shown: Vec<_> = links
        .iter()
        .map(|link| format!("{} {} {}", link["title"].as_str().unwrap(), link["clicks"], link["unique"]))
        .collect();
    assert_eq!(shown, ["Two 3 2", "One 1 1", "Three 0 0"]);
    assert_eq!(links[2]["id"], three.to_string());
    assert_eq!(
        (page["totals"]["views"].as_i64(), page["totals"]["click_through_rate"].as_f64()),
        (Some(0), Some(0.0))
    );
}

async fn salts(app: &TestApp) -> Vec<String> {
    let sql = "SELECT day::text FROM click_salts ORDER BY day";
    app.database.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn purge(app: &TestApp) {
    domain::housekeeping::purge(&app.database.pool(1), app.clock.now()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_a_visitor_is_a_new_one_after_midnight_and_nobody_after_48_hours() {
    let mut app = app().await;
    // Half an hour before midnight, so that the salt of the next day is made ahead.
    let now = app.clock.now();
    let midnight = now.duration_trunc(TimeDelta::days(1)).unwrap() + TimeDelta::days(1);
    app.clock.advance(midnight - TimeDelta::minutes(30) - now);
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    click(&guest, link).await;
    click(&guest, link).await;
    ada.until(link, "2/1/0/0").await;
    let (today, tomorrow) = ((midnight - TimeDelta::days(1)).date_naive(), midnight.date_naive());
    assert_eq!(salts(&app).await, [today.to_string(), tomorrow.to_string()]);

    app.clock.advance(TimeDelta::minutes(31));
    let ada = Owner { client: app.login("ada").await, ..ada };
    click(&guest, link).await;
    click(&guest, link).await;
    ada.until(link, "4/2/0/0").await;
    let hashes: i64 = app.database.value("SELECT count(DISTINCT visitor) FROM click_visitors").await;
    assert_eq!(hashes, 4, "of the link and of the page, on two days");
    purge(&app).await;
    assert_eq!(salts(&app).await.len(), 2);

    // 48 hours after the first day began its salt is gone, and so is everything that was made with it.
    app.clock.advance(TimeDelta::days(1));
    purge(&app).await;
    assert_eq!(salts(&app).await, [tomorrow.to_string()]);
    let days = "SELECT count(*) FROM click_visitors WHERE day < '".to_owned() + &tomorrow.to_string() + "'";
    assert_eq!(app.database.value::<i64>(&days).await, 0);
    app.clock.advance(TimeDelta::days(2));
    purge(&app).await;
    assert_eq!(salts(&app).await, [""; 0]);
    let left: i64 = app
        .database
        .value("SELECT (SELECT count(*) FROM click_visitors) + (SELECT count(*) FROM click_batches)")
        .await;
    assert_eq!(left, 0);
    // The figures stay, for two years.
    let ada = Owner { client: app.login("ada").await, ..ada };
    assert_eq!(summary(&ada.stats(link).await["totals"]), "4/2/0/0");
    app.clock.advance(TimeDelta::days(800));
    purge(&app).await;
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM click_hours").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_figures_are_in_the_export_and_go_with_the_account() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let bob = Owner::of(&app, "bob").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let others = bob.link(&app, "x", "https://example.org/").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    click(&guest, link).await;
    click(&guest, others).await;
    ada.until(link, "1/1/0/0").await;
    bob.until(others, "1/1/0/0").await;
    let export = ada.client.get("/api/me/export/").await.expect(200).json();
    let rows = export["data"]["page_figures"].as_array().unwrap();
    let mut subjects: Vec<_> =
        rows.iter().map(|row| row["subject_id"].as_str().unwrap().to_owned()).collect();
    subjects.sort();
    let mut expected = [ada.id.to_string(), link.to_string()];
    expected.sort();
    assert_eq!(subjects, expected);

    // A click that is still on its way finds nobody.
    app.stop_worker().await;
    click(&guest, link).await;
    let password = serde_json::json!({ "password": testkit::app::PASSWORD });
    ada.client.delete("/api/me/", password).await.expect(202);
    app.start_worker();
    click(&guest, others).await;
    bob.until(others, "2/1/0/0").await;
    let id = ada.id;
    let left = format!(
        "SELECT count(*) FROM click_hours WHERE subject_id IN ('{id}', '{link}') OR value = '{link}'"
    );
    let left: i64 = app.database.value(&left).await;
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_deleted_link_go_and_those_of_its_page_stay() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let kept = ada.link(&app, "y", "https://example.org/").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    click(&guest, link).await;
    click(&guest, kept).await;
    ada.until(kept, "1/1/0/0").await;
    ada.client.delete_empty(&format!("/api/links/{link}/")).await.expect(204);
    ada.client.get(&format!("/api/links/{link}/stats/")).await.expect(404);
    let page = ada.page_stats().await;
    assert_eq!(summary(&page["totals"]), "2/1/0/0");
    assert_eq!(page["links"].as_array().unwrap().len(), 1);
    let of_link = format!("SELECT count(*) FROM click_hours WHERE subject_id = '{link}' OR value = '{link}'");
    assert_eq!(app.database.value::<i64>(&of_link).await, 0);
}

/// A referrer is whatever anybody sends: a hundred an hour are kept by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_referrers_ends_in_one_row() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    for n in 0..130 {
        let referer = format!("https://r{n}.example/");
        guest.send(Method::GET, &format!("/l/{link}"), None, &[("Referer", &referer)]).await.expect(302);
    }
    ada.until(link, "130/1/0/0").await;
    let stats = ada.stats(link).await;
    let hours: i64 =
        app.database.value("SELECT count(DISTINCT hour) FROM click_hours WHERE dimension = 2").await;
    let rows = format!("SELECT count(*) FROM click_hours WHERE dimension = 2 AND subject_id = '{link}'");
    let rows: i64 = app.database.value(&rows).await;
    assert!(rows <= 101 * hours, "{rows} rows in {hours} hours");
    let sum: i64 =
        stats["referrers"].as_array().unwrap().iter().map(|item| item["clicks"].as_i64().unwrap()).sum();
    assert!(hours > 1 || stats["referrers"][0]["value"] == "(other)", "{stats}");
    assert!(hours > 1 || sum == 129, "a hundred of a hundred and one values are shown: {sum}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_have_the_country_that_the_operators_file_knows_and_a_new_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countries.mmdb");
    testkit::countries::write(&file, &[("::203.0.113.0/120", "DE"), ("2001:db8::/32", "FR")]);
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
        settings.set("TRUSTED_PROXIES", "127.0.0.1").set("GEOIP_DATABASE", file.to_str().unwrap());
    })
    .await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    for address in ["203.0.113.7", "203.0.113.200", "2001:db8:1::7", "198.51.100.7"] {
        click(&visitor(&app, address, FIREFOX), link).await;
    }
    ada.until(link, "4/3/0/0").await;
    assert_eq!(items(&ada.stats(link).await, "countries"), [" 1", "DE 2", "FR 1"]);

    // A file that is none changes nothing; a good one does, without a restart.
    std::fs::write(&file, "no database").unwrap();
    testkit::countries::write(
        &folder.path().join("new"),
        &[("::198.51.100.0/120", "JP"), ("::203.0.113.0/120", "IT")],
    );
    std::fs::rename(folder.path().join("new"), &file).unwrap();
    let mut clicks = 4;
    testkit::app::eventually("the new file is read", async || {
        click(&visitor(&app, "198.51.100.7", FIREFOX), link).await;
        clicks += 1;
        ada.until(link, &format!("{clicks}/3/0/0")).await;
        let countries = items(&ada.stats(link).await, "countries");
        if countries.iter().any(|item| item.starts_with("JP")) { Ok(()) } else { Err(countries.join(", ")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_a_page_are_counted_and_clicks_held_against_them() {
    let mut app = app().await;
    app.start_worker();
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    let guest = visitor(&app, "203.0.113.7", FIREFOX);
    let first = guest.get("/@ada").await.expect(200);
    let tag = first.header("etag").unwrap().to_owned();
    // Who has it already sees it again.
    guest.send(Method::GET, "/@ada", None, &[("If-None-Match", &tag)]).await.expect(304);
    visitor(&app, "203.0.114.7", PHONE).get("/@ada").await.expect(200);
    // Programs read the page as JSON; that is no view. Nobody looks at a page that is not there.
    guest.get("/api/u/ada/").await.expect(200);
    guest.get("/@nobody").await.expect(404);
    guest.send(Method::HEAD, "/@ada", None, &[]).await.expect(200);
    visitor(&app, "203.0.113.7", ROBOTS.lines().next().unwrap()).get("/@ada").await.expect(200);
    ada.client.send(Method::GET, "/@ada", None, &[("User-Agent", FIREFOX)]).await.expect(200);
    click(&guest, link).await;
    ada.until(link, "1/1/0/0").await;
    let page = ada.page_stats().await;
    let totals = &page["totals"];
    assert_eq!((totals["views"].as_i64(), totals["unique_views"].as_i64()), (Some(3), Some(2)), "{page}");
    assert_eq!(totals["click_through_rate"].as_f64(), Some(0.3333));
    let phone = page["devices"].as_array().unwrap().iter().find(|item| item["value"] == "phone").unwrap();
    assert_eq!((phone["clicks"].as_i64(), phone["views"].as_i64()), (Some(0), Some(1)));
    let all = ada.client.get("/api/profile/stats/?include_bots=true").await.expect(200).json();
    assert_eq!(all["totals"]["views"], 5);
}
