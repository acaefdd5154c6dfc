//! A registration with a code until its reward is visible through the API, while the system is idle otherwise.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};

use super::median;

pub(super) async fn run(samples: usize) {
    let mut app = TestApp::api_with(|settings| {
        settings.set("REFERRAL_QUALIFIES_ON", "registration");
    })
    .await;
    app.start_worker();
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    app.jobs_done().await;

    let (mut waits, mut answers, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..samples {
        let client = app.client();
        // A login costs its hash and little else: the same parameters on the same machine at the same time.
        let began = Instant::now();
        app.client()
            .post("/api/login/", json!({ "identifier": "nobody", "password": PASSWORD }))
            .await
            .expect(401);
        let hash = began.elapsed();
        let body = json!({
            "email": format!("friend{sample}@example.org"), "username": format!("friend-{sample}-x"), "password": PASSWORD,
            "referral_code": code,
        });
        let began = Instant::now();
        client.post("/api/register/", body).await.expect(201);
        let answered = began.elapsed();
        while ada.get("/api/referral-stats/").await.expect(200).json()["successful"] != json!(sample + 1) {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let visible = began.elapsed();
        hashes.push(hash.as_secs_f64() * 1e3);
        answers.push(answered.as_secs_f64() * 1e3);
        waits.push(visible.saturating_sub(hash).as_secs_f64() * 1e3);
    }
    println!("POST /api/register/ with a code until the reward is visible, idle, {samples} samples, medians");
    println!("  answered in                     {:>7.1} ms", median(&mut answers));
    println!("  a refused login (its hash)      {:>7.1} ms", median(&mut hashes));
    println!("  visible, beyond the hash        {:>7.1} ms", median(&mut waits));
}
