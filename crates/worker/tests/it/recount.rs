//! `worker recount`: finds counters that are off and mends them, beside workers that settle.

use futures_util::future::join_all;
use testkit::process::Program;

use super::desk::Desk;

async fn recount(desk: &Desk, arguments: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["recount"], arguments].concat();
    let output = Program::Worker.run(&arguments, &desk.settings, &std::env::temp_dir()).await;
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test]
async fn l7_l8_counters_that_are_off_are_named_and_mended() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 4, &ada).await;
    for friend in &friends[..3] {
        desk.confirm(friend.id).await;
    }
    desk.run_queue("rewards").await;
    let (report, code) = recount(&desk, &[]).await;
    assert_eq!((report.lines().count(), code), (1, Some(0)), "{report}");
    assert!(report.contains("5 users looked at: the counters of 0 were off"), "{report}");

    desk.sql(&format!(
        "UPDATE referral_counters SET successful = 99 WHERE user_id = '{0}';
         DELETE FROM referral_counters WHERE user_id = '{1}';
         UPDATE referral_days SET registrations = 9, successful = 0;
         INSERT INTO referral_days (user_id, day, visits, successful) VALUES ('{1}', '2026-01-01', 4, 3);
         UPDATE reward_tallies SET granted = 7 WHERE rule_key = 'per_referral.referred.credits';
         INSERT INTO reward_tallies VALUES ('{1}', 'gone', '2026-01-01', 3)",
        ada.id, friends[0].id
    ))
    .await;
    assert_eq!(desk.broken_invariants().await, ["L7", "L8"]);
    let (report, code) = recount(&desk, &["--dry-run"]).await;
    assert_eq!(code, Some(1));
    assert!(report.contains("the counters of 2 were off, and are left"), "{report}");
    assert!(report.contains(&ada.id.to_string()) && report.contains(&friends[0].id.to_string()), "{report}");
    assert_eq!(desk.broken_invariants().await, ["L7", "L8"], "a dry run changes nothing");

    let (report, code) = recount(&desk, &[]).await;
    assert_eq!(code, Some(0));
    assert!(report.contains("the counters of 2 were off, and are mended"), "{report}");
    desk.check_ledger().await;
    assert_eq!(recount(&desk, &["--dry-run"]).await.1, Some(0));
    assert_eq!(
        desk.count("referral_days WHERE visits = 4 AND successful = 0").await,
        1,
        "visits are left alone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn l8_counting_again_beside_workers_that_settle_loses_nothing() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 60, &ada).await;
    desk.sql("DELETE FROM outbox WHERE queue = 'mail'; UPDATE referral_counters SET rejected = 5").await;
    join_all(friends.iter().map(|friend| desk.confirm(friend.id))).await;
    let _workers: Vec<_> = (0..3).map(|_| desk.work()).collect();
    let mend = async {
        for _ in 0..20 {
            domain::recount::mend(&desk.pool, ada.id).await.unwrap();
        }
    };
    tokio::join!(mend, desk.all_done());
    let (_, code) = recount(&desk, &[]).await;
    assert_eq!(code, Some(0));
    desk.check_ledger().await;
    assert_eq!(desk.balances(ada.id).await["credits"], "600.00");
}
