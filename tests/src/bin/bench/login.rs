//! Logins, against raw Argon2id with the same parameters and reused memory on all cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};

use super::{cores, median};

const CLIENTS: usize = 8;

pub(super) async fn run(rounds: usize, round: Duration) {
    let app = TestApp::api_only().await;
    app.member("ada").await;
    logins(&app, Duration::from_secs(1)).await;
    let (mut ours, mut raws, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let our = logins(&app, round).await;
        let raw = tokio::task::spawn_blocking(move || raw_hashes(round)).await.unwrap();
        ours.push(our);
        raws.push(raw);
        ratios.push(our / raw);
    }
    println!("POST /api/login/, {CLIENTS} clients, {} cores, {rounds} rounds of {round:?}", cores());
    println!("  ours            {:>9.1} logins/s", median(&mut ours));
    println!("  raw Argon2id    {:>9.1} hashes/s", median(&mut raws));
    println!("  ratio           {:>9.2}", median(&mut ratios));
}

async fn logins(app: &TestApp, length: Duration) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (client, done) = (app.client(), Arc::clone(&done));
        tokio::spawn(async move {
            while began.elapsed() < length {
                client.clear_cookies();
                client
                    .post("/api/login/", json!({ "identifier": "ada", "password": PASSWORD }))
                    .await
                    .expect(200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// Hashes per second on all cores.
fn raw_hashes(length: Duration) -> f64 {
    let params = Params::new(19_456, 2, 1, None).unwrap();
    let began = Instant::now();
    let done: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores())
            .map(|_| {
                let params = params.clone();
                scope.spawn(move || {
                    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                    let mut memory = vec![Block::default(); params.block_count()];
                    let mut out = [0; 32];
                    let mut done = 0;
                    while began.elapsed() < length {
                        argon2
                            .hash_password_into_with_memory(
                                PASSWORD.as_bytes(),
                                b"salt-of-16-bytes",
                                &mut out,
                                &mut memory,
                            )
                            .unwrap();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    done as f64 / began.elapsed().as_secs_f64()
}
