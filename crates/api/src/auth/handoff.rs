//! A sign-in with an identity provider that is under way, as its browser remembers it for us.
//!
//! Nothing is written down until it comes back: the cookie holds a random seed, from which the state, the nonce and the PKCE
//! verifier are derived with a key of ours, so that neither the browser nor anybody who sees the address can make them. What
//! the person was about (where to go on, who brought them, whose account to link) is in the same cookie, signed.

use actix_web::HttpRequest;
use actix_web::cookie::Cookie;
use actix_web::cookie::time::Duration;
use actix_web::http::header::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::token::{Digest, Key, Token};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::cookies::{CookieKind, Cookies};
use super::{Caller, Transport, signed};
use crate::oidc::Secrets;
use crate::problem::Problem;

/// How long a person may take at the provider.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// How far the clocks of replicas may be apart.
const SKEW: TimeDelta = TimeDelta::seconds(30);

/// The sign-ins that are under way in a browser at most. A browser keeps few cookies of a site, and a request carries them all.
const MAX_ATTEMPTS: usize = 5;

/// A sign-in that is under way in this browser. Each has a cookie of its own, whose name ends in `_` and a digest of its
/// state, so that two tabs can sign in at once.
pub const HANDOFF: CookieKind = CookieKind {
    plain_name: "sign_in_attempt",
    secure_name: "__Host-sign_in_attempt",
    path: "/",
    http_only: true,
    max_age: Duration::minutes(10),
};

/// What is remembered of a sign-in. Not to be shown: its seed stands for all its secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct Handoff {
    seed: String,
    begun_at: i64,
    provider: String,
    /// Where to go on: a path of ours.
    pub next: String,
    /// Who brought the person: a code or a user id.
    pub referral: Option<String>,
    bearer: bool,
    /// The user and the session that asked for a link, if it is not a sign-in.
    pub link: Option<(Uuid, Uuid)>,
}

/// Makes and reads the cookie.
#[derive(Clone, Debug)]
pub struct Handoffs {
    cookies: Cookies,
    key: Key,
}

impl Handoff {
    /// One that begins now.
    pub fn begin(provider: &str, next: String, now: DateTime<Utc>) -> Self {
        Self {
            seed: Token::random().expose(),
            begun_at: now.timestamp(),
            provider: provider.to_owned(),
            next,
            referral: None,
            bearer: false,
            link: None,
        }
    }

    /// Where the tokens go.
    pub fn transport(&self) -> Transport {
        if self.bearer { Transport::Bearer } else { Transport::Cookie }
    }

    /// Who brought the person, and where the tokens go.
    #[must_use]
    pub fn of_newcomer(self, referral: Option<String>, transport: Transport) -> Self {
        Self { referral, bearer: transport == Transport::Bearer, ..self }
    }

    /// It is to link, for this session.
    #[must_use]
    pub fn to_link(self, caller: Caller) -> Self {
        Self { link: Some((caller.user_id, caller.session_id)), ..self }
    }

    /// When it is over at the latest.
    pub fn expires_at(&self) -> DateTime<Utc> {
        let begun = DateTime::from_timestamp(self.begun_at, 0).unwrap_or_default();
        begun + LIFETIME
    }

    /// What its state is known by once it is used up.
    pub fn digest(&self) -> Digest {
        Digest::of(self.seed.as_bytes())
    }
}

impl Handoffs {
    /// With a key of its own, derived from the key of tokens.
    pub fn new(cookies: Cookies, token_key: &Key) -> Self {
        Self { cookies, key: token_key.derive("sign-in handoff") }
    }

    /// Stores a sign-in in the browser, and removes the oldest of those that the browser holds too many of.
    pub fn cookies(&self, headers: &HeaderMap, handoff: &Handoff) -> Result<Vec<Cookie<'static>>, Problem> {
        let json = serde_json::to_vec(handoff).map_err(Problem::internal)?;
        let value = signed::sign(&self.key, &URL_SAFE_NO_PAD.encode(json));
        let mut cookies = vec![self.cookies.make_one(&HANDOFF, &self.suffix(handoff), value)];
        let mut held: Vec<_> = self.cookies.read_all(headers, &HANDOFF).collect();
        // What we did not write has no time, and goes first.
        held.sort_by_key(|(_, value)| std::cmp::Reverse(self.open(value).map(|handoff| handoff.begun_at)));
        let surplus = held.iter().skip(MAX_ATTEMPTS - 1);
        cookies.extend(surplus.map(|(suffix, _)| self.cookies.clear_one(&HANDOFF, suffix)));
        Ok(cookies)
    }

    /// Removes a sign-in from the browser.
    pub fn clear(&self, handoff: &Handoff) -> Cookie<'static> {
        self.cookies.clear_one(&HANDOFF, &self.suffix(handoff))
    }

    fn suffix(&self, handoff: &Handoff) -> String {
        suffix(&self.secrets(handoff).state)
    }

    fn open(&self, cookie: &str) -> Option<Handoff> {
        let json = URL_SAFE_NO_PAD.decode(signed::verify(&self.key, cookie)?).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// The secrets that go with an handoff.
    pub fn secrets(&self, handoff: &Handoff) -> Secrets {
        let derive = |label| self.key.token(label, handoff.seed.as_bytes()).expose();
        Secrets { state: derive("state"), nonce: derive("nonce"), verifier: derive("verifier") }
    }

    /// The handoff of this browser at this provider, if it is the one that `state` belongs to and is not over.
    pub fn read(
        &self,
        request: &HttpRequest,
        provider: &str,
        state: &str,
        now: DateTime<Utc>,
    ) -> Option<Handoff> {
        let suffix = suffix(state);
        let mut cookies = self.cookies.read_all(request.headers(), &HANDOFF);
        let handoff = self.open(cookies.find(|(known, _)| *known == suffix)?.1)?;
        let begun = DateTime::from_timestamp(handoff.begun_at, 0)?;
        let ours = self.secrets(&handoff).state.as_bytes().ct_eq(state.as_bytes()).into();
        // Another replica may have begun it, whose clock is a little ahead.
        let timely = begun <= now + SKEW && now < handoff.expires_at();
        (ours && timely && handoff.provider == provider).then_some(handoff)
    }
}

/// What the name of a cookie ends in. A digest: no part of the state may show in a name, which tools display.
fn suffix(state: &str) -> String {
    let digest = Sha256::digest(state.as_bytes());
    format!("_{}", domain::token::hex(digest.get(..8).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use domain::config::AppEnv;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn handoffs(byte: u8) -> Handoffs {
        Handoffs::new(Cookies::new(AppEnv::Production), &Key::new([byte; 32]))
    }

    fn made(handoffs: &Handoffs, handoff: &Handoff) -> String {
        handoffs.cookies(&HeaderMap::new(), handoff).unwrap()[0].to_string()
    }

    fn read(handoffs: &Handoffs, cookie: &str, provider: &str, state: &str, after: i64) -> bool {
        let request = TestRequest::get().insert_header(("cookie", cookie)).to_http_request();
        handoffs.read(&request, provider, state, now() + TimeDelta::seconds(after)).is_some()
    }

    #[test]
    fn a17_a_state_is_good_in_its_browser_at_its_provider_and_in_its_time() {
        let ours = handoffs(1);
        let handoff = Handoff::begin("acme", "/dashboard".to_owned(), now());
        let line = made(&ours, &handoff);
        assert!(line.starts_with("__Host-sign_in_attempt_"), "{line}");
        assert!(line.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600"), "{line}");
        let cookie = line.split(';').next().unwrap();
        let state = ours.secrets(&handoff).state;
        assert!(read(&ours, cookie, "acme", &state, 0));
        assert!(read(&ours, cookie, "acme", &state, 599));
        assert!(!read(&ours, cookie, "acme", &state, 600));
        assert!(!read(&ours, cookie, "acme", &state, -31));
        assert!(!read(&ours, cookie, "other", &state, 0));
        assert!(!read(&handoffs(2), cookie, "acme", &state, 0));
        let another = Handoff::begin("acme", "/dashboard".to_owned(), now());
        for wrong in ["", &state[1..], &ours.secrets(&another).state, &ours.secrets(&handoff).nonce] {
            assert!(!read(&ours, cookie, "acme", wrong, 0), "{wrong}");
        }
        assert!(!read(&ours, "", "acme", &state, 0));
    }

    #[test]
    fn a17_no_secret_of_an_attempt_is_another_or_in_the_cookie() {
        let ours = handoffs(1);
        let handoff = Handoff::begin("acme", "/".to_owned(), now());
        let Secrets { state, nonce, verifier } = ours.secrets(&handoff);
        assert!(state != nonce && nonce != verifier && verifier != state);
        // RFC 7636, 4.1: 43 characters at least.
        assert_eq!(verifier.len(), 43);
        let cookie = made(&ours, &handoff);
        let json = URL_SAFE_NO_PAD.decode(cookie.split(['=', '.']).nth(1).unwrap()).unwrap();
        let json = String::from_utf8(json).unwrap();
        assert!(![state, nonce, verifier].iter().any(|secret| json.contains(secret.as_str())), "{json}");
    }

    #[test]
    fn a_browser_keeps_the_newest_attempts() {
        let ours = handoffs(1);
        let mut jar: Vec<(String, String)> = vec![("__Host-sign_in_attempt_planted".into(), "x".into())];
        let mut begun = Vec::new();
        for n in 0..7 {
            let handoff = Handoff::begin("acme", "/".to_owned(), now() + TimeDelta::seconds(n));
            let header =
                jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let request = TestRequest::get().insert_header(("cookie", header)).to_http_request();
            for cookie in ours.cookies(request.headers(), &handoff).unwrap() {
                jar.retain(|(name, _)| name != cookie.name());
                if !cookie.value().is_empty() {
                    jar.push((cookie.name().to_owned(), cookie.value().to_owned()));
                }
            }
            assert!(jar.len() <= MAX_ATTEMPTS);
            begun.push(handoff);
        }
        let header = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let kept = begun.iter().map(|handoff| read(&ours, &header, "acme", &ours.secrets(handoff).state, 10));
        assert_eq!(kept.collect::<Vec<_>>(), [false, false, true, true, true, true, true]);
    }
}
