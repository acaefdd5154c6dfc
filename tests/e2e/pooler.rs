//! PgBouncer between the processes and PostgreSQL.

use testkit::pooler::Pooler;
use testkit::process::Program;
use testkit::stack::{RECOVERY, Stack, StackOptions};

/// A stack that knows its database behind a pooler of this mode, and no process yet.
async fn behind(mode: &str) -> (Stack, Pooler) {
    let mut stack = Stack::start(StackOptions { apis: 0, workers: 0, ..StackOptions::default() }).await;
    let pooler = Pooler::start(mode, &stack.database.url()).await;
    stack.settings.set("DATABASE_URL", &pooler.url());
    (stack, pooler)
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_the_main_job_is_done_behind_a_pooler_that_gives_each_connection_a_session() {
    let (mut stack, _pooler) = behind("session").await;
    let migrated = stack.command(Program::Api, &["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    for _ in 0..2 {
        stack.start_api(&[]).await.wait_for_readiness(200, RECOVERY).await;
        stack.start_worker(&[]).await.wait_for_readiness(200, RECOVERY).await;
    }
    let ada = stack.member("ada").await;
    let code = ada.get("/api/me/").await.expect(200).json()["referral_code"].as_str().unwrap().to_owned();
    stack.register(1, "bob", Some(&code)).await.expect(201);
    stack.verify(0, "bob").await;
    let stats = stack.stats_when(&ada, |stats| stats["successful"] == 1).await;
    assert_eq!(stats["rewards"]["credits"], "10.00", "{stats}");
    // Sessions of the server are used again by processes that come later, and bring nothing along.
    stack.apis[0].restart().await;
    stack.apis[0].wait_for_readiness(200, RECOVERY).await;
    ada.at(&stack.apis[0].base()).get("/api/referral-stats/").await.expect(200);
    stack.jobs_done().await;
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_behind_a_pooler_that_shares_sessions_nothing_starts_and_says_what_it_wants() {
    for mode in ["transaction", "statement"] {
        let (stack, _pooler) = behind(mode).await;
        for (program, arguments) in [
            (Program::Api, ["serve"].as_slice()),
            (Program::Api, &["migrate"]),
            (Program::Api, &["admin", "users"]),
            (Program::Worker, &["run"]),
            (Program::Worker, &["check-ledger"]),
        ] {
            let output = stack.command(program, arguments).await;
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{mode}, {arguments:?}: {output:?}");
            assert!(
                complaint.starts_with(&format!("{}: DATABASE_URL leads through a pooler", program.name()))
                    && complaint.contains("it wants `pool_mode = session`"),
                "{mode}, {arguments:?}: {complaint}"
            );
        }
    }
}
