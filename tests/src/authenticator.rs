//! An authenticator app: RFC 6238 once more, not by the library that the system uses.

use aws_lc_rs::hmac;
use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::Clock;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::client::Client;

/// How long a code is shown.
const STEP: i64 = 30;

/// An app that holds one secret.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// The secret as it is typed in.
    pub text: String,
    /// The secret.
    pub secret: Vec<u8>,
}

impl Authenticator {
    /// Types a secret in (RFC 4648, base 32).
    pub fn new(text: &str) -> Self {
        let values = text.bytes().map(|byte| match byte {
            b'A'..=b'Z' => u64::from(byte - b'A'),
            b'2'..=b'7' => u64::from(byte - b'2' + 26),
            other => panic!("{} is no digit of base 32", char::from(other)),
        });
        let values: Vec<u64> = values.collect();
        let bytes = values.chunks(8).flat_map(|eight| {
            let bits = eight.iter().fold(0_u64, |bits, five| bits << 5 | five) << (5 * (8 - eight.len()));
            bits.to_be_bytes()[3..][..eight.len() * 5 / 8].to_vec()
        });
        Self { text: text.to_owned(), secret: bytes.collect() }
    }

    /// What it shows at a time.
    pub fn code_at(&self, time: DateTime<Utc>) -> String {
        let counter = u64::try_from(time.timestamp() / STEP).unwrap().to_be_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let mac = hmac::sign(&key, &counter);
        let mac = mac.as_ref();
        let offset = usize::from(mac[19] & 15);
        let number = u32::from_be_bytes(mac[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// What it shows now, by the clock of the system under test.
    pub fn code(&self, app: &TestApp) -> String {
        self.code_at(app.clock.now())
    }

    /// Waits for its next code.
    pub fn next_code(&self, app: &TestApp) -> String {
        app.clock.advance(TimeDelta::seconds(STEP));
        self.code(app)
    }

    /// A code that it shows at no time near.
    pub fn wrong_code(&self, app: &TestApp) -> String {
        let near: Vec<String> =
            (-3..=6).map(|steps| self.code_at(app.clock.now() + TimeDelta::seconds(steps * STEP))).collect();
        let mut others = (0..).map(|number| format!("{number:06}"));
        others.find(|code| !near.contains(code)).unwrap()
    }
}

/// Adds an app to the account of whoever is signed in. Returns it with the recovery codes.
pub async fn enrol(app: &TestApp, client: &Client, password: &str) -> (Authenticator, Vec<String>) {
    enrol_by(&app.clock, client, password).await
}

/// As [`enrol`], by this clock.
pub async fn enrol_by(clock: &Clock, client: &Client, password: &str) -> (Authenticator, Vec<String>) {
    let reply = client.post("/api/me/factors/totp/", json!({ "password": password })).await.expect(201);
    let authenticator = Authenticator::new(reply.json()["secret"].as_str().unwrap());
    let code = json!({ "code": authenticator.code_at(clock.now()) });
    let reply = client.post("/api/me/factors/totp/confirm/", code).await.expect(200);
    (authenticator, recovery_codes(&reply.json()))
}

/// The recovery codes of a reply.
pub fn recovery_codes(reply: &Value) -> Vec<String> {
    let codes = reply["recovery_codes"].as_array().unwrap();
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}
