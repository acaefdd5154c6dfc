//! What somebody who brought very many people waits for, beside somebody who brought ten: in turn, one request at a time.

use std::time::Instant;

use reqwest::Method;
use testkit::app::TestApp;
use testkit::client::Client;
use uuid::Uuid;

use super::median;

/// How often each is asked for.
const SAMPLES: usize = 200;

/// Those who brought few.
const FEW: usize = 10;

/// Referrals of `{name}`, one a second into the past, with everything that the worker would have counted.
const SEED: &str = "
    INSERT INTO users (id, username, username_key, email, email_verified_at, referral_code, created_at)
    SELECT gen_random_uuid(), '{name}-' || n, '{name}-' || n, '{name}-' || n || '@example.org', now(),
           '{letter}' || lpad(to_hex(n), 9, '0'), now()
    FROM generate_series(1, {count}) AS n;
    INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at, settled_at)
    SELECT gen_random_uuid(), referrer.id, referred.id, at, 'successful', 'qualified', at, at
    FROM users referrer JOIN users referred ON referrer.username = '{name}' AND referred.username LIKE '{name}-%'
    CROSS JOIN LATERAL (SELECT now() - split_part(referred.username, '-', 2)::int * interval '1 second' AS at) AS told;
    INSERT INTO referral_days (user_id, day, registrations, successful)
    SELECT referrer_id, (date_referred AT TIME ZONE 'UTC')::date, count(*), count(*)
    FROM referrals JOIN users ON users.id = referrer_id AND username = '{name}' GROUP BY 1, 2;
    UPDATE referral_counters SET successful = {count} WHERE user_id = (SELECT id FROM users WHERE username = '{name}');
    ANALYZE users, referrals, referral_days, referral_counters;
";

pub(super) async fn run(many: usize) {
    let app = TestApp::api_only().await;
    let mut people = Vec::new();
    for (name, letter, count) in [("ada", "a", many), ("bob", "b", FEW)] {
        let client = app.member(name).await;
        let seed = SEED.replace("{name}", name).replace("{letter}", letter);
        app.database.batch_execute(&seed.replace("{count}", &count.to_string())).await.unwrap();
        let id: Uuid =
            client.get("/api/me/").await.expect(200).json()["id"].as_str().unwrap().parse().unwrap();
        people.push((client, id));
    }
    println!("Somebody with {many} referrals, and somebody with {FEW}, {SAMPLES} times each, medians");
    for path in
        ["/api/referrals/", "/api/referrals/?status=successful&limit=100", "/api/referral-stats/series/"]
    {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..SAMPLES {
            for ((client, _), times) in people.iter().zip(&mut times) {
                times.push(ask(client, path).await);
            }
        }
        tell(&format!("GET {path}"), times);
    }
    let pool = app.database.pool(1);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..SAMPLES {
        for ((_, id), times) in people.iter().zip(&mut times) {
            let began = Instant::now();
            domain::referrals::stats(&pool, app.clock.now(), *id).await.unwrap().unwrap();
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    tell("the statistics, without a cache", times);
}

/// How long an answer took, in milliseconds.
async fn ask(client: &Client, path: &str) -> f64 {
    let began = Instant::now();
    client.send(Method::GET, path, None, &[]).await.expect(200);
    began.elapsed().as_secs_f64() * 1_000.0
}

fn tell(what: &str, [mut many, mut few]: [Vec<f64>; 2]) {
    println!("  {what:<46} {:>6.2} ms {:>6.2} ms", median(&mut many), median(&mut few));
}
