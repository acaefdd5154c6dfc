//! A backup of PostgreSQL is a backup of everything: what `pg_dump` wrote, in a new database, beside an empty Redis.

use testkit::database::TestDatabase;
use testkit::dump;
use testkit::stack::{RECOVERY, Stack, StackOptions};

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_dump_of_postgresql_and_an_empty_redis_are_enough_to_go_on() {
    let mut stack = Stack::start(StackOptions::default()).await;
    let ada = stack.member("ada").await;
    let code = ada.get("/api/me/").await.expect(200).json()["referral_code"].as_str().unwrap().to_owned();
    stack.register(0, "bob", Some(&code)).await.expect(201);
    stack.verify(0, "bob").await;
    stack.stats_when(&ada, |stats| stats["successful"] == 1).await;
    let bob = stack.login(0, "bob").await;
    stack.jobs_done().await;
    // A session that ended, whose cookies somebody kept, and jobs that nobody has done when everything else is lost.
    let kept = bob.stolen();
    bob.post_empty("/api/logout/").await.expect(204);
    stack.workers[0].kill9();
    stack.register(0, "carol", Some(&code)).await.expect(201);
    let before = dump::tables(&stack.database, &[]).await;
    let open = "SELECT count(*) FROM outbox WHERE done_at IS NULL AND dead_at IS NULL";
    assert!(stack.database.value::<i64>(open).await > 0, "there are jobs to do");

    let backup = dump::backup(&stack.database.url()).await;
    stack.apis[0].kill9();
    stack.redis.stop().await.unwrap();
    let restored = TestDatabase::create_bare().await;
    dump::restore(&restored.url(), &backup).await;
    assert_eq!(dump::tables(&restored, &[]).await, before);
    stack.settings.set("DATABASE_URL", &restored.url());
    stack.database = restored;
    stack.redis.restart().await.unwrap();
    (stack.apis, stack.workers) = (Vec::new(), Vec::new());
    stack.start_api(&[]).await.wait_for_readiness(200, RECOVERY).await;
    stack.start_worker(&[]).await.wait_for_readiness(200, RECOVERY).await;

    // Sessions go on, and those that ended have ended.
    let base = stack.apis[0].base();
    let (ada, kept) = (ada.at(&base), kept.at(&base));
    assert_eq!(ada.get("/api/me/").await.expect(200).json()["username"], "ada");
    ada.post_empty("/api/token/refresh/").await.expect(200);
    kept.get("/api/me/").await.expect(401);
    let stats = ada.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!((&stats["successful"], &stats["rewards"]["credits"]), (&1.into(), &"10.00".into()));
    // The open jobs are done: the mail of the registration leaves, and its referral is settled.
    stack.verify(0, "carol").await;
    stack.stats_when(&ada, |stats| stats["successful"] == 2).await;
    stack.jobs_done().await;
    stack.check_ledger().await;
}
