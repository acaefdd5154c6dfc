//! Rolling clicks up, against a model in memory: whatever is delivered how often, in pieces of whatever size.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use deadpool_redis::redis;
use domain::clicks::{Batch, Country, Event, Kind, Mark, Stream, Visitor, roll_up};
use domain::clock::Clock;
use domain::redis::Redis;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::config::{redis_url, seed};
use testkit::database::TestDatabase;
use uuid::Uuid;

/// Two people with three links each, and what is not there.
struct Stage {
    database: TestDatabase,
    stream: Stream,
    pages: Vec<(Uuid, Vec<Uuid>)>,
}

impl Stage {
    async fn set() -> Self {
        let database = TestDatabase::create().await;
        let redis = Redis::new(&redis_url().into(), 4).unwrap();
        let stream = Stream::new(redis, &format!("test-{}", Uuid::new_v4().simple()));
        let mut pages = Vec::new();
        for (name, code) in [("ada", "0000000001"), ("bob", "0000000002")] {
            let (owner, links): (Uuid, Vec<Uuid>) =
                (Uuid::now_v7(), (0..3).map(|_| Uuid::now_v7()).collect());
            let person = format!(
                "INSERT INTO users (id, username, username_key, email, referral_code, created_at)
                 VALUES ('{owner}', '{name}', '{name}', '{name}@example.org', '{code}', now());
                 INSERT INTO profiles (user_id, updated_at) VALUES ('{owner}', now());"
            );
            let links_of_theirs = links.iter().enumerate().map(|(position, link)| {
                format!(
                    "INSERT INTO links (id, user_id, kind, title, url, position, created_at, updated_at)
                     VALUES ('{link}', '{owner}', 'link', 'x', 'https://example.org/', {position}, now(), now());"
                )
            });
            let links_of_theirs: Vec<String> = links_of_theirs.collect();
            database.batch_execute(&format!("{person} {}", links_of_theirs.concat())).await.unwrap();
            pages.push((owner, links));
        }
        Self { database, stream, pages }
    }

    /// The rows, as texts.
    async fn rows(&self) -> BTreeSet<String> {
        let sql = "SELECT concat_ws('|', subject_id, dimension, extract(epoch FROM hour)::bigint, value, clicks, unique_clicks,
                                    robot_clicks, own_clicks, views, unique_views, robot_views, own_views)
                   FROM click_hours";
        self.database.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

fn batches(random: &mut StdRng, stage: &Stage, now: DateTime<Utc>) -> Vec<Batch> {
    let event = |random: &mut StdRng| {
        let (owner, links) = &stage.pages[random.random_range(0..stage.pages.len())];
        let kind = if random.random_bool(0.3) { Kind::View } else { Kind::Click };
        let gone = random.random_bool(0.05);
        let subject = match kind {
            _ if gone => Uuid::from_u128(1),
            Kind::View => *owner,
            Kind::Click => links[random.random_range(0..links.len())],
        };
        let who: u8 = random.random_range(1..20);
        // With what is visited in it, as the real hash has.
        let visitor = |of: Uuid, what: u8| {
            let mut bytes = *of.as_bytes();
            bytes[0] = who;
            bytes[1] = what;
            Visitor(bytes)
        };
        let salted = random.random_bool(0.95);
        let marks = [Mark::Person, Mark::Person, Mark::Robot, Mark::Prefetch, Mark::Head, Mark::Owner];
        Event {
            kind,
            mark: marks[random.random_range(0..marks.len())],
            at: now - TimeDelta::minutes(random.random_range(0..3_000)),
            subject,
            visitor: salted.then(|| visitor(subject, u8::from(kind == Kind::View))),
            page_visitor: (salted && kind == Kind::Click).then(|| visitor(*owner, 2)),
            device: ["desktop", "phone"][random.random_range(0..2)],
            browser: ["Chrome", "Firefox", "other"][random.random_range(0..3)],
            system: "Linux",
            country: Country::from_code(["DE", "FR", ""][random.random_range(0..3)]),
            referrer: ["", "a.example", "b.example"][random.random_range(0..3)].to_owned(),
        }
    };
    let count = random.random_range(5..60);
    (0..count)
        .map(|_| {
            let events = (0..random.random_range(0..30)).map(|_| event(random)).collect();
            Batch { id: Uuid::now_v7(), made_at: now, events }
        })
        .collect()
}

/// Every row that there should be: each event looked at for each of them, with no cleverness at all.
fn model(stage: &Stage, batches: &[Batch]) -> BTreeSet<String> {
    let mut visits = HashSet::new();
    let mut flat = Vec::new();
    for event in batches.iter().flat_map(|batch| &batch.events) {
        let page = match event.kind {
            Kind::View => stage.pages.iter().find(|(owner, _)| *owner == event.subject),
            Kind::Click => stage.pages.iter().find(|(_, links)| links.contains(&event.subject)),
        };
        let Some((owner, _)) = page else { continue };
        let mut first = |visitor: Option<Visitor>| {
            event.mark == Mark::Person
                && visitor.is_some_and(|visitor| visits.insert((event.at.date_naive(), visitor)))
        };
        let (of_subject, of_page) = (first(event.visitor), first(event.page_visitor));
        flat.push((event.subject, event, of_subject, false));
        if event.kind == Kind::Click {
            flat.push((*owner, event, of_page, false));
            flat.push((*owner, event, of_subject, true));
        }
    }
    let mut rows = BTreeMap::<(Uuid, usize, i64, String), [u32; 8]>::new();
    for (subject, event, unique, by_link) in flat {
        let country = event.country.map(|country| country.as_str().to_owned()).unwrap_or_default();
        let values = [
            (0, String::new()),
            (2, event.referrer.clone()),
            (3, event.device.to_owned()),
            (4, event.browser.to_owned()),
            (5, event.system.to_owned()),
            (6, country),
        ];
        let values = if by_link { vec![(1, event.subject.to_string())] } else { values.to_vec() };
        let hour = event.at.duration_trunc(TimeDelta::hours(1)).unwrap().timestamp();
        let base = if event.kind == Kind::View { 4 } else { 0 };
        for (dimension, value) in values {
            let row = rows.entry((subject, dimension, hour, value)).or_default();
            match event.mark {
                Mark::Person => {
                    row[base] += 1;
                    row[base + 1] += u32::from(unique);
                }
                Mark::Robot | Mark::Prefetch | Mark::Head => row[base + 2] += 1,
                Mark::Owner => row[base + 3] += 1,
            }
        }
    }
    rows.into_iter()
        .map(|((subject, dimension, hour, value), counts)| {
            let counts: Vec<_> = counts.iter().map(u32::to_string).collect();
            format!("{subject}|{dimension}|{hour}|{value}|{}", counts.join("|"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_whatever_is_delivered_how_often_the_rows_are_those_of_a_model() {
    let mut random = StdRng::seed_from_u64(seed());
    let clock = Clock::system();
    for _ in 0..12 {
        let stage = Stage::set().await;
        let pool = stage.database.pool(4);
        let now = clock.now().duration_trunc(TimeDelta::milliseconds(1)).unwrap();
        let batches = batches(&mut random, &stage, now);
        let pass = async |count: usize| {
            let (one, two) = tokio::join!(
                roll_up(&pool, &stage.stream, now, count),
                roll_up(&pool, &stage.stream, now, count)
            );
            (one.unwrap(), two.unwrap())
        };
        for (index, batch) in batches.iter().enumerate() {
            stage.stream.push(batch).await.unwrap();
            // Again, now or much later.
            for _ in 0..random.random_range(0..3) {
                stage.stream.push(&batches[random.random_range(0..=index)]).await.unwrap();
            }
            if random.random_bool(0.2) {
                pass(random.random_range(1..10)).await;
            }
        }
        for _ in 0..1_000 {
            if pass(random.random_range(1..50)).await.0.left == 0 {
                break;
            }
        }
        pass(100).await;
        assert_eq!(stage.rows().await, model(&stage, &batches));
        let counted: i64 = stage.database.value("SELECT batches FROM click_rollup").await;
        assert_eq!(usize::try_from(counted).unwrap(), batches.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_counts_another_does_not_wait() {
    let stage = Stage::set().await;
    let pool = stage.database.pool(2);
    let mut random = StdRng::seed_from_u64(1);
    let now = Clock::system().now();
    for batch in batches(&mut random, &stage, now) {
        stage.stream.push(&batch).await.unwrap();
    }
    let other = stage.database.connect().await;
    other.batch_execute("BEGIN; SELECT FROM click_rollup FOR UPDATE").await.unwrap();
    let pass = roll_up(&pool, &stage.stream, now, 10).await.unwrap();
    assert!(pass.busy && pass.events() == 0);
    other.batch_execute("COMMIT").await.unwrap();
    assert!(!roll_up(&pool, &stage.stream, now, 10).await.unwrap().busy);
}

/// Each part of the figures is a range of the primary key.
#[tokio::test(flavor = "multi_thread")]
async fn figures_are_ranges_of_one_index() {
    let stage = Stage::set().await;
    let link = stage.pages[0].1[0];
    let fill = format!(
        "INSERT INTO click_hours (subject_id, dimension, hour, value, clicks)
         SELECT CASE WHEN s = 0 THEN '{link}'::uuid ELSE gen_random_uuid() END, d, h, v::text, 1
         FROM generate_series(0, 20) s, generate_series(0, 6) d, generate_series(0, 2) v,
              generate_series('2026-11-01'::timestamptz, '2026-11-08', '1 hour') h;
         ANALYZE click_hours"
    );
    stage.database.batch_execute(&fill).await.unwrap();
    for dimension in [0, 2] {
        let explain = format!(
            "EXPLAIN SELECT value, sum(clicks) FROM click_hours WHERE subject_id = '{link}' AND dimension = {dimension}
             AND hour >= '2026-11-02' AND hour < '2026-11-03' GROUP BY value"
        );
        let plan: Vec<String> =
            stage.database.query(&explain, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("click_hours_pkey") && !plan.contains("Filter"), "{plan}");
    }
}

#[tokio::test]
async fn q12_what_is_counted_leaves_redis() {
    let stage = Stage::set().await;
    let pool = stage.database.pool(2);
    let mut random = StdRng::seed_from_u64(2);
    let now = Clock::system().now();
    for batch in batches(&mut random, &stage, now) {
        stage.stream.push(&batch).await.unwrap();
    }
    while roll_up(&pool, &stage.stream, now, 50).await.unwrap().left > 0 {}
    assert!(stage.stream.bytes().await.unwrap() < 5_000);
    let client = redis::Client::open(redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let left: u64 = redis::cmd("XLEN").arg(stage.stream.key()).query_async(&mut connection).await.unwrap();
    assert_eq!(left, 0);
}
