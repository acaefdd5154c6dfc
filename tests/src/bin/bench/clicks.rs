//! How fast one worker rolls clicks up, and how much of Redis they take until then; and how many links a second are followed.

use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use chrono::{TimeDelta, Utc};
use domain::clicks::{Agent, Batch, Event, Kind, LARGEST_BATCH, Mark, Stream, Visitor};
use domain::redis::Redis;
use testkit::app::TestApp;
use testkit::redis::RedisServer;
use uuid::Uuid;

use super::median;
use super::stats::{CONNECTIONS, bare_server, wrk};

/// Pages, links on each, and visitors, that the clicks are spread over.
const PAGES: usize = 100;
const LINKS: usize = 10;
const VISITORS: usize = 50_000;

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
];

const SEED: &str = "
    INSERT INTO users (id, username, username_key, email, email_verified_at, referral_code, created_at)
    SELECT gen_random_uuid(), 'p' || n, 'p' || n, 'p' || n || '@example.org', now(), lpad(n::text, 10, '0'), now()
    FROM generate_series(1, {pages}) AS n;
    INSERT INTO profiles (user_id, updated_at) SELECT id, now() FROM users;
    INSERT INTO links (id, user_id, kind, title, url, position, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'link', 'x', 'https://example.org/', n, now(), now()
    FROM users, generate_series(1, {links}) AS n;
    ANALYZE;
";

/// Rolls up `clicks` clicks of the last day.
pub(super) async fn roll_up(clicks: usize) {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let mut app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", secrecy::ExposeSecret::expose_secret(&url));
    })
    .await;
    let seed = SEED.replace("{pages}", &PAGES.to_string()).replace("{links}", &LINKS.to_string());
    app.database.batch_execute(&seed).await.unwrap();
    let rows =
        app.database.query("SELECT id::text, user_id::text FROM links ORDER BY id", &[]).await.unwrap();
    let id = |text: &str| text.parse::<Uuid>().unwrap();
    let links: Vec<(Uuid, Uuid)> = rows.iter().map(|row| (id(row.get(0)), id(row.get(1)))).collect();
    let stream = Stream::new(Redis::new(&url, 2).unwrap(), app.settings.get("REDIS_PREFIX").unwrap());

    let empty = used(&redis).await;
    let began = Instant::now();
    let mut sent = 0;
    while sent < clicks {
        let count = LARGEST_BATCH.min(clicks - sent);
        let now = app.clock.now();
        let events = (sent..sent + count).map(|number| event(number, &links, now)).collect();
        stream.push(&Batch { id: Uuid::now_v7(), made_at: now, events }).await.unwrap();
        sent += count;
    }
    let pushed = began.elapsed().as_secs_f64();
    let (full, bytes) = (used(&redis).await, stream.bytes().await.unwrap());

    let began = Instant::now();
    app.start_worker();
    loop {
        let counted: i64 = app
            .database
            .value(
                "SELECT coalesce(sum(clicks + robot_clicks), 0)::bigint FROM click_hours WHERE dimension = 1",
            )
            .await;
        eprint!("\r  {counted} clicks counted   ");
        if usize::try_from(counted).unwrap() == clicks {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!();
    app.stop_worker().await;
    let rows: i64 = app.database.value("SELECT count(*) FROM click_hours").await;
    let left = used(&redis).await;
    println!(
        "Rolling up {clicks} clicks of {} links on {PAGES} pages, over a day, one worker process",
        links.len()
    );
    println!("  {took:.1} s, {:.0} clicks/s, into {rows} rows", clicks as f64 / took);
    println!("  brought to Redis at {:.0} clicks/s", clicks as f64 / pushed);
    println!(
        "  Redis: {:.1} MB before, {:.1} MB with them ({:.1} MB the stream), {:.1} MB after",
        megabytes(empty),
        megabytes(full),
        megabytes(bytes),
        megabytes(left)
    );
}

fn event(number: usize, links: &[(Uuid, Uuid)], now: chrono::DateTime<Utc>) -> Event {
    // A walk that repeats late and looks like chance.
    let walk = number.wrapping_mul(2_654_435_761) >> 7;
    let (link, owner) = links[walk % links.len()];
    let who = u64::try_from(walk / 7 % VISITORS).unwrap();
    let agent = Agent::read(AGENTS[walk % AGENTS.len()]);
    let visitor = |of: Uuid| {
        let mut bytes = *of.as_bytes();
        bytes[..8].copy_from_slice(&who.to_be_bytes());
        Visitor(bytes)
    };
    Event {
        kind: Kind::Click,
        mark: if agent.robot { Mark::Robot } else { Mark::Person },
        at: now - TimeDelta::seconds(i64::try_from(walk % 86_400).unwrap()),
        subject: link,
        visitor: (!agent.robot).then(|| visitor(link)),
        page_visitor: (!agent.robot).then(|| visitor(owner)),
        device: agent.device,
        browser: agent.browser,
        system: agent.system,
        country: None,
        referrer: ["", "instagram.com", "t.co"][walk % 3].to_owned(),
    }
}

async fn used(redis: &RedisServer) -> u64 {
    let mut connection = redis.connection().await.unwrap();
    let info: String =
        deadpool_redis::redis::cmd("INFO").arg("memory").query_async(&mut connection).await.unwrap();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}

/// Follows a link, against a bare actix-web route with as small an answer.
pub(super) async fn follow(rounds: usize, round: Duration) {
    let app = TestApp::api_only().await;
    let seed = SEED.replace("{pages}", "1").replace("{links}", "1");
    app.database.batch_execute(&seed).await.unwrap();
    let link: String = app.database.value("SELECT id::text FROM links").await;
    let header = format!("User-Agent: {}", AGENTS[0]);
    let bare = bare_server("text/plain", Bytes::from_static(b"")).await;
    let (url, bare_url) = (format!("{}/l/{link}", app.base()), format!("http://{bare}/"));
    app.client().get(&format!("/l/{link}")).await.expect(302);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let our = wrk(&url, &header, round).await;
        let their = wrk(&bare_url, &header, round).await;
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    println!(
        "GET /l/{{link_id}}, each click counted, {CONNECTIONS} connections, {rounds} rounds of {round:?}"
    );
    println!("  ours            {:>9.0} requests/s", median(&mut ours));
    println!("  bare actix-web  {:>9.0} requests/s", median(&mut theirs));
    println!("  ratio           {:>9.2}", median(&mut ratios));
}
