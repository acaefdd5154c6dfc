//! Parsers of what strangers send: none panics, none takes long, whatever the input.
//!
//! The inputs begin with those in `tests/corpus/`; thousands more are made of them. `TEST_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::test::TestRequest;
use api::app::State;
use api::auth::cookies::ACCESS;
use api::{Config, client_ip};
use domain::accounts::{Email, Password, Username};
use domain::clock::Clock;
use domain::config::Settings;
use domain::referrals::ReferralCode;
use domain::token::Key;
use ipnet::IpNet;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::app::TestApp;
use testkit::config::seed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// How many are made of each input of the corpus.
const CHILDREN: usize = 150;

/// The longest that is made.
const LONGEST: usize = 100_000;

/// More than any input may take, on a busy machine and without optimisation. What grows with the square of its input
/// takes minutes.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The inputs of a parser: those of its file, then what is made of them.
fn inputs(parser: &str, children: usize) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{parser}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let corpus: Vec<String> = text.lines().map(unescape).collect();
    assert!(corpus.len() > 10, "{parser}");
    let mut rng = StdRng::seed_from_u64(seed());
    let mut inputs = corpus.clone();
    for text in &corpus {
        inputs.extend((0..children).map(|_| child(text, &corpus, &mut rng)));
    }
    inputs
}

/// A line of a corpus, as the README there describes it.
fn unescape(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if let Some((repeated, after)) = repetition(rest) {
            text.push_str(&repeated);
            rest = after;
        } else if let Some((c, after)) = escape(rest) {
            text.push(c);
            rest = after;
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    text
}

fn escape(text: &str) -> Option<(char, &str)> {
    let escaped = text.strip_prefix('\\')?;
    for (name, c) in [("r", '\r'), ("n", '\n'), ("t", '\t'), ("\\", '\\')] {
        if let Some(after) = escaped.strip_prefix(name) {
            return Some((c, after));
        }
    }
    if let Some(digits) = escaped.strip_prefix('x') {
        let (digits, after) = digits.split_at_checked(2)?;
        return Some((char::from(u8::from_str_radix(digits, 16).ok()?), after));
    }
    let (digits, after) = escaped.strip_prefix("u{")?.split_once('}')?;
    Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, after))
}

/// `{x*N}`
fn repetition(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('{')?;
    // What is repeated may hold a brace itself, in `\u{..}`.
    let (index, _) = inner.match_indices('}').find(|(index, _)| {
        inner[..*index].rsplit_once('*').is_some_and(|(_, count)| count.parse::<usize>().is_ok())
    })?;
    let (repeated, count) = inner[..index].rsplit_once('*')?;
    Some((unescape(repeated).repeat(count.parse().ok()?), &inner[index + 1..]))
}

/// A text made of another: cut, doubled, changed or spliced at a few places.
fn child(parent: &str, corpus: &[String], rng: &mut StdRng) -> String {
    const SPICE: [char; 24] = [
        '\0', '\r', '\n', '\t', ' ', '.', ',', ';', '=', '@', '%', '/', '\\', '"', '\'', '<', '-', '_', '0',
        'a', 'é', '\u{202e}', '\u{fffd}', '🦀',
    ];
    let mut chars: Vec<char> = parent.chars().collect();
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..=chars.len());
        let to = rng.random_range(at..=chars.len().min(at + 40));
        match rng.random_range(0..7) {
            0 => chars.truncate(at),
            1 => drop(chars.drain(at..to)),
            2 => chars.insert(at, SPICE[rng.random_range(0..SPICE.len())]),
            3 => chars.insert(at, rng.random()),
            4 if at < chars.len() => chars[at] = SPICE[rng.random_range(0..SPICE.len())],
            5 => {
                let piece = chars[at..to].to_vec();
                let times = rng.random_range(1..20);
                drop(chars.splice(at..at, piece.repeat(times)));
            }
            _ => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                chars.truncate(at);
                let skipped = rng.random_range(0..=other.chars().count());
                chars.extend(other.chars().skip(skipped));
            }
        }
        chars.truncate(LONGEST);
    }
    chars.into_iter().collect()
}

/// Gives every input of a parser to it; none may take long.
fn bear(parser: &str, parse: impl Fn(&str)) {
    for input in inputs(parser, CHILDREN) {
        let began = Instant::now();
        parse(&input);
        let took = began.elapsed();
        assert!(took < AT_ONCE, "{parser} took {took:?} for {} bytes: {input:.200}", input.len());
    }
}

fn state() -> State {
    let settings = [
        ("APP_ENV", "development"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("REDIS_URL", "redis://127.0.0.1:1/"),
        ("SECRET_KEY", testkit::config::SECRET_KEY),
        ("HASH_THREADS", "1"),
    ];
    State::new(Config::read(Settings::from_map(settings)).unwrap(), Clock::system()).unwrap()
}

#[tokio::test]
async fn t10_any_access_token_is_refused() {
    let state = state();
    bear("jwt", |text| assert!(state.jwt.verify(text, state.clock.now()).is_none(), "{text}"));
}

#[tokio::test]
async fn t10_any_cookies_are_read() {
    let state = state();
    bear("cookie", |text| {
        // What is no header value never arrives.
        let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return };
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, value.clone());
        headers.append(header::COOKIE, value);
        if let Some(found) = state.cookies.read(&headers, &ACCESS) {
            assert!(!found.is_empty() && !found.contains(';') && text.contains(found), "{text}");
        }
        assert!(state.browser.referral_code(&headers).is_none(), "{text}");
    });
}

#[test]
fn t10_any_forwarded_header_gives_an_address() {
    let ours: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let everyone: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let (proxy, stranger) = ("10.0.0.7:4711".parse().unwrap(), "198.51.100.7:4711".parse().unwrap());
    bear("forwarded", |text| {
        let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return };
        for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            let request = |peer| {
                let name = HeaderName::from_static(name);
                TestRequest::default().peer_addr(peer).append_header((name, value.clone())).to_http_request()
            };
            // A stranger is who it is, and only one header counts.
            assert_eq!(client_ip::of(&request(stranger), &ours), stranger.ip(), "{name}: {text}");
            let behind = client_ip::of(&request(proxy), &ours);
            assert!(name == "x-forwarded-for" || behind == proxy.ip(), "{name}: {text}");
            let _any = client_ip::of(&request(proxy), &everyone);
        }
    });
}

#[test]
fn t10_any_cursor_is_refused() {
    let cursors = api::cursor::Cursors::new(&Key::new([3; 32]), "referrals", Uuid::nil());
    bear("cursor", |text| assert!(cursors.read(text).is_err(), "{text}"));
}

#[test]
fn t10_any_address_is_read_and_what_is_taken_has_one_form() {
    bear("email", |text| {
        let Ok(email) = Email::parse(text) else { return };
        let form = email.as_str();
        assert!(Email::parse(form).is_ok_and(|again| again == email), "{text:?}");
        assert!(form.len() <= 254 && form.matches('@').count() == 1, "{text:?}");
        assert!(form.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{text:?}");
        assert!(email.canonical().contains('@') && !email.local_part().is_empty(), "{text:?}");
    });
}

#[test]
fn t10_any_username_is_read_and_what_is_taken_has_one_form() {
    bear("username", |text| {
        let Ok(name) = Username::parse(text) else { return };
        assert!(Username::parse(name.as_str()).is_ok_and(|again| again == name), "{text:?}");
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        assert!((3..=30).contains(&name.as_str().len()) && name.as_str().bytes().all(fits), "{text:?}");
    });
}

#[test]
fn t10_any_referral_code_is_read_and_what_is_taken_has_one_form() {
    bear("referral_code", |text| {
        let Ok(code) = ReferralCode::parse(text) else { return };
        assert!(ReferralCode::parse(code.as_str()).is_ok_and(|again| again == code), "{text:?}");
        assert!(code.as_str().len() == 10 && code.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    });
}

/// Estimating how easily a password is guessed is work, of which nobody may ask for much.
#[test]
fn a8_t10_any_password_is_judged_at_once() {
    for input in inputs("password", 20) {
        let began = Instant::now();
        let _any = Password::choose(&input, 8, &["ada@example.org", "ada"]);
        assert!(began.elapsed() < AT_ONCE, "{:?} for {input:.200}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_t10_whatever_follows_the_address_of_a_link_it_leads_to_our_own_page() {
    let app = TestApp::api_only().await;
    let mut answered = 0;
    for input in inputs("path", 20) {
        // What no request line can hold is left to the tests about framing.
        if input.chars().any(|c| c.is_control() || c == ' ') || input.contains('#') {
            continue;
        }
        let mut stream = TcpStream::connect(app.addr).await.unwrap();
        let request = format!("GET /r/{input} HTTP/1.1\r\nHost: trellis.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status: u16 = answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default();
        assert!([302, 400, 404, 429, 431].contains(&status), "{input}: {answer}");
        let lines: Vec<&str> = answer.lines().take_while(|line| !line.is_empty()).collect();
        let locations: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("location: ")).collect();
        assert_eq!(locations.len(), usize::from(status == 302), "{input}: {answer}");
        for location in locations {
            let code = location.strip_prefix("/register").unwrap_or_else(|| panic!("{input}: {location}"));
            let code = code.strip_prefix("?referral=").unwrap_or_default();
            assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{input}: {location}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("set-cookie")), "{input}: {answer}");
        answered += 1;
    }
    assert!(answered > 200, "{answered}");
}
