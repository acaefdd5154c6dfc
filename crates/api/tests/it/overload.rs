//! More sign-ins than can be hashed: the rest is told to come back, and everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};

use crate::support::OTHER_PASSWORD;

#[tokio::test(flavor = "multi_thread")]
async fn a13_a_flood_of_sign_ins_is_served_or_sent_away_and_starves_nothing_else() {
    let app = TestApp::api_with(|settings| {
        settings.set("HASH_QUEUE", "32");
    })
    .await;
    app.register("ada", None).await.expect(201);
    let over = Arc::new(AtomicBool::new(false));
    let live = tokio::spawn({
        let (client, over) = (app.client(), Arc::clone(&over));
        async move {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                client.get("/health/live").await.expect(200);
                times.push(begun.elapsed());
            }
            times
        }
    });
    let logins = (0..300).map(|index| {
        let password = if index % 2 == 0 { PASSWORD } else { OTHER_PASSWORD };
        let body = json!({ "identifier": "ada", "password": password }).to_string().into_bytes();
        let client = app.client();
        async move {
            let body = Some(("application/json", body));
            client.try_send(Method::POST, "/api/login/", body, &[]).await.unwrap()
        }
    });
    let replies = join_all(logins).await;
    over.store(true, Ordering::Relaxed);
    let mut times = live.await.unwrap();

    for reply in &replies {
        match reply.status {
            200 => assert_eq!(reply.json()["user"]["username"], "ada"),
            401 => assert_eq!(reply.code(), "invalid_credentials"),
            503 => {
                assert!(["overloaded", "unavailable"].contains(&reply.code().as_str()), "{reply:?}");
                assert!(reply.header("retry-after").is_some_and(|wait| wait.parse::<u32>().unwrap() >= 1));
            }
            _ => panic!("{reply:?}"),
        }
    }
    let served = replies.iter().filter(|reply| reply.status != 503).count();
    assert!(served >= 32, "{served} were served");
    assert!(served < 300, "the flood was no flood");
    times.sort_unstable();
    let slow = times[times.len() * 99 / 100];
    assert!(slow < Duration::from_millis(100), "99 % of {} took {slow:?} at most", times.len());
    // And it is over when it is over.
    app.login("ada").await;
}
