//! What is nobody's business is in no log, metric, Redis key or value, and in no job.

use domain::clock::Clock;
use serde_json::{Value, json};
use testkit::app::within;
use testkit::authenticator::enrol_by;
use testkit::client::Client;
use testkit::process::Program;
use testkit::smtp::{Mail, Rule, Step};
use testkit::stack::{RECOVERY, Stack, StackOptions};

/// As in production, and as talkative as an operator may make it.
const SETTINGS: &[(&str, &str)] = &[
    ("APP_ENV", "production"),
    ("PUBLIC_URL", "https://trellis.test"),
    ("RATE_LIMITS", "on"),
    ("TRUSTED_PROXIES", "127.0.0.1"),
    ("ARGON2_MEMORY_KIB", "19456"),
    ("ARGON2_ITERATIONS", "2"),
    ("DRAIN_SECONDS", "0"),
    ("RUST_LOG", "trace"),
];

// The part before the @ is enough to give an address away. None of these words occurs anywhere else.
const ADA: &str = "zqada7411@mailbox-zq1.test";
const BOB: &str = "zqbob7412@mailbox-zq2.test";
const MALLORY: &str = "zqmallory7413@mailbox-zq3.test";
const STRANGER: &str = "zqstranger7414@mailbox-zq4.test";
const PASSWORD: &str = "zqPass-7415-tangerine";
const NEW_PASSWORD: &str = "zqPass-7416-cinnabar";
const LAST_PASSWORD: &str = "zqPass-7417-vermilion";
const WRONG_PASSWORD: &str = "zqPass-7418-ultramarine";
const IPV4: &str = "203.0.113.77";
const IPV6: &str = "2001:db8:7419:1200::abcd";
const FORGED: &str = "zqforged7420AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What must not be found.
struct Canaries(Vec<String>);

impl Canaries {
    fn new() -> Self {
        let mut canaries = Self(Vec::new());
        for address in [ADA, BOB, MALLORY, STRANGER] {
            let (local, domain) = address.split_once('@').unwrap();
            canaries.add(local);
            canaries.add(domain);
        }
        for text in [PASSWORD, NEW_PASSWORD, LAST_PASSWORD, WRONG_PASSWORD, IPV4, IPV6, FORGED] {
            canaries.add(text);
        }
        canaries
    }

    fn add(&mut self, text: &str) {
        assert!(text.len() >= 9, "{text} may occur by chance");
        self.0.push(text.to_owned());
        // As libraries like to print what they send.
        let bytes: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        self.0.push(bytes.join(", "));
    }

    /// Every secret that a browser holds now.
    fn add_cookies(&mut self, client: &Client) {
        for name in ["access_token", "refresh_token", "csrf_token", "device"] {
            self.add(&client.cookie(name).expect("it is signed in").value);
        }
    }

    fn assert_absent(&self, text: &str, place: &str) {
        assert!(!text.is_empty(), "nothing was looked at: {place}");
        for canary in &self.0 {
            let found = text.lines().find(|line| line.contains(canary.as_str()));
            assert!(found.is_none(), "{canary} is in {place}: {}", found.unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_logs_metrics_redis_and_jobs_hold_no_address_password_token_or_ip() {
    let stack = Stack::start(StackOptions { apis: 2, workers: 2, settings: SETTINGS }).await;
    let overheard = stack.redis.overhear().await.unwrap();
    let mut canaries = Canaries::new();
    let visitor = |api: usize, ip: &str| stack.client(api).with_header("X-Forwarded-For", ip);

    the_main_job(&stack, &visitor, &mut canaries).await;
    what_is_refused(&visitor, &mut canaries).await;
    mails_that_bounce(&stack, &visitor).await;
    recovery_and_goodbye(&stack, &visitor, &mut canaries).await;
    within(RECOVERY, "all jobs are done or dead", async || {
        let sql = "SELECT count(*) FROM outbox WHERE done_at IS NULL AND dead_at IS NULL";
        match stack.database.value::<i64>(sql).await {
            0 => Ok(()),
            open => Err(format!("{open} are open")),
        }
    })
    .await;

    // They were all there to be found.
    let held: String = stack.database.value("SELECT string_agg(users::text, ' ') FROM users").await;
    assert!(held.contains(BOB), "{held}");
    let jobs: String = stack.database.value("SELECT string_agg(outbox::text, E'\\n') FROM outbox").await;
    assert!(jobs.contains("550"), "{jobs}");
    canaries.assert_absent(&jobs, "the outbox");
    let overheard = overheard.text();
    assert!(overheard.contains(stack.settings.get("REDIS_PREFIX").unwrap()), "{overheard}");
    canaries.assert_absent(&overheard, "Redis");
    for process in stack.processes() {
        let log = process.log();
        assert!(log.contains("\"level\":\"DEBUG\""), "{log}");
        canaries.assert_absent(&log, process.name());
        canaries.assert_absent(&process.metrics().await, &format!("the metrics of {}", process.name()));
    }
    let listed = stack.command(Program::Worker, &["dead-jobs"]).await;
    canaries.assert_absent(&String::from_utf8_lossy(&listed.stdout), "the list of dead jobs");
    canaries
        .assert_absent(&format!("log: {}", String::from_utf8_lossy(&listed.stderr)), "the log of a command");
}

fn account(email: &str, username: &str) -> Value {
    json!({ "email": email, "username": username, "password": PASSWORD })
}

/// The first mail to an address with such a link.
async fn mailed(stack: &Stack, address: &str, link: &str) -> Mail {
    within(RECOVERY, &format!("a mail with {link}"), async || {
        let mails = stack.mail.mails();
        let wanted = |mail: &&Mail| mail.to[0] == address && mail.text.contains(link);
        mails.iter().find(wanted).cloned().ok_or_else(|| format!("{} others", mails.len()))
    })
    .await
}

async fn confirm(stack: &Stack, client: &Client, address: &str, canaries: &mut Canaries) {
    let token = mailed(stack, address, "/verify-email?").await.token().unwrap();
    canaries.add(&token);
    client.post("/api/verify-email/", json!({ "token": token })).await.expect(204);
}

async fn the_main_job(stack: &Stack, visitor: &impl Fn(usize, &str) -> Client, canaries: &mut Canaries) {
    let ada = visitor(0, IPV4);
    let reply = ada.post("/api/register/", account(ADA, "ada")).await.expect(201).json();
    confirm(stack, &ada, ADA, canaries).await;
    ada.post("/api/login/", json!({ "identifier": ADA, "password": PASSWORD })).await.expect(200);
    canaries.add_cookies(&ada);
    let bob = visitor(1, IPV6);
    let code = reply["user"]["referral_code"].as_str().unwrap();
    bob.get(&format!("/r/{code}")).await.expect(302);
    canaries.add(&bob.cookie("referral").unwrap().value);
    bob.post("/api/register/", account(BOB, "bob")).await.expect(201);
    confirm(stack, &bob, BOB, canaries).await;
    stack.stats_when(&ada, |stats| stats["successful"] == 1).await;
    ada.get("/api/referrals/").await.expect(200);
    ada.get("/api/rewards/").await.expect(200);

    let old = ada.cookie("refresh_token").unwrap().value;
    ada.post("/api/token/refresh/", json!({})).await.expect(200);
    canaries.add_cookies(&ada);
    let body = json!({ "identifier": "bob", "password": PASSWORD, "transport": "bearer" });
    let tokens = bob.post("/api/login/", body).await.expect(200).json();
    for name in ["access_token", "refresh_token"] {
        canaries.add(tokens[name].as_str().unwrap());
    }
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    visitor(0, IPV4).with_header("Authorization", &bearer).get("/api/me/").await.expect(200);

    // The first refresh token again, late: somebody stole it.
    stack
        .database
        .batch_execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 hour'")
        .await
        .unwrap();
    let thief = visitor(1, IPV6);
    thief.post("/api/token/refresh/", json!({ "refresh_token": old })).await.expect(401);
}

async fn what_is_refused(visitor: &impl Fn(usize, &str) -> Client, canaries: &mut Canaries) {
    let client = visitor(0, IPV4);
    for identifier in [ADA, "ada", STRANGER] {
        let body = json!({ "identifier": identifier, "password": WRONG_PASSWORD });
        client.post("/api/login/", body).await.expect(401);
    }
    for body in [account(ADA, "another"), account(STRANGER, "bob")] {
        client.post("/api/register/", body).await.expect(409);
    }
    let body =
        json!({ "email": STRANGER, "username": "x y", "password": "zqzqzqzqzq", "no": WRONG_PASSWORD });
    client.post("/api/register/", body).await.expect(422);
    let body = (format!("{{\"email\": \"{STRANGER}\", \"password\": \"{WRONG_PASSWORD}\",")).into_bytes();
    client
        .send_raw(reqwest::Method::POST, "/api/register/", Some(("application/json", body)), &[])
        .await
        .expect(400);
    for path in ["/api/verify-email/", "/api/reset-password/"] {
        let mut body = json!({ "token": FORGED });
        if path.contains("reset") {
            body["password"] = WRONG_PASSWORD.into();
        }
        client.post(path, body).await.expect(400);
    }
    client.post("/api/token/refresh/", json!({ "refresh_token": FORGED })).await.expect(401);
    client.with_header("Authorization", &format!("Bearer {FORGED}")).get("/api/me/").await.expect(401);
    client.with_header("Cookie", &format!("__Host-access_token={FORGED}")).get("/api/me/").await.expect(401);
    client.get(&format!("/api/nothing/{FORGED}/?email={STRANGER}&token={FORGED}")).await.expect(404);
    client.get(&format!("/verify-email?token={FORGED}")).await.expect(200);
    client.get(&format!("/reset-password?token={FORGED}")).await.expect(200);
    client.with_header("X-Request-Id", &format!("{STRANGER} {FORGED}")).get("/health/live").await.expect(200);
    canaries.add("zqagent7421");
    client.with_header("Referer", &format!("https://x.test/?t={FORGED}")).get("/").await;
    client.with_header("User-Agent", "zqagent7421").get("/api/me/").await.expect(401);
}

/// The server repeats the address in its refusals, as many do.
async fn mails_that_bounce(stack: &Stack, visitor: &impl Fn(usize, &str) -> Client) {
    let text = |code: &str| format!("{code} <{MALLORY}>: not here, {MALLORY}");
    stack.mail.script(Rule::reply(Step::Rcpt, 451, &text("4.2.1")).to(MALLORY).times(1));
    stack.mail.script(Rule::reply(Step::Rcpt, 550, &text("5.1.1")).to(MALLORY));
    visitor(0, IPV4).post("/api/register/", account(MALLORY, "mallory")).await.expect(201);
    within(RECOVERY, "the mail was put off", async || {
        let sql = "SELECT count(*) FROM outbox WHERE last_error LIKE '%451%'";
        if stack.database.value::<i64>(sql).await == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    stack.expire_leases().await;
    within(RECOVERY, "the mail was given up", async || {
        let sql = "SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL";
        if stack.database.value::<i64>(sql).await == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

async fn recovery_and_goodbye(
    stack: &Stack,
    visitor: &impl Fn(usize, &str) -> Client,
    canaries: &mut Canaries,
) {
    let ada = visitor(1, IPV6);
    for address in [ADA, STRANGER] {
        ada.post("/api/forgot-password/", json!({ "email": address })).await.expect(202);
    }
    let token = mailed(stack, ADA, "/reset-password?").await.token().unwrap();
    canaries.add(&token);
    let body = json!({ "token": token, "password": NEW_PASSWORD });
    ada.post("/api/reset-password/", body.clone()).await.expect(204);
    ada.post("/api/reset-password/", body).await.expect(400);
    ada.post("/api/login/", json!({ "identifier": "ada", "password": NEW_PASSWORD })).await.expect(200);
    canaries.add_cookies(&ada);
    second_factor(&ada, &visitor(0, IPV4), canaries).await;
    let body = json!({ "current_password": NEW_PASSWORD, "password": LAST_PASSWORD });
    ada.post("/api/me/password/", body).await.expect(204);
    ada.delete("/api/me/", json!({ "password": WRONG_PASSWORD })).await.expect(401);
    ada.delete("/api/me/", json!({ "password": LAST_PASSWORD })).await.expect(202);
}

async fn second_factor(ada: &Client, elsewhere: &Client, canaries: &mut Canaries) {
    let (authenticator, recovery_codes) = enrol_by(&Clock::system(), ada, NEW_PASSWORD).await;
    canaries.add(&authenticator.text);
    for code in &recovery_codes {
        canaries.add(code);
        canaries.add(&code.replace('-', ""));
    }
    let body = json!({ "identifier": ADA, "password": NEW_PASSWORD });
    let challenge = elsewhere.post("/api/login/", body).await.expect(401).json()["challenge"].clone();
    canaries.add(challenge.as_str().unwrap());
    for (code, status) in
        [(FORGED, 422), ("zqzqzq-zqzqzq-zqzqzq-zqzqzq", 401), (recovery_codes[0].as_str(), 200)]
    {
        let body = json!({ "challenge": challenge, "code": code });
        elsewhere.post("/api/login/factor/", body).await.expect(status);
    }
    canaries.add("zqzqzq-zqzqzq-zqzqzq-zqzqzq");
    canaries.add_cookies(elsewhere);
}
