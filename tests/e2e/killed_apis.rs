//! An api that dies in the midst of requests: what was written is whole, or not there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Method;
use testkit::app::within;
use testkit::client::Client;
use testkit::config::seed;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, registration};
use tokio::sync::watch;
use tokio::time::sleep;

const KILLS: usize = 40;
const CLIENTS: usize = 8;

/// Users and verifications, verifications and jobs, referred users and referrals: how many lack their other half.
const HALVES: [(&str, &str); 6] = [
    (
        "users without a confirmation",
        "SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM email_verifications)",
    ),
    (
        "confirmations without a job",
        "SELECT count(*) FROM email_verifications WHERE id NOT IN \
         (SELECT (payload ->> 'verification_id')::uuid FROM outbox WHERE kind = 'mail.verification')",
    ),
    (
        "jobs without a confirmation",
        "SELECT count(*) FROM outbox WHERE kind = 'mail.verification' \
         AND (payload ->> 'verification_id')::uuid NOT IN (SELECT id FROM email_verifications)",
    ),
    (
        "users with more than one job",
        "SELECT (SELECT count(*) FROM outbox WHERE kind = 'mail.verification') - (SELECT count(*) FROM users)",
    ),
    (
        "referred users without a referral",
        "SELECT count(*) FROM users WHERE referred_by IS NOT NULL AND id NOT IN (SELECT referred_user_id FROM referrals)",
    ),
    (
        "referrals that are not counted",
        "SELECT (SELECT count(*) FROM referrals) - (SELECT sum(pending)::bigint FROM referral_counters)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn o1_kills_of_the_api_leave_no_user_without_a_job_and_no_job_without_a_user() {
    let mut random = StdRng::seed_from_u64(seed());
    let busy = busy().await;
    let mut stack = Stack::start(StackOptions { workers: 0, ..StackOptions::default() }).await;
    let reply = stack.register(0, "referrer", None).await.expect(201).json();
    let code = reply["user"]["referral_code"].as_str().unwrap();

    let (base, current) = watch::channel(stack.apis[0].base());
    let over = AtomicBool::new(false);
    let crowd = Crowd {
        code,
        current,
        over: &over,
        next: AtomicUsize::new(0),
        accepted: Mutex::default(),
        broken: AtomicUsize::new(0),
    };
    let api = &mut stack.apis[0];
    let killing = async {
        for _ in 0..KILLS {
            // In the midst of what comes after some that went well.
            let goal = crowd.accepted() + random.random_range(1..5);
            within(RECOVERY, "registrations are accepted", async || match crowd.accepted() {
                accepted if accepted >= goal => Ok(()),
                accepted => Err(format!("{accepted} of {goal}")),
            })
            .await;
            sleep(Duration::from_millis(random.random_range(0..30))).await;
            api.restart().await;
            base.send_replace(api.base());
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(killing, join_all((0..CLIENTS).map(|_| crowd.register_on())));
    drop(busy);

    let accepted = crowd.accepted.into_inner().unwrap();
    let (broken, tried) = (crowd.broken.into_inner(), crowd.next.into_inner());
    let users: i64 = stack.database.value("SELECT count(*) FROM users").await;
    println!(
        "{KILLS} kills broke {broken} of {tried} registrations; {} were accepted, {users} users exist",
        accepted.len()
    );
    assert!(broken >= KILLS, "the kills hit nothing");
    within(RECOVERY, "no transaction is left open", async || {
        let open: i64 = stack
            .database
            .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()")
            .await;
        if open == 0 { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
    for (what, sql) in HALVES {
        assert_eq!(stack.database.value::<i64>(sql).await, 0, "{what}");
    }
    let rows = stack.database.query("SELECT username FROM users", &[]).await.unwrap();
    let users: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for name in &accepted {
        assert!(users.contains(name), "{name} was accepted and is not there");
    }

    stack.start_worker(&[]).await;
    stack.jobs_done().await;
    let mut told: Vec<String> = stack.mail.mails().iter().map(|mail| mail.to[0].clone()).collect();
    let mut wanted: Vec<String> = users.iter().map(|name| format!("{name}@example.org")).collect();
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted, "everybody gets one mail, also who got no answer");
    stack.check_ledger().await;
}

/// People who register with one code, wherever the api is at the moment.
struct Crowd<'a> {
    code: &'a str,
    current: watch::Receiver<String>,
    over: &'a AtomicBool,
    next: AtomicUsize,
    accepted: Mutex<Vec<String>>,
    broken: AtomicUsize,
}

impl Crowd<'_> {
    fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    async fn register_on(&self) {
        let mut current = self.current.clone();
        while !self.over.load(Ordering::SeqCst) {
            let client = Client::new(&current.borrow_and_update().clone());
            loop {
                let name = format!("friend{:05}", self.next.fetch_add(1, Ordering::SeqCst));
                let body = registration(&name, Some(self.code)).to_string().into_bytes();
                let json = Some(("application/json", body));
                let Ok(reply) = client.try_send(Method::POST, "/api/register/", json, &[]).await else {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                    break;
                };
                reply.expect(201);
                self.accepted.lock().unwrap().push(name);
                if self.over.load(Ordering::SeqCst) {
                    return;
                }
            }
            // It ends when the last api has been told of.
            let _ = current.changed().await;
        }
    }
}
