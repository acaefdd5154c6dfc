//! Limits over several replicas behind a load balancer: one count for all of them, by whoever really asks.

use std::time::{Duration, Instant};

use deadpool_redis::redis;
use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Method;
use serde_json::json;
use testkit::app::PASSWORD;
use testkit::balancer::{Balancer, SOURCE};
use testkit::client::{Client, Reply};
use testkit::stack::{Stack, StackOptions, busy, credentials};

/// 60 a minute by address, and it needs no database.
const LIMITED: &str = "/api/referral-codes/x/";

async fn stack(apis: usize, settings: &[(&str, &str)]) -> Stack {
    let settings = [&[("RATE_LIMITS", "on"), ("TRUSTED_PROXIES", SOURCE)][..], settings].concat();
    Stack::start(StackOptions { apis, workers: 0, settings: &settings }).await
}

/// A browser in a network of its own.
fn browser(balancer: &Balancer, network: u8) -> Client {
    Client::new(&balancer.base()).calling_from(&format!("127.1.{network}.1"))
}

async fn fail(client: &Client, identifier: &str) -> Reply {
    client.post("/api/login/", json!({ "identifier": identifier, "password": "wrong-Guess-17" })).await
}

/// How many of `count` requests, some at a time, were let through, and how many more came back meanwhile.
async fn let_through(client: &Client, count: usize, headers: impl Fn(usize) -> String) -> (usize, usize) {
    let began = Instant::now();
    let replies = stream::iter(0..count).map(|index| {
        let forwarded = headers(index);
        async move {
            let named = [("X-Forwarded-For", forwarded.as_str())];
            client.send(Method::GET, LIMITED, None, if forwarded.is_empty() { &[] } else { &named }).await
        }
    });
    let statuses: Vec<u16> = replies.buffer_unordered(8).map(|reply| reply.status).collect().await;
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    let through = statuses.iter().filter(|status| **status == 200).count();
    (through, usize::try_from(began.elapsed().as_secs()).unwrap() + 1)
}

/// Within a tenth of the quota, besides what came back.
fn assert_about(what: &str, (through, back): (usize, usize), quota: usize) {
    let (least, most) = (quota - quota / 10, quota + quota / 10 + back);
    assert!((least..=most).contains(&through), "{what}: {through} were let through instead of {quota}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_the_curve_of_wrong_passwords_is_the_same_for_everybody_however_many_replicas_there_are() {
    let stack = stack(3, &[]).await;
    stack.register(0, "ada", None).await.expect(201);
    for replicas in 1..=3 {
        let balancer = Balancer::over(&stack.apis[..replicas]).await;
        let known = format!("ada{replicas}");
        stack.register(0, &known, None).await.expect(201);
        for identifier in [format!("{known}@example.org"), format!("nobody{replicas}@example.org")] {
            let mut curve = Vec::new();
            for network in 0..20 {
                let reply = fail(&browser(&balancer, network), &identifier).await;
                curve.push(reply.status);
                assert!(reply.header("ratelimit-policy").unwrap().contains("\"login-account\";q=10;w=900"));
                assert!(reply.header("ratelimit").is_some());
                if reply.status == 429 {
                    let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=90).contains(&wait), "{wait}");
                }
            }
            let expected = [&[401; 10][..], &[429; 10]].concat();
            assert_eq!(curve, expected, "{identifier} at {replicas} replicas");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_strangers_slow_each_other_and_never_lock_the_owner_out() {
    let stack = stack(2, &[]).await;
    let balancer = Balancer::over(&stack.apis).await;
    stack.register(0, "ada", None).await.expect(201);
    let owner = browser(&balancer, 200);
    owner.post("/api/login/", credentials("ada")).await.expect(200);
    owner.post_empty("/api/logout/").await.expect(204);
    let stolen = browser(&balancer, 201);
    stolen.set_cookie("device", &owner.cookie("device").expect("it outlives the session").value);

    for network in 0..20 {
        fail(&browser(&balancer, network), "ada").await;
    }
    browser(&balancer, 202).post("/api/login/", credentials("ada")).await.expect(429);
    owner.post("/api/login/", credentials("ada")).await.expect(200);
    // A stolen cookie has ten tries, whichever replica it asks, and no other known browser is concerned.
    let mut curve = Vec::new();
    for _ in 0..12 {
        curve.push(fail(&stolen, "ada").await.status);
    }
    assert_eq!(curve, [&[401; 10][..], &[429; 2]].concat());
    for _ in 0..3 {
        owner.post("/api/login/", credentials("ada")).await.expect(200);
    }

    // It ends by itself: Redis forgets every count within a quarter of an hour.
    let mut connection = stack.redis.connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:limit:*").query_async(&mut connection).await.unwrap();
    assert!(keys.len() > 20, "{keys:?}");
    for key in &keys {
        let ttl: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await.unwrap();
        assert!(ttl <= 900_000, "{key} stays for {ttl} ms");
        // As if that time had passed.
        redis::cmd("DEL").arg(key).exec_async(&mut connection).await.unwrap();
    }
    browser(&balancer, 203).post("/api/login/", credentials("ada")).await.expect(200);
    stolen.post("/api/login/", json!({ "identifier": "ada", "password": PASSWORD })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_list_of_stolen_passwords_from_one_network_is_measured_logged_and_slowed() {
    let stack = stack(2, &[]).await;
    let balancer = Balancer::over(&stack.apis).await;
    stack.register(0, "ada", None).await.expect(201);
    let known = browser(&balancer, 7);
    known.post("/api/login/", credentials("ada")).await.expect(200);
    let mut curve = Vec::new();
    for index in 0..40 {
        curve.push(fail(&browser(&balancer, 7), &format!("victim-{index}@example.org")).await.status);
    }
    let through = curve.iter().filter(|status| **status == 401).count();
    assert!((27..=33).contains(&through), "{curve:?}");
    assert_eq!(curve[39], 429);
    // Whoever signed in from that network before still does, and other networks know nothing of it.
    known.post("/api/login/", credentials("ada")).await.expect(200);
    browser(&balancer, 8).post("/api/login/", credentials("ada")).await.expect(200);

    let mut measured = 0;
    for api in &stack.apis {
        let metrics = api.metrics().await;
        let log = api.log();
        assert!(!log.contains("127.1.7") && !log.contains("victim-"), "{log}");
        if metrics.contains("credential_stuffing_total 1") {
            measured += 1;
            assert!(log.contains("passwords of many accounts are tried from one network"), "{log}");
        } else {
            assert!(metrics.contains("credential_stuffing_total 0"), "{metrics}");
        }
    }
    assert_eq!(measured, 1, "the replica that saw the last one says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn h4_behind_the_balancer_each_client_is_itself_whatever_it_writes() {
    let stack = stack(2, &[]).await;
    let balancer = Balancer::over(&stack.apis).await;
    let made_up = |index: usize| format!("6.6.{index}.6, 203.0.113.{index}");
    assert_about("made up", let_through(&browser(&balancer, 1), 150, made_up).await, 60);
    // The balancer is nobody: another client has its own quota.
    let nothing = |_| String::new();
    assert_eq!(let_through(&browser(&balancer, 2), 30, nothing).await.0, 30);
    // Past the balancer nobody is believed.
    let direct = Client::new(&stack.apis[0].base()).calling_from("127.1.3.1");
    assert_about("direct", let_through(&direct, 150, made_up).await, 60);
    // Nor is one who names the balancer as the client.
    let as_balancer = |_| SOURCE.to_owned();
    assert_about("as the balancer", let_through(&browser(&balancer, 4), 150, as_balancer).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_the_limit_is_the_limit_at_one_two_and_four_replicas() {
    let _busy = busy().await;
    let stack = stack(4, &[]).await;
    for replicas in [1, 2, 4] {
        let balancer = Balancer::over(&stack.apis[..replicas]).await;
        let client = browser(&balancer, u8::try_from(replicas).unwrap());
        let found = let_through(&client, 200, |_| String::new()).await;
        println!("{} of 200 were let through by {replicas} replicas", found.0);
        assert_about(&format!("{replicas} replicas"), found, 60);
        let refused = client.get(LIMITED).await;
        if refused.status == 429 {
            assert_eq!(refused.header("retry-after"), Some("1"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h6_without_redis_each_replica_allows_its_share_and_the_owner_gets_in() {
    let mut stack = stack(2, &[("API_REPLICAS", "2")]).await;
    let balancer = Balancer::over(&stack.apis).await;
    for name in ["ada", "bob"] {
        stack.register(0, name, None).await.expect(201);
    }
    let owner = browser(&balancer, 200);
    owner.post("/api/login/", credentials("ada")).await.expect(200);
    stack.redis.stop().await.unwrap();
    let began = Instant::now();
    let mut through = 0;
    for network in 0..100 {
        let reply = fail(&browser(&balancer, network), "ada").await;
        match reply.status {
            401 => through += 1,
            status => {
                assert_eq!(status, 429);
                assert!(reply.header("retry-after").is_some());
            }
        }
    }
    assert_eq!(through, 10, "five at each of two");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Good passwords are as good as ever: of others, and of the owner from a known browser.
    browser(&balancer, 201).post("/api/login/", credentials("bob")).await.expect(200);
    owner.post("/api/login/", credentials("ada")).await.expect(200);
    owner.get("/api/me/").await.expect(200);
    stack.redis.restart().await.unwrap();
    browser(&balancer, 202).post("/api/login/", credentials("bob")).await.expect(200);
}
