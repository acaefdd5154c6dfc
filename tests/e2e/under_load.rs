//! Many registrations while workers are killed: the books agree with a model that the test keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit::client::Client;
use testkit::config::{registrations, seed};
use testkit::process::Process;
use testkit::smtp::SmtpSink;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, registration};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::model::pairs;

const REFERRERS: usize = 24;
const CLIENTS: usize = 6;

/// How long nobody is killed at most.
const EVERY: Duration = Duration::from_secs(2);

/// About as many as a settlement has.
const STATEMENTS: u32 = 24;

/// What somebody was granted: the kind of reward, the amount, and the milestone it was for.
type Grant = (String, String, Option<i32>);

/// A person who registers with somebody's code, and may confirm the address.
struct Friend {
    name: String,
    referrer: usize,
    confirms: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_registrations_under_kills_of_three_workers_lose_and_double_nothing() {
    let mut random = StdRng::seed_from_u64(seed());
    let friends: Vec<Friend> = (0..registrations())
        .map(|number| Friend {
            name: format!("friend{number:04}"),
            // Some bring many and some bring few, so that every side of each milestone is there.
            referrer: random.random_range(0..REFERRERS).min(random.random_range(0..REFERRERS)),
            confirms: random.random_bool(0.9),
        })
        .collect();

    let busy = busy().await;
    let mut stack = Stack::start(StackOptions { apis: 3, workers: 2, ..StackOptions::default() }).await;
    // The third also dies by itself, in the middle of a job.
    stack.start_mortal_worker(&[]).await;
    let mut codes = Vec::new();
    for referrer in 0..REFERRERS {
        let reply = stack.register(referrer % 3, &format!("referrer{referrer:02}"), None).await.expect(201);
        codes.push(reply.json()["user"]["referral_code"].as_str().unwrap().to_owned());
    }
    let clients: Vec<Client> = (0..CLIENTS).map(|number| stack.client(number % 3)).collect();
    let began = Instant::now();
    let (registered, progress) = watch::channel(0);
    let registering = async {
        register_all(&clients, &friends, &codes, registered).await;
        began.elapsed()
    };
    let killing = kill_at_random(&mut stack.workers, &mut random, progress);
    let ((), took, (kills, deaths)) =
        tokio::join!(confirm_all(&clients[0], &stack.mail, &friends), registering, killing);
    drop(busy);
    stack.jobs_done().await;

    let again: i64 = stack.database.value("SELECT count(*) FROM outbox WHERE attempts > 1").await;
    let most: i16 = stack.database.value("SELECT max(attempts) FROM outbox").await;
    println!(
        "{} registrations in {took:?} under {kills} kills and {deaths} deaths between two statements; \
         {again} jobs were begun again, one {most} times",
        friends.len()
    );
    assert!(kills > 0 && deaths > 0 && again > 0, "the kills hit nothing");
    assert_books_agree(&stack, &friends).await;
    assert_mails_agree(&stack, &friends);
    stack.check_ledger().await;
}

async fn register_all(
    clients: &[Client],
    friends: &[Friend],
    codes: &[String],
    registered: watch::Sender<usize>,
) {
    let next = AtomicUsize::new(0);
    join_all(clients.iter().map(async |client| {
        while let Some(friend) = friends.get(next.fetch_add(1, Ordering::SeqCst)) {
            let body = registration(&friend.name, Some(&codes[friend.referrer]));
            client.post("/api/register/", body).await.expect(201);
            registered.send_modify(|registered| *registered += 1);
        }
    }))
    .await;
}

/// Confirms addresses as the mails arrive, until everybody has who wants to.
async fn confirm_all(client: &Client, mail: &SmtpSink, friends: &[Friend]) {
    let mut waiting: BTreeSet<String> =
        friends.iter().filter(|f| f.confirms).map(|f| f.name.clone()).collect();
    let mut read = 0;
    while !waiting.is_empty() {
        let mails = mail.wait_beyond(read, RECOVERY).await.unwrap();
        for mail in &mails {
            let name = mail.to[0].split('@').next().unwrap();
            if waiting.remove(name) {
                let body = json!({ "token": mail.token().unwrap() });
                client.post("/api/verify-email/", body).await.expect(204);
            }
        }
        read += mails.len();
    }
}

/// Kills workers at any moment, every two seconds at least, and starts them again, each with another place to die at by itself
/// (those that are shipped know no such thing). Returns how many were killed, and how many were found dead.
async fn kill_at_random(
    workers: &mut [Process],
    random: &mut StdRng,
    mut registered: watch::Receiver<usize>,
) -> (usize, usize) {
    let (mut kills, mut deaths) = (0, 0);
    loop {
        // A fast machine comes to more of them: the jobs of some people each.
        let next = *registered.borrow() + random.random_range(10..90);
        let some_more = registered.wait_for(|registered| *registered >= next);
        if let Ok(Err(_everybody_is_there)) = timeout(EVERY, some_more).await {
            return (kills, deaths);
        }
        let victim = random.random_range(0..workers.len());
        if workers[victim].is_running() {
            kills += 1;
        } else {
            deaths += 1;
        }
        let kind = if random.random_bool(0.8) { "referral.settle" } else { "mail.verification" };
        let point = format!("{kind}:{}", random.random_range(0..STATEMENTS));
        workers[victim].restart_with(&[("FAIL_POINT", &point)]).await;
    }
}

/// Accounts, referrals, grants and balances are those that the model says, and no others.
async fn assert_books_agree(stack: &Stack, friends: &[Friend]) {
    let users: i64 = stack.database.value("SELECT count(*) FROM users").await;
    assert_eq!(usize::try_from(users).unwrap(), REFERRERS + friends.len());
    let dead: i64 = stack.database.value("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL").await;
    assert_eq!(dead, 0);

    let mut referrals = BTreeMap::new();
    let mut grants: BTreeMap<String, Vec<Grant>> = BTreeMap::new();
    let mut successful = [0; REFERRERS];
    for friend in friends {
        let status = if friend.confirms { "successful" } else { "pending" };
        referrals.insert(friend.name.clone(), (format!("referrer{:02}", friend.referrer), status.to_owned()));
        if friend.confirms {
            successful[friend.referrer] += 1;
            grants.entry(friend.name.clone()).or_default().push(grant("credits", "5.00", None));
        }
    }
    for (referrer, count) in successful.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let granted = grants.entry(format!("referrer{referrer:02}")).or_default();
        granted.extend(std::iter::repeat_n(grant("credits", "10.00", None), count));
        if count >= 10 {
            granted.push(grant("discount", "20.00", Some(10)));
        }
        if count >= 5 {
            granted.push(grant("premium", "30.00", Some(5)));
        }
    }

    let sql = "SELECT friend.username, referrer.username, r.status FROM referrals r \
               JOIN users friend ON friend.id = r.referred_user_id JOIN users referrer ON referrer.id = r.referrer_id";
    let rows = stack.database.query(sql, &[]).await.unwrap();
    let found: BTreeMap<String, (String, String)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    assert_eq!((rows.len(), &found), (friends.len(), &referrals));

    let sql = "SELECT username, reward_type, amount::text, milestone FROM rewards JOIN users ON users.id = user_id \
               ORDER BY username, reward_type";
    let mut found: BTreeMap<String, Vec<Grant>> = BTreeMap::new();
    for row in stack.database.query(sql, &[]).await.unwrap() {
        found.entry(row.get(0)).or_default().push((row.get(1), row.get(2), row.get(3)));
    }
    assert_eq!(found, grants);

    let credits = |granted: &[Grant]| {
        let amounts =
            granted.iter().filter(|grant| grant.0 == "credits").map(|grant| grant.1.parse::<f64>().unwrap());
        format!("{:.2}", amounts.sum::<f64>())
    };
    let sql =
        "SELECT username, amount::text FROM balances JOIN users ON users.id = user_id WHERE kind = 'credits'";
    let balances = grants.iter().map(|(name, granted)| (name.clone(), credits(granted)));
    assert_eq!(pairs(stack, sql).await, balances.collect());
}

fn grant(kind: &str, amount: &str, milestone: Option<i32>) -> Grant {
    (kind.to_owned(), amount.to_owned(), milestone)
}

/// Everybody got the one mail: perhaps twice, then the same.
fn assert_mails_agree(stack: &Stack, friends: &[Friend]) {
    let mut links: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for mail in stack.mail.mails() {
        let link = mail.token().expect("a link");
        links.entry(mail.to[0].clone()).or_default().insert((mail.message_id, link));
    }
    assert_eq!(links.len(), REFERRERS + friends.len());
    for (address, links) in links {
        assert_eq!(links.len(), 1, "{address} got mails that differ");
    }
}
