//! Sessions over two replicas: what one ends, the other refuses, whatever Redis does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use testkit::client::Client;
use testkit::stack::{Stack, StackOptions, busy};
use tokio::time::sleep;

const TWO_APIS: StackOptions<'_> = StackOptions { apis: 2, workers: 0, settings: &[] };

/// Signs ada in and lets both replicas know her; returns her browser at each.
async fn signed_in(stack: &Stack) -> [Client; 2] {
    let first = stack.login(0, "ada").await;
    let second = first.at(&stack.apis[1].base());
    // Two browsers, so that the first does not forget the cookies that the second is told to.
    let both = [first.stolen(), second.stolen()];
    for browser in &both {
        browser.get("/api/me/").await.expect(200);
        browser.get("/api/referral-stats/").await.expect(200);
    }
    both
}

async fn assert_refused(browser: &Client) {
    for path in ["/api/me/", "/api/referral-stats/"] {
        assert_eq!(browser.get(path).await.expect(401).code(), "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_logout_on_one_replica_holds_on_the_other_at_once_with_redis_up_emptied_frozen_and_down() {
    let mut stack = Stack::start(TWO_APIS).await;
    stack.register(0, "ada", None).await.expect(201);
    let [kept, _] = signed_in(&stack).await;

    let [here, there] = signed_in(&stack).await;
    there.post_empty("/api/logout/").await.expect(204);
    assert_refused(&here).await;
    stack.redis.empty().await.unwrap();
    assert_refused(&here).await;

    let [frozen, there] = signed_in(&stack).await;
    stack.redis.pause().await.unwrap();
    there.post_empty("/api/logout/").await.expect(204);
    let began = Instant::now();
    assert_refused(&frozen).await;
    stack.redis.resume().await.unwrap();
    // What Redis held is believed for a second from when it was asked, and no longer.
    sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
    assert_refused(&frozen).await;

    let [down, there] = signed_in(&stack).await;
    stack.redis.stop().await.unwrap();
    there.post_empty("/api/logout/").await.expect(204);
    assert_refused(&down).await;
    kept.get("/api/me/").await.expect(200);

    stack.redis.restart().await.unwrap();
    for browser in [&here, &frozen, &down] {
        assert_refused(browser).await;
        assert_refused(&browser.at(&stack.apis[1].base())).await;
    }
    kept.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_redis_emptied_under_load_costs_no_error_no_session_and_no_revocation() {
    let _busy = busy().await;
    let stack = Stack::start(TWO_APIS).await;
    stack.register(0, "ada", None).await.expect(201);
    let [gone, there] = signed_in(&stack).await;
    there.post_empty("/api/logout/").await.expect(204);
    let browsers = signed_in(&stack).await;
    let wanted = browsers[0].get("/api/referral-stats/").await.expect(200).body;

    let over = AtomicBool::new(false);
    let readers = browsers.iter().chain(&browsers).map(async |browser| {
        let mut answers = 0;
        while !over.load(Ordering::SeqCst) {
            assert_eq!(browser.get("/api/referral-stats/").await.expect(200).body, wanted);
            answers += 1;
        }
        answers
    });
    let emptying = async {
        for _ in 0..20 {
            stack.redis.empty().await.unwrap();
            assert_refused(&gone).await;
            sleep(Duration::from_millis(50)).await;
        }
        over.store(true, Ordering::SeqCst);
    };
    let (answers, ()) = tokio::join!(join_all(readers), emptying);
    println!("{} answers while Redis was emptied 20 times", answers.iter().sum::<usize>());
}
