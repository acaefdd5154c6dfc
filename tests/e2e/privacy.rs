//! What is nobody's business is in no log, metric, Redis key or value, and in no job.

use domain::clock::Clock;
use serde_json::{Value, json};
use testkit::app::within;
use testkit::authenticator::enrol_by;
use testkit::client::Client;
use testkit::process::Program;
use testkit::provider::{Behaviour, CLIENT_ID, CLIENT_SECRET, Fault, Person, Provider, Signature};
use testkit::redis::Overheard;
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
const MOVED: &str = "zqmoved7422@mailbox-zq5.test";
const SUBJECT: &str = "zqsubject7423";
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
        for address in [ADA, BOB, MALLORY, STRANGER, MOVED] {
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
    mails_that_are_refused(&stack, &visitor).await;
    recovery_and_goodbye(&stack, &visitor, &mut canaries).await;
    // They were all there to be found.
    let held: String = stack.database.value("SELECT string_agg(users::text, ' ') FROM users").await;
    assert!(held.contains(BOB), "{held}");
    nothing_is_found(&stack, &overheard, &canaries).await;
    let jobs = jobs(&stack).await;
    assert!(jobs.contains("550"), "{jobs}");
}

/// What the provider and this client know of each other and of the person between them stays there, in failure too.
#[tokio::test(flavor = "multi_thread")]
async fn v1_signing_in_with_a_provider_leaves_nothing_of_it_in_logs_metrics_redis_and_jobs() {
    let provider = Provider::start().await;
    // Only in development is a provider of this machine taken.
    let settings = [
        ("RUST_LOG", "trace"),
        ("OIDC_PROVIDERS", "acme"),
        ("OIDC_ACME_ISSUER", provider.issuer()),
        ("OIDC_ACME_CLIENT_ID", CLIENT_ID),
        ("OIDC_ACME_CLIENT_SECRET", CLIENT_SECRET),
    ];
    let stack = Stack::start(StackOptions { apis: 2, workers: 1, settings: &settings }).await;
    let overheard = stack.redis.overhear().await.unwrap();
    let mut canaries = Canaries::new();
    canaries.add(SUBJECT);
    canaries.add(CLIENT_SECRET);
    let bob = Person {
        subject: SUBJECT.to_owned(),
        email: Some(BOB.to_owned()),
        email_verified: true,
        username: Some("bob".to_owned()),
    };
    provider.is_good_with(bob.clone());
    let browser = stack.client(0);
    for _ in 0..2 {
        let status = by_provider(&stack, &browser, &provider, &mut canaries).await;
        assert_eq!(status, 303, "{}", browser.get("/api/oauth/providers/").await.text());
        canaries.add_cookies(&browser);
    }
    assert!(browser.get("/api/me/export/").await.expect(200).text().contains(SUBJECT));

    let faults: [fn(&mut Behaviour); 6] = [
        |now| now.signature = Signature::Broken,
        |now| now.claims = json!({ "nonce": "zqnonce74240000000000000000", "email": [STRANGER] }),
        |now| now.tokens = Some(json!({ "id_token": FORGED, "access_token": FORGED })),
        |now| now.tokens = Some(json!({ "id_token": null, "error": "x", "error_description": FORGED })),
        |now| now.fault = Some(("/token", Fault::Breaks)),
        |now| now.fault = Some(("/token", Fault::Babbles)),
    ];
    let count = faults.len();
    for (index, fault) in faults.into_iter().enumerate() {
        provider.is_good_with(bob.clone());
        provider.now(fault);
        let status = by_provider(&stack, &stack.client(0), &provider, &mut canaries).await;
        assert!(status >= 400, "{index}: {status}");
    }
    canaries.add("zqnonce74240000000000000000");
    assert!(provider.secrets().len() > 3 * count, "{:?}", provider.secrets());

    let held: String = stack.database.value("SELECT string_agg(identities::text, ' ') FROM identities").await;
    assert!(held.contains(SUBJECT), "{held}");
    nothing_is_found(&stack, &overheard, &canaries).await;
}

/// Goes to the provider from one api and comes back to another; the status in the end.
async fn by_provider(stack: &Stack, browser: &Client, provider: &Provider, canaries: &mut Canaries) -> u16 {
    let reply = browser.get("/api/oauth/acme/start").await.expect(302);
    let way = reqwest::Url::parse(reply.header("location").unwrap()).unwrap();
    for (name, value) in way.query_pairs() {
        if name == "state" || name == "nonce" {
            canaries.add(&value);
        }
    }
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let back = http.get(way).send().await.unwrap().headers()["location"].to_str().unwrap().to_owned();
    let path = back.strip_prefix(stack.settings.get("PUBLIC_URL").unwrap()).unwrap();
    let other = browser.at(&stack.apis[1].base());
    let reply = other.try_send(reqwest::Method::GET, path, None, &[]).await.unwrap();
    for secret in provider.secrets() {
        canaries.add(&secret);
    }
    reply.status
}

async fn jobs(stack: &Stack) -> String {
    stack.database.value("SELECT string_agg(outbox::text, E'\\n') FROM outbox").await
}

/// Waits until all is done, and looks everywhere.
async fn nothing_is_found(stack: &Stack, overheard: &Overheard, canaries: &Canaries) {
    within(RECOVERY, "all jobs are done or dead", async || {
        let sql = "SELECT count(*) FROM outbox WHERE done_at IS NULL AND dead_at IS NULL";
        match stack.database.value::<i64>(sql).await {
            0 => Ok(()),
            open => Err(format!("{open} are open")),
        }
    })
    .await;
    canaries.assert_absent(&jobs(stack).await, "the outbox");
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
    let (out, log) = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
    canaries.assert_absent(&format!("listed: {out}"), "the list of dead jobs");
    canaries.assert_absent(&format!("log: {log}"), "the log of a command");
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
    canaries.add_cookies(&ada);
    // Twice, so that the successor of the old one was used, too.
    for _ in 0..2 {
        ada.post("/api/token/refresh/", json!({})).await.expect(200);
        canaries.add_cookies(&ada);
    }
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

/// The server repeats the address in its refusals, as many do. A refusal of policy is no bounce, and ends as a dead job.
async fn mails_that_are_refused(stack: &Stack, visitor: &impl Fn(usize, &str) -> Client) {
    let text = |code: &str| format!("{code} <{MALLORY}>: not here, {MALLORY}");
    stack.mail.script(Rule::reply(Step::Rcpt, 451, &text("4.2.1")).to(MALLORY).times(1));
    stack.mail.script(Rule::reply(Step::Rcpt, 550, &text("5.7.1")).to(MALLORY));
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
    ada.post("/api/me/email/", json!({ "email": MOVED, "password": LAST_PASSWORD })).await.expect(202);
    confirm(stack, &ada, MOVED, canaries).await;
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
