//! Where the services for tests are, and the settings that a system under test gets.
#![allow(clippy::disallowed_methods, reason = "this is where the tests read their environment")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::config::Settings;
use secrecy::SecretString;
use uuid::Uuid;

/// A URL of a superuser of the PostgreSQL that tests make their databases in (`TEST_DATABASE_URL`).
pub fn admin_database_url() -> String {
    std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL: run the tests with `make test`")
}

/// The Redis that tests share, each with a prefix of its own (`TEST_REDIS_URL`).
pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL: run the tests with `make test`")
}

/// The program that tests start a Redis of their own with (`TEST_REDIS_SERVER`).
pub fn redis_server() -> PathBuf {
    std::env::var_os("TEST_REDIS_SERVER").map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

/// The program that tests dump a database with (`TEST_PG_DUMP`).
pub fn pg_dump() -> PathBuf {
    std::env::var_os("TEST_PG_DUMP").map_or_else(|| PathBuf::from("pg_dump"), PathBuf::from)
}

/// The program that tests restore a database with, which lies beside the one that dumps it.
pub fn psql() -> PathBuf {
    pg_dump().with_file_name("psql")
}

/// The load balancer that tests put in front of several processes (`TEST_HAPROXY`).
pub fn haproxy() -> PathBuf {
    std::env::var_os("TEST_HAPROXY").map_or_else(|| PathBuf::from("haproxy"), PathBuf::from)
}

/// The pooler that tests put in front of PostgreSQL (`TEST_PGBOUNCER`).
pub fn pgbouncer() -> PathBuf {
    std::env::var_os("TEST_PGBOUNCER").map_or_else(|| PathBuf::from("pgbouncer"), PathBuf::from)
}

/// Where the built `api` and `worker` are (`TRELLIS_BIN_DIR`).
pub fn binaries() -> PathBuf {
    std::env::var_os("TRELLIS_BIN_DIR")
        .map(PathBuf::from)
        .expect("TRELLIS_BIN_DIR: run the tests with `make test`")
}

/// Where random choices begin: `TEST_SEED`, to repeat a run, else a new one. Printed, for the run that fails.
#[allow(clippy::print_stdout, reason = "the test harness shows it with a failure")]
pub fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |text| text.parse().expect("TEST_SEED: a number"));
    println!("TEST_SEED={seed}");
    seed
}

/// How many people register while workers are killed: `TEST_REGISTRATIONS`, else 5,000.
pub fn registrations() -> usize {
    let given = std::env::var("TEST_REGISTRATIONS").ok();
    given.map_or(5_000, |text| text.parse().expect("TEST_REGISTRATIONS: a number"))
}

/// How many random histories are played against a model in memory: `TEST_HISTORIES`, else 10.
pub fn histories() -> u32 {
    let given = std::env::var("TEST_HISTORIES").ok();
    given.map_or(10, |text| text.parse().expect("TEST_HISTORIES: a number"))
}

/// Whether tests that compare a file with what it should be write it instead (`TEST_UPDATE`).
pub fn updates_files() -> bool {
    std::env::var_os("TEST_UPDATE").is_some()
}

/// The secret of every system under test.
pub const SECRET_KEY: &str = "k3Zq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf1A-testing";

/// Settings of a system under test; a test overrides what it is about.
#[derive(Clone, Debug)]
pub struct TestSettings(BTreeMap<String, String>);

impl TestSettings {
    /// Development, on the given database, with the shared Redis under a prefix of its own, on free ports, without limits.
    pub fn new(database_url: &str) -> Self {
        let mut settings = Self(BTreeMap::new());
        settings
            .set("APP_ENV", "development")
            .set("DATABASE_URL", database_url)
            .set("DATABASE_POOL", "8")
            .set("REDIS_URL", &redis_url())
            .set("REDIS_PREFIX", &format!("test-{}", Uuid::new_v4().simple()))
            .set("SECRET_KEY", SECRET_KEY)
            .set("PUBLIC_URL", "http://trellis.test")
            .set("HTTP_ADDR", "127.0.0.1:0")
            .set("METRICS_ADDR", "127.0.0.1:0")
            .set("WORKER_METRICS_ADDR", "127.0.0.1:0")
            .set("RATE_LIMITS", "off");
        settings
    }

    /// Sets one.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Its URL, as a secret.
    pub fn secret(&self, name: &str) -> SecretString {
        SecretString::from(self.get(name).unwrap_or_default().to_owned())
    }

    /// For a system in this process.
    pub fn settings(&self) -> Settings {
        Settings::from_map(self.0.clone())
    }

    /// For a process of its own.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
