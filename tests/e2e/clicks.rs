//! Clicks under faults: workers killed in the middle of counting, Redis stopped, full and frozen, an api that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deadpool_redis::redis;
use domain::clock::Clock;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Method;
use testkit::app::within;
use testkit::client::Client;
use testkit::config::seed;
use testkit::dump;
use testkit::process::Process;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy};
use uuid::Uuid;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/142.0.0.0 Safari/537.36";
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// What is lost while Redis is away, and while the stream is full.
const LOST_TO_REDIS: &str = "trellis_clicks_lost_total{reason=\"redis\"}";
const LOST_TO_STREAM: &str = "trellis_clicks_lost_total{reason=\"stream\"}";

const TRUSTING: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

/// Somebody with a confirmed address and links.
struct Page {
    owner: Client,
    links: Vec<Uuid>,
}

async fn page(stack: &Stack, username: &str, links: usize) -> Page {
    let owner = stack.member(username).await;
    let mut page = Page { owner, links: Vec::new() };
    let sql = format!(
        "UPDATE users SET email_verified_at = now() WHERE username = '{username}';
         INSERT INTO profiles (user_id, updated_at) SELECT id, now() FROM users WHERE username = '{username}'"
    );
    stack.database.batch_execute(&sql).await.unwrap();
    for position in 0..links {
        let id = Uuid::now_v7();
        let sql = format!(
            "INSERT INTO links (id, user_id, kind, title, url, position, created_at, updated_at)
             SELECT '{id}', id, 'link', 'x', 'https://example.org/{position}', {position}, now(), now()
             FROM users WHERE username = '{username}'"
        );
        stack.database.batch_execute(&sql).await.unwrap();
        page.links.push(id);
    }
    page
}

fn visitor(stack: &Stack, api: usize, address: &str, agent: &str) -> Client {
    stack.client(api).with_header("X-Forwarded-For", address).with_header("User-Agent", agent)
}

/// `clicks/unique/bots` of a link or page that the database has.
async fn figures(stack: &Stack, subject: &str) -> String {
    let sql = format!(
        "SELECT format('%s/%s/%s', coalesce(sum(clicks), 0), coalesce(sum(unique_clicks), 0), coalesce(sum(robot_clicks), 0))
         FROM click_hours WHERE dimension = 0 AND subject_id = '{subject}'"
    );
    stack.database.value(&sql).await
}

async fn until(stack: &Stack, subject: &str, wanted: &str) {
    within(RECOVERY, &format!("the figures of {subject} are {wanted}"), async || {
        match figures(stack, subject).await {
            found if found == wanted => Ok(()),
            found => Err(found),
        }
    })
    .await;
}

async fn waiting_batches(stack: &Stack) -> u64 {
    let key = format!("{}:v1:clicks", stack.settings.get("REDIS_PREFIX").unwrap());
    let mut connection = stack.redis.connection().await.unwrap();
    redis::cmd("XLEN").arg(key).query_async(&mut connection).await.unwrap()
}

async fn until_counted(stack: &Stack) {
    within(RECOVERY, "nothing waits to be counted", async || match waiting_batches(stack).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
}

/// A figure that a process publishes; 0 if it does not.
async fn metric(process: &Process, line: &str) -> u64 {
    let metrics = process.metrics().await;
    let found = metrics.lines().find_map(|found| found.strip_prefix(line));
    found.map_or(0, |value| value.trim().parse().unwrap())
}

/// What one visitor does to one link.
#[derive(Clone, Copy)]
struct Visit {
    api: usize,
    page: usize,
    link: usize,
    network: u8,
    agent: &'static str,
    head: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_clicks_at_three_apis_counted_by_two_workers_under_kills_equal_a_model() {
    const CLICKS: usize = 2_000;
    let _busy = busy().await;
    let mut random = StdRng::seed_from_u64(seed());
    let mut stack = Stack::start(StackOptions { apis: 3, workers: 2, settings: &[TRUSTING] }).await;
    let pages = [page(&stack, "ada", 3).await, page(&stack, "bob", 2).await];
    let visits: Vec<Visit> = (0..CLICKS)
        .map(|_| {
            let page = random.random_range(0..pages.len());
            Visit {
                api: random.random_range(0..3),
                page,
                link: random.random_range(0..pages[page].links.len()),
                network: random.random_range(0..200),
                agent: [FIREFOX, CHROME, ROBOT][random.random_range(0..3)],
                head: random.random_bool(0.05),
            }
        })
        .collect();
    let clients: Vec<Client> = (0..3).map(|api| stack.client(api)).collect();
    let clock = Clock::system();
    let day = clock.now().date_naive();
    let clicking = join_all((0..8).map(async |lane| {
        for visit in visits.iter().skip(lane).step_by(8) {
            let address = format!("203.0.{}.7", visit.network);
            let headers = [("X-Forwarded-For", address.as_str()), ("User-Agent", visit.agent)];
            let method = if visit.head { Method::HEAD } else { Method::GET };
            let path = format!("/l/{}", pages[visit.page].links[visit.link]);
            clients[visit.api].send(method, &path, None, &headers).await.expect(302);
        }
    }));
    let workers = &mut stack.workers;
    let killing = async {
        for round in 0..6 {
            tokio::time::sleep(Duration::from_millis(random.random_range(50..400))).await;
            workers[round % 2].restart().await;
        }
    };
    tokio::join!(clicking, killing);
    assert_eq!(clock.now().date_naive(), day, "a midnight came between: visitors are others now");

    let mut model = BTreeMap::<String, (u32, BTreeSet<(u8, &str)>, u32)>::new();
    for visit in &visits {
        let owner: String = stack
            .database
            .value(&format!(
                "SELECT user_id::text FROM links WHERE id = '{}'",
                pages[visit.page].links[visit.link]
            ))
            .await;
        for subject in [pages[visit.page].links[visit.link].to_string(), owner] {
            let (clicks, visitors, robots) = model.entry(subject).or_default();
            if visit.head || visit.agent == ROBOT {
                *robots += 1;
            } else {
                *clicks += 1;
                visitors.insert((visit.network, visit.agent));
            }
        }
    }
    for (subject, (clicks, visitors, robots)) in &model {
        until(&stack, subject, &format!("{clicks}/{}/{robots}", visitors.len())).await;
    }
    until_counted(&stack).await;
    for (subject, (clicks, visitors, robots)) in &model {
        assert_eq!(figures(&stack, subject).await, format!("{clicks}/{}/{robots}", visitors.len()));
    }
    // What is told apart adds up to the same.
    let sums: i64 = stack
        .database
        .value(
            "SELECT count(*) FROM (SELECT subject_id, hour, dimension, sum(clicks) AS a, sum(unique_clicks) AS b, sum(robot_clicks) AS c
                                   FROM click_hours WHERE dimension <> 1 GROUP BY 1, 2, 3) AS d
             JOIN click_hours AS t USING (subject_id, hour)
             WHERE t.dimension = 0 AND (a, b, c) <> (t.clicks, t.unique_clicks, t.robot_clicks)",
        )
        .await;
    assert_eq!(sums, 0);
    let stats = pages[0].owner.get("/api/profile/stats/").await.expect(200).json();
    let of_links: i64 =
        stats["links"].as_array().unwrap().iter().map(|link| link["clicks"].as_i64().unwrap()).sum();
    assert_eq!(stats["totals"]["clicks"], of_links);
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_a_worker_that_is_killed_in_the_middle_of_counting_loses_and_doubles_nothing() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { settings: &[TRUSTING], ..StackOptions::default() }).await;
    let ada = page(&stack, "ada", 1).await;
    let link = ada.links[0].to_string();
    let follow = async |stack: &Stack, from: u8| {
        let client = visitor(stack, 0, &format!("203.0.{from}.7"), FIREFOX);
        client.get(&format!("/l/{link}")).await.expect(302);
    };
    follow(&stack, 0).await;
    until(&stack, &link, "1/1/0").await;
    until_counted(&stack).await;

    // Killed before the commit.
    let other = stack.database.connect().await;
    let hold = format!("BEGIN; SELECT FROM click_hours WHERE subject_id = '{link}' FOR UPDATE");
    other.batch_execute(&hold).await.unwrap();
    for from in 1..=50 {
        follow(&stack, from).await;
    }
    stack.blocked(1).await;
    stack.workers[0].kill9();
    stack.workers[0].restart().await;
    assert_eq!(figures(&stack, &link).await, "1/1/0");
    other.batch_execute("COMMIT").await.unwrap();
    until(&stack, &link, "51/51/0").await;
    until_counted(&stack).await;

    // Killed after the commit, with the entries still in Redis.
    other.batch_execute(&hold).await.unwrap();
    for from in 51..=60 {
        follow(&stack, from).await;
    }
    stack.blocked(1).await;
    stack.redis.pause().await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    within(RECOVERY, "some more are counted", async || match figures(&stack, &link).await {
        found if found == "51/51/0" => Err(found),
        _ => Ok(()),
    })
    .await;
    stack.workers[0].kill9();
    stack.redis.resume().await.unwrap();
    assert!(waiting_batches(&stack).await > 0, "what is counted is still there");
    stack.workers[0].restart().await;
    until_counted(&stack).await;
    until(&stack, &link, "61/61/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_links_lead_on_while_redis_is_down_and_what_is_lost_is_known_to_the_click() {
    let settings = &[TRUSTING, ("CLICK_BUFFER", "100")];
    let mut stack = Stack::start(StackOptions { settings, ..StackOptions::default() }).await;
    let ada = page(&stack, "ada", 1).await;
    let link = ada.links[0].to_string();
    let guest = visitor(&stack, 0, "203.0.113.7", FIREFOX);
    let path = format!("/l/{link}");
    guest.get(&path).await.expect(302);
    until(&stack, &link, "1/1/0").await;

    stack.redis.stop().await.unwrap();
    for _ in 0..600 {
        guest.get(&path).await.expect(302);
    }
    let lost =
        within(RECOVERY, "the loss shows", async || match metric(&stack.apis[0], LOST_TO_REDIS).await {
            0 => Err("nothing is lost".to_owned()),
            lost => Ok(lost),
        })
        .await;
    assert!(lost < 600, "some wait: {lost}");
    stack.redis.restart().await.unwrap();
    within(RECOVERY, "what waited is counted", async || {
        let lost = metric(&stack.apis[0], LOST_TO_REDIS).await;
        let expected = format!("{}/1/0", 601 - lost);
        match figures(&stack, &link).await {
            found if found == expected => Ok(()),
            found => Err(format!("{found}, {lost} lost")),
        }
    })
    .await;
    stack.workers[0].wait_for_readiness(200, RECOVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o5_a_full_stream_takes_no_more_until_a_worker_has_made_room() {
    let settings = &[TRUSTING, ("CLICK_BUFFER", "10"), ("CLICK_STREAM_MB", "1")];
    let mut stack = Stack::start(StackOptions { workers: 0, settings, ..StackOptions::default() }).await;
    let ada = page(&stack, "ada", 1).await;
    let link = ada.links[0].to_string();
    let guest = visitor(&stack, 0, "203.0.113.7", FIREFOX);
    let path = format!("/l/{link}");
    guest.get(&path).await.expect(302);
    let key = format!("{}:v1:clicks", stack.settings.get("REDIS_PREFIX").unwrap());
    let mut add = redis::cmd("XADD");
    add.arg(&key).arg("*").arg("b").arg(vec![0_u8; 2_000_000]);
    add.exec_async(&mut stack.redis.connection().await.unwrap()).await.unwrap();

    let mut sent = 1;
    within(RECOVERY, "the stream is full", async || {
        guest.get(&path).await.expect(302);
        sent += 1;
        if metric(&stack.apis[0], LOST_TO_STREAM).await > 0 { Ok(()) } else { Err(format!("after {sent}")) }
    })
    .await;
    stack.start_worker(&[]).await;
    within(RECOVERY, "all the others are counted", async || {
        let lost = metric(&stack.apis[0], LOST_TO_STREAM).await;
        let expected = format!("{}/1/0", sent - lost);
        match figures(&stack, &link).await {
            found if found == expected => Ok(()),
            found => Err(format!("{found} of {sent}, {lost} lost")),
        }
    })
    .await;
    assert_eq!(metric(&stack.workers[0], "trellis_clicks_lost_total{reason=\"malformed\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_api_that_is_told_to_stop_brings_its_last_clicks_to_redis() {
    let mut stack =
        Stack::start(StackOptions { workers: 0, settings: &[TRUSTING], ..StackOptions::default() }).await;
    let ada = page(&stack, "ada", 1).await;
    let link = ada.links[0].to_string();
    let guest = visitor(&stack, 0, "203.0.113.7", FIREFOX);
    for _ in 0..100 {
        guest.get(&format!("/l/{link}")).await.expect(302);
    }
    stack.apis[0].sigterm();
    assert_eq!(stack.apis[0].exit(RECOVERY).await.code(), Some(0));
    stack.start_worker(&[]).await;
    until(&stack, &link, "100/1/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_neither_redis_nor_the_database_nor_a_log_holds_the_address_or_browser_of_a_visitor() {
    const CANARIES: [&str; 6] =
        ["203.0.113.77", "203.0.113.0", "zqagent7431", "zqpath7432", "zqquery7433", "2001:db8:7434"];
    let settings = &[TRUSTING, ("RUST_LOG", "trace"), ("REDIS_PREFIX", "zqprefix")];
    let stack = Stack::start(StackOptions { settings, ..StackOptions::default() }).await;
    let overheard = stack.redis.overhear().await.unwrap();
    let ada = page(&stack, "ada", 1).await;
    let link = ada.links[0].to_string();
    let agent = format!("{FIREFOX} zqagent7431");
    for address in ["203.0.113.77", "2001:db8:7434:1::7"] {
        let guest = visitor(&stack, 0, address, &agent)
            .with_header("Referer", "https://known.example/zqpath7432?zqquery7433");
        guest.get(&format!("/l/{link}")).await.expect(302);
    }
    until(&stack, &link, "2/2/0").await;
    until_counted(&stack).await;

    let backup = dump::backup(&stack.database.url()).await;
    assert!(backup.contains("known.example"), "the host of the referrer is kept");
    let mut places = vec![("the database", backup), ("what was said to Redis", overheard.text())];
    assert!(places[1].1.contains("known.example"));
    places.push(("Redis", dump::redis(&mut stack.redis.connection().await.unwrap()).await.join("\n")));
    for process in stack.processes() {
        let log = process.log();
        assert!(log.contains("TRACE"), "{}", process.name());
        places.push((process.name(), log));
        places.push(("metrics", process.metrics().await));
    }
    for (place, text) in places {
        for canary in CANARIES {
            let found = text.lines().find(|line| line.contains(canary));
            assert!(found.is_none(), "{canary} is in {place}: {}", found.unwrap_or_default());
        }
    }
}
