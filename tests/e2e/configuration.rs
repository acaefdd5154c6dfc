//! Settings that are wrong, secrets that stay secret, addresses that are taken.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use futures_util::future::join_all;
use reqwest::Method;
use tempfile::TempDir;
use testkit::app::within;
use testkit::client::Client;
use testkit::config::TestSettings;
use testkit::database::TestDatabase;
use testkit::process::{Process, Program};
use testkit::stack::{RECOVERY, registration};

const PROGRAMS: [(Program, &str); 2] = [(Program::Api, "serve"), (Program::Worker, "run")];

/// A secret for each setting that takes one. They occur nowhere else, so that each of them can be searched for.
const SECRETS: [&str; 12] = [
    "1uNfYq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf-secret",
    "2vOgZr9wZx1qMn6Su8Yd3Oc0It5Ke7Hg",
    "3wPhAs0xAy2rNo7Tv9Ze4Pd1Ju6Lf8Ih",
    "4xQiBt1yBz3sOp8Uw0Af5Qe2Kv7Mg9Ji",
    "5yRjCu2zCa4tPq9Vx1Bg6Rf3Lw8Nh0Kj",
    "6zSkDv3aDb5uQr0Wy2Ch7Sg4Mx9Oi1Lk",
    "7aTlEw4bEc6vRs1Xz3Di8Th5Ny0Pj2Ml",
    "8bUmFx5cFd7wSt2Ya4Ej9Ui6Oz1Qk3Nm",
    "9cVnGy6dGe8xTu3Zb5Fk0Vj7Pa2Rl4On",
    "0dWoHz7eHf9yUv4Ac6Gl1Wk8Qb3Sm5Po",
    "1eXpIa8fIg0zVw5Bd7Hm2Xl9Rc4Tn6Qp",
    "2fYqJb9gJh1aWx6Ce8In3Ym0Sd5Uo7Rq",
];

/// The word that makes a key look typed; taken off where the secret must be strong.
const WEAK_MARK: &str = "-secret";

/// Production, on services that are not there, with every secret given by itself.
fn production() -> TestSettings {
    let [_, jwt, old_jwt, csrf, referral, token, privacy, database, redis, smtp, factor, old_factor] =
        SECRETS;
    let mut settings = TestSettings::new(&format!("postgres://trellis:{database}@127.0.0.1:1/trellis"));
    settings
        .set("APP_ENV", "production")
        .set("PUBLIC_URL", "https://trellis.test")
        .set("REDIS_URL", &format!("redis://:{redis}@127.0.0.1:1/0"))
        .set("CACHE_REDIS_URL", &format!("redis://:{redis}@127.0.0.1:1/1"))
        .set("SMTP_URL", &format!("smtp://trellis:{smtp}@127.0.0.1:1"))
        .set("MAIL_FROM", "Trellis <no-reply@trellis.test>")
        .set("RATE_LIMITS", "on")
        .set("LOG_FORMAT", "json")
        .set("DRAIN_SECONDS", "0")
        .set("SECRET_KEY", SECRETS[0].trim_end_matches(WEAK_MARK))
        .set("JWT_KEYS", &format!("new:{jwt},old:{old_jwt}"))
        .set("CSRF_KEY", csrf)
        .set("REFERRAL_KEY", referral)
        .set("TOKEN_KEY", token)
        .set("PRIVACY_KEY", privacy)
        .set("FACTOR_KEY", factor)
        .set("FACTOR_KEY_PREVIOUS", old_factor);
    settings
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("trellis-e2e-").tempdir().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_no_secret(text: &str, whose: &str) {
    for secret in SECRETS {
        let secret = secret.trim_end_matches(WEAK_MARK);
        assert!(!text.contains(secret), "{whose} shows a secret ({secret}):\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_processes_refuse_weak_missing_and_repeated_secrets_by_name_and_never_by_value() {
    let directory = directory();
    let csrf = SECRETS[3];
    let ring = format!("new:{},old:{csrf}", SECRETS[1]);
    let twice = format!("new:{0},old:{0}", SECRETS[1]);
    for (setting, value, problem) in [
        ("SECRET_KEY", &SECRETS[0][..31], "SECRET_KEY is weak"),
        ("SECRET_KEY", SECRETS[0], "SECRET_KEY is weak"),
        ("SECRET_KEY", csrf, "SECRET_KEY repeats CSRF_KEY"),
        ("CSRF_KEY", &csrf[..31], "CSRF_KEY is weak"),
        ("REFERRAL_KEY", csrf, "REFERRAL_KEY repeats CSRF_KEY"),
        ("TOKEN_KEY", csrf, "TOKEN_KEY repeats CSRF_KEY"),
        ("PRIVACY_KEY", "0123012301230123012301230123012301230123", "PRIVACY_KEY is weak"),
        ("JWT_KEYS", &ring, "JWT_KEYS repeats CSRF_KEY"),
        ("JWT_KEYS", &twice, "JWT_KEYS names a key twice"),
        ("JWT_KEYS", &SECRETS[1][..31], "JWT_KEYS wants"),
    ] {
        let mut settings = production();
        settings.set(setting, value);
        assert_refused(&settings, directory.path(), &[problem]).await;
    }
    let mut settings = production();
    for setting in ["SECRET_KEY", "TOKEN_KEY", "DATABASE_URL", "REDIS_URL", "PUBLIC_URL"] {
        settings.set(setting, "");
    }
    let missing =
        ["SECRET_KEY is missing", "DATABASE_URL is missing", "REDIS_URL is missing", "PUBLIC_URL is missing"];
    assert_refused(&settings, directory.path(), &missing).await;
}

/// Both programs end at once, unhappily, naming the problems.
async fn assert_refused(settings: &TestSettings, directory: &Path, problems: &[&str]) {
    for (program, command) in PROGRAMS {
        let output = program.run(&[command], settings, directory).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for problem in problems {
            assert!(said.contains(problem), "{problem} is missing in: {said}");
        }
        assert!(output.stdout.is_empty(), "{said}");
        assert_no_secret(&said, program.name());
        for (_, value) in settings.environment().filter(|(name, _)| name.ends_with("_KEY")) {
            assert!(value.is_empty() || !said.contains(value), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_secrets_are_in_no_log_of_processes_that_reach_nothing() {
    let directory = directory();
    let mut settings = production();
    settings.set("RUST_LOG", "trace");
    let mut api = Process::start(Program::Api, "api", settings.clone(), directory.path()).await;
    let mut worker = Process::start(Program::Worker, "worker", settings, directory.path()).await;
    let client = Client::new(&api.base());
    let body = registration("ada", None).to_string().into_bytes();
    let reply =
        client.try_send(Method::POST, "/api/register/", Some(("application/json", body)), &[]).await.unwrap();
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_no_secret(&reply.text(), "an answer");
    for process in [&api, &worker] {
        let ready = process.wait_for_readiness(503, RECOVERY).await;
        assert_no_secret(&ready.to_string(), "readiness");
        assert_no_secret(&process.metrics().await, "metrics");
        within(RECOVERY, "the log tells of trouble", async || match process.log() {
            log if log.contains("jobs wait: they cannot be relayed") => Ok(()),
            log => Err(log),
        })
        .await;
    }
    for process in [&mut api, &mut worker] {
        process.sigterm();
        assert_eq!(process.exit(RECOVERY).await.code(), Some(0), "{}", process.log());
        assert_no_secret(&process.log(), process.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_secrets_are_in_no_complaint_of_a_setting_that_is_wrong_and_in_no_help() {
    let directory = directory();
    for setting in ["PUBLIC_URL", "REDIS_URL", "CACHE_REDIS_URL", "SMTP_URL", "DATABASE_URL"] {
        for shape in [
            "{}",
            "https://{}.example/path",
            "redis://user:{}@host:port",
            "smtp://user:{}@mx.example",
            "postgres://u:{}@127.0.0.1:1/d?no=such",
        ] {
            let mut settings = production();
            settings.set(setting, &shape.replace("{}", SECRETS[9]));
            // A command that is over soon, whether or not the setting is taken.
            for (program, arguments) in
                [(Program::Api, &["migrate"][..]), (Program::Worker, &["check-ledger"])]
            {
                let output = program.run(arguments, &settings, directory.path()).await;
                assert!(!output.status.success(), "{setting}={shape}: {}", said(&output));
                assert_no_secret(&said(&output), &format!("{} with {setting}={shape}", program.name()));
            }
        }
    }
    for (program, arguments) in [
        (Program::Api, &["--help"][..]),
        (Program::Api, &["serve", "--help"]),
        (Program::Api, &["migrate", "--help"]),
        (Program::Api, &["admin", "promote", "--help"]),
        (Program::Api, &["--version"]),
        (Program::Worker, &["--help"]),
        (Program::Worker, &["run", "--help"]),
        (Program::Worker, &["check-ledger", "--help"]),
        (Program::Worker, &["dead-jobs", "--help"]),
        (Program::Worker, &["redrive", "--help"]),
        (Program::Worker, &["--version"]),
    ] {
        let output = program.run(arguments, &production(), directory.path()).await;
        assert!(output.status.success(), "{}", said(&output));
        assert_no_secret(&said(&output), &format!("{} {arguments:?}", program.name()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_the_settings_are_printed_on_demand_and_no_secret_with_them() {
    let directory = directory();
    let mut settings = production();
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{}\n", SECRETS[6])).unwrap();
    let limits = directory.path().join("limits");
    std::fs::write(&limits, "export-account 7/1h\n").unwrap();
    settings
        .set("PRIVACY_KEY", "")
        .set("PRIVACY_KEY_FILE", file.to_str().unwrap())
        .set("LIMITS_FILE", limits.to_str().unwrap())
        .set("OIDC_PROVIDERS", "acme")
        .set("OIDC_ACME_ISSUER", "https://id.acme.example")
        .set("OIDC_ACME_CLIENT_ID", "trellis")
        .set("OIDC_ACME_CLIENT_SECRET", SECRETS[9]);
    let mut printed = BTreeSet::new();
    for (program, command) in PROGRAMS {
        let alone = program.run(&["--print-config"], &settings, directory.path()).await;
        // Beside a command it takes its place: nothing is there that it could run on.
        let beside = program.run(&[command, "--print-config"], &settings, directory.path()).await;
        assert!(alone.status.success() && beside.status.success(), "{}{}", said(&alone), said(&beside));
        assert_eq!(said(&alone), said(&beside));
        let text = said(&alone);
        assert_no_secret(&text, program.name());
        for line in [
            "APP_ENV=production",
            "DATABASE_URL=[redacted]",
            "PRIVACY_KEY=[redacted]",
            "REDIS_URL=[redacted]",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains("REFERRAL_HOLD=0 # the default"), "{text}");
        let (list, limits) = text.split_once("\n\n").unwrap();
        assert!(limits.contains("\nlogin-account            10/15m    #"), "{limits}");
        assert!(limits.contains("\nexport-account           7/1h      #"), "{limits}");
        printed.extend(list.lines().map(|line| line.split('=').next().unwrap().to_owned()));
        // What is wrong is reported instead, as ever.
        let mut wrong = settings.clone();
        wrong.set("PUBLIC_URL", "");
        let output = program.run(&["--print-config"], &wrong, directory.path()).await;
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(
            output.stdout.is_empty() && said(&output).contains("PUBLIC_URL is missing"),
            "{}",
            said(&output)
        );
    }
    // Nothing starts with a mistake in the table of limits, and each is named.
    std::fs::write(&limits, "export-account 7/1h\nexport-acount 7/1h\nlogin-account 10/16m\n").unwrap();
    for (program, command) in PROGRAMS {
        let output = program.run(&[command], &settings, directory.path()).await;
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        for problem in [
            "LIMITS_FILE, line 2: there is no limit `export-acount`; did you mean `export-account`?",
            "LIMITS_FILE, line 3: `login-account` wants a window from 1s to 15m",
        ] {
            assert!(said(&output).contains(problem), "{}", said(&output));
        }
    }
    // All that there is: one program or the other reads it. RUST_LOG is read by the library that logs.
    let example =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example")).unwrap();
    let known = example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let known: BTreeSet<String> = known.map(|(name, _)| name.to_owned()).collect();
    assert!(printed.is_subset(&known), "{:?}", printed.difference(&known));
    let unread: Vec<&String> = known.difference(&printed).collect();
    // Those of a preset are read where the preset is named; the test of documents finds them in the code.
    let of_a_preset = |name: &str| name.starts_with("OIDC_APPLE_") || name.starts_with("OIDC_MICROSOFT_");
    assert!(unread.iter().all(|name| name.as_str() == "RUST_LOG" || of_a_preset(name)), "{unread:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_named_in_one_line() {
    let directory = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (program, setting) in [
        (Program::Api, "HTTP_ADDR"),
        (Program::Api, "METRICS_ADDR"),
        (Program::Worker, "WORKER_METRICS_ADDR"),
    ] {
        let mut settings = production();
        // Nothing else is to be said.
        settings.set(setting, &address).set("RUST_LOG", "error");
        let command = PROGRAMS.iter().find(|(other, _)| *other == program).unwrap().1;
        let output = program.run(&[command], &settings, directory.path()).await;
        let said = said(&output);
        assert!(output.status.code().is_some_and(|code| code > 0), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(setting) && said.contains(&address), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_migrations_are_run_once_by_five_at_once_and_nothing_starts_before_them() {
    let directory = directory();
    let database = TestDatabase::create_bare().await;
    let mut settings = production();
    settings.set("DATABASE_URL", &database.url()).set("RUST_LOG", "info");
    let starts: [(Program, &[&str]); 4] = [
        (Program::Api, &["serve"]),
        (Program::Worker, &["run"]),
        (Program::Worker, &["check-ledger"]),
        (Program::Api, &["admin", "promote", "ada@example.org"]),
    ];
    for (program, arguments) in starts {
        let output = program.run(arguments, &settings, directory.path()).await;
        let said = said(&output);
        assert!(!output.status.success() && said.contains("run `api migrate` first"), "{said}");
    }

    let runs = join_all((0..5).map(|_| Program::Api.run(&["migrate"], &settings, directory.path()))).await;
    let mut run = 0;
    for output in &runs {
        assert!(output.status.success(), "{}", said(output));
        run += said(output).matches("ran a migration").count();
    }
    let known: i64 = database.value("SELECT count(*) FROM __diesel_schema_migrations").await;
    assert!(known > 0 && i64::try_from(run).unwrap() == known, "{run} of {known} were run");
    let mut api = Process::start(Program::Api, "api", settings, directory.path()).await;
    api.wait_for_readiness(200, RECOVERY).await;
    assert!(api.is_running());
}
