//! Replacing the processes behind the proxy one after the other, as a deploy does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use testkit::app::within;
use testkit::client::Client;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, credentials, registration};
use tokio::time::sleep;

use super::{PUBLIC_URL, SOURCE, addresses, shipped};

/// Clients, each with connections of its own.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_rolling_restart_of_three_replicas_behind_the_shipped_proxy_fails_no_request() {
    let _busy = busy().await;
    // A little more than the two health checks that the proxy needs to see it.
    let settings = [("PUBLIC_URL", PUBLIC_URL), ("TRUSTED_PROXIES", SOURCE), ("DRAIN_SECONDS", "4")];
    let mut stack = Stack::start(StackOptions { apis: 0, workers: 1, settings: &settings }).await;
    // They come back where the proxy looks for them.
    let net = rand::random::<[u8; 2]>();
    for number in 1..=3 {
        let address = format!("127.{}.{}.{number}:18080", net[0], net[1]);
        stack.start_api(&[("HTTP_ADDR", &address)]).await.wait_for_readiness(200, RECOVERY).await;
    }
    let proxy = shipped(&addresses(&stack), &[]).await;
    let ada = Client::new(&proxy.base());
    ada.post("/api/register/", registration("ada", None)).await.expect(201);
    ada.post("/api/login/", credentials("ada")).await.expect(200);

    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = join_all((0..CLIENTS).map(|number| load(&ada, number, &over, &answered)));
    let apis = &mut stack.apis;
    let replacing = async {
        for api in apis {
            let served = answered.load(Ordering::SeqCst);
            within(RECOVERY, "the load goes on", async || match answered.load(Ordering::SeqCst) {
                now if now > served + 200 => Ok(()),
                now => Err(format!("{now} answers")),
            })
            .await;
            api.sigterm();
            assert_eq!(api.exit(RECOVERY).await.code(), Some(0));
            api.restart().await;
            api.wait_for_readiness(200, RECOVERY).await;
            // The next one leaves when this one has work again.
            within(RECOVERY, "the proxy sends it requests", async || {
                let log = api.log();
                let life = log.rsplit("the api listens").next().unwrap();
                if life.contains("answered a request") { Ok(()) } else { Err(life.to_owned()) }
            })
            .await;
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(load, replacing);
    println!("{} requests, none failed", answered.load(Ordering::SeqCst));
    let log = proxy.log();
    assert!(!log.contains("\"http.status\":5"), "{log}");
    stack.jobs_done().await;
}

/// Reads and writes until it is over; each must be answered well.
async fn load(ada: &Client, number: usize, over: &AtomicBool, answered: &AtomicUsize) {
    // The answers to one browser set no cookies that another sends.
    let ada = ada.stolen();
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        round += 1;
        if round % 10 == 0 {
            ada.post("/api/register/", registration(&format!("guest{number}-{round}"), None))
                .await
                .expect(201);
        } else {
            ada.get("/api/me/").await.expect(200);
        }
        answered.fetch_add(1, Ordering::SeqCst);
        // Some 200 requests a second in all.
        sleep(Duration::from_millis(40)).await;
    }
}
