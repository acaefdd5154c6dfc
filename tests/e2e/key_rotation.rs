//! Keys of access tokens are exchanged under traffic, replica after replica behind a load balancer, and no request fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use testkit::app::within;
use testkit::balancer::Balancer;
use testkit::client::Client;
use testkit::keys::Ed25519Pair;
use testkit::process::Process;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, credentials};

const OLD: &str = "old:Wq2sX8vB5nM1kL7jH4gF9dS3aP6oI0uY";
const NEW: &str = "new:Zr6tG1yH8uJ3iK5oL9pQ2wE7aS4dF0xC";
const BROWSERS: usize = 4;

/// Somebody who uses the API without a pause, and refreshes the tokens all the time.
struct Browser {
    client: Client,
    refreshed: AtomicUsize,
}

impl Browser {
    async fn go_on(&self, over: &AtomicBool) -> usize {
        let mut requests = 0;
        while !over.load(Ordering::SeqCst) {
            for _ in 0..8 {
                self.client.get("/api/me/").await.expect(200);
            }
            self.client.post_empty("/api/token/refresh/").await.expect(200);
            self.refreshed.fetch_add(1, Ordering::SeqCst);
            requests += 9;
        }
        requests
    }
}

/// Waits until nobody has a token that was signed before now.
async fn all_refreshed(browsers: &[Browser]) {
    let refreshed = || browsers.iter().map(|b| b.refreshed.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let before = refreshed();
    within(RECOVERY, "everybody refreshes", async || {
        // The first may have been under way.
        let all = refreshed().iter().zip(&before).all(|(now, before)| *now >= before + 2);
        if all { Ok(()) } else { Err(format!("{:?}", refreshed())) }
    })
    .await;
}

/// One replica after the other, as a deployment does: told to stop, ended, started at the same address, waited for.
async fn roll(apis: &mut [Process], settings: &[(&str, &str)]) {
    for api in apis {
        let address = api.base().replace("http://", "");
        api.sigterm();
        assert_eq!(api.exit(RECOVERY).await.code(), Some(0));
        api.restart_with(&[settings, &[("HTTP_ADDR", address.as_str())]].concat()).await;
        api.wait_for_readiness(200, RECOVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_keys_and_algorithms_are_exchanged_under_traffic_without_a_failed_request() {
    let _busy = busy().await;
    // An address of their own, so that nobody takes a port while its process is exchanged.
    let settings = &[("DRAIN_SECONDS", "1"), ("HTTP_ADDR", "127.0.0.3:0"), ("JWT_KEYS", OLD)];
    let mut stack = Stack::start(StackOptions { apis: 2, workers: 0, settings }).await;
    let balancer = Balancer::over(&stack.apis).await;
    let pair = Ed25519Pair::new();
    let (old_new, new_old) = (format!("{OLD},{NEW}"), format!("{NEW},{OLD}"));
    let steps = [
        (old_new.as_str(), ""),
        (new_old.as_str(), ""),
        (NEW, pair.public.as_str()),
        (NEW, pair.private.as_str()),
        ("off", pair.private.as_str()),
    ];
    stack.register(0, "ada", None).await.expect(201);
    let login = async || {
        let client = Client::new(&balancer.base());
        client.post("/api/login/", credentials("ada")).await.expect(200);
        client
    };
    let mut browsers = Vec::new();
    for _ in 0..BROWSERS {
        browsers.push(Browser { client: login().await, refreshed: AtomicUsize::new(0) });
    }
    // Each keeps the token of its step.
    let mut keepers = vec![login().await];
    let over = AtomicBool::new(false);
    let traffic = join_all(browsers.iter().map(|browser| browser.go_on(&over)));
    let apis = &mut stack.apis;
    let rotating = async {
        for (jwt, ed25519) in steps {
            roll(apis, &[("JWT_KEYS", jwt), ("JWT_ED25519_KEYS", ed25519)]).await;
            all_refreshed(&browsers).await;
            keepers.push(login().await);
        }
        over.store(true, Ordering::SeqCst);
    };
    let (requests, ()) = tokio::join!(traffic, rotating);
    println!("{} requests during the exchange, none failed", requests.iter().sum::<usize>());

    // By whom the last replica's ring takes tokens: the Ed25519 key alone, which signed in the last two steps.
    for api in &stack.apis {
        let mut taken = Vec::new();
        for keeper in &keepers {
            taken.push(keeper.stolen().at(&api.base()).get("/api/me/").await.status);
        }
        assert_eq!(taken, [401, 401, 401, 401, 200, 200], "{}", api.name());
    }
    // Nobody was signed out by it: each session goes on with a token of the new key.
    for keeper in &keepers {
        keeper.post_empty("/api/token/refresh/").await.expect(200);
        keeper.get("/api/me/").await.expect(200);
    }
}
