//! How fast one worker process settles a backlog of referrals.

use std::time::{Duration, Instant};

use testkit::app::TestApp;

/// Referred users of one hundred referrers, all due. Tables that are still empty are not analyzed: connections would go on
/// with plans for empty tables while these fill, which a database in use never does.
const SEED: &str = "
    INSERT INTO users (id, username, username_key, email, email_verified_at, referral_code, created_at)
    SELECT gen_random_uuid(), 'u' || n, 'u' || n, 'u' || n || '@example.org', now(),
           translate(lpad(to_hex(n), 10, '0'), '', ''), now()
    FROM generate_series(0, {jobs} + 99) AS n;
    INSERT INTO referral_counters (user_id, pending)
    SELECT id, CASE WHEN substr(username, 2)::int < 100 THEN {jobs} / 100 ELSE 0 END FROM users;
    INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at)
    SELECT gen_random_uuid(), referrer.id, referred.id, now(), 'pending', 'awaiting_settlement', now()
    FROM users referred JOIN users referrer
      ON referrer.username = 'u' || (substr(referred.username, 2)::int % 100)
    WHERE substr(referred.username, 2)::int >= 100;
    INSERT INTO referral_days (user_id, day, registrations)
    SELECT referrer_id, (date_referred AT TIME ZONE 'UTC')::date, count(*) FROM referrals GROUP BY 1, 2;
    INSERT INTO outbox (id, queue, kind, version, payload, due_at)
    SELECT gen_random_uuid(), 'rewards', 'referral.settle', 1, jsonb_build_object('referral_id', id), now() FROM referrals;
    ANALYZE users, referral_counters, referrals, referral_days, outbox;
";

pub(super) async fn run(jobs: usize) {
    let mut app = TestApp::api_with(|settings| {
        settings.set("REFERRAL_QUALIFIES_ON", "registration");
    })
    .await;
    let jobs = jobs / 100 * 100;
    app.database.batch_execute(&SEED.replace("{jobs}", &jobs.to_string())).await.unwrap();
    let began = Instant::now();
    app.start_worker();
    loop {
        let open: i64 = app
            .database
            .value("SELECT count(*) FROM outbox WHERE queue = 'rewards' AND done_at IS NULL")
            .await;
        eprint!("\r  {open} jobs to go   ");
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!();
    app.check_ledger().await;
    println!("Draining {jobs} referral jobs of 100 referrers, one worker process, the ledger checked after");
    println!("  {:.1} s, {:.0} jobs/s", took, jobs as f64 / took);
    app.stop_worker().await;
}
