//! PostgreSQL and Redis behind TLS, as managed services have them.

use std::sync::Arc;

use testkit::process::Program;
use testkit::stack::{RECOVERY, Stack, StackOptions};
use testkit::tls::{Certificate, Door};

/// A stack that knows its services behind doors that speak TLS only, and the doors.
async fn behind_doors(certificate: &Arc<Certificate>) -> (Stack, [Door; 2]) {
    let mut stack = Stack::start(StackOptions { apis: 0, workers: 0, ..StackOptions::default() }).await;
    let postgres = Door::to_postgres(certificate, &stack.database.url()).await;
    let redis = Door::to_redis(certificate, &stack.redis.url()).await;
    let user: String = stack.database.value("SELECT current_user::text").await;
    let name: String = stack.database.value("SELECT current_database()::text").await;
    let database_url = format!("postgres://{user}@localhost:{}/{name}?sslmode=require", postgres.port());
    stack
        .settings
        .set("DATABASE_URL", &database_url)
        .set("REDIS_URL", &format!("rediss://localhost:{}", redis.port()));
    (stack, [postgres, redis])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_is_done_with_every_service_under_tls() {
    let certificate = Arc::new(Certificate::for_host("localhost").unwrap());
    let (mut stack, _doors) = behind_doors(&certificate).await;
    let authorities = stack.directory().join("authorities.pem");
    std::fs::write(&authorities, certificate.pem()).unwrap();
    stack.settings.set("SSL_CERT_FILE", authorities.to_str().unwrap());
    stack.start_api(&[]).await.wait_for_readiness(200, RECOVERY).await;
    stack.start_worker(&[]).await.wait_for_readiness(200, RECOVERY).await;

    let ada = stack.member("ada").await;
    let code = ada.get("/api/me/").await.expect(200).json()["referral_code"].as_str().unwrap().to_owned();
    stack.register(0, "bob", Some(&code)).await.expect(201);
    stack.verify(0, "bob").await;
    stack.stats_when(&ada, |stats| stats["successful"] == 1).await;
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_that_nobody_vouches_for_is_not_spoken_to() {
    let certificate = Arc::new(Certificate::for_host("localhost").unwrap());
    let (mut stack, _doors) = behind_doors(&certificate).await;
    let stranger = Certificate::for_host("localhost").unwrap();
    let authorities = stack.directory().join("authorities.pem");
    std::fs::write(&authorities, stranger.pem()).unwrap();
    stack.settings.set("SSL_CERT_FILE", authorities.to_str().unwrap());
    let output = stack.command(Program::Worker, &["check-ledger"]).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("certificate"), "{complaint}");
    let api = stack.start_api(&[]).await;
    api.wait_for_readiness(503, RECOVERY).await;
    assert!(api.log().contains("certificate"), "{}", api.log());
}
