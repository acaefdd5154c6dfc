//! Whether a password is known from a breach, asked of a range API (the form of Have I Been Pwned).
//!
//! Only the first five of the forty digits of the password's SHA-1 are sent, which hundreds of passwords share, and the
//! answer is padded so that its length tells nothing either. Neither the password nor its whole hash is logged. Whoever is
//! asked may be slow, wrong or gone: then the password is taken (NIST SP 800-63B-4 asks for a blocklist, and the offline
//! one has been asked before).

use std::time::Duration;

use domain::accounts::Password;
use domain::token::hex;
use reqwest::{Client, redirect};
use secrecy::ExposeSecret as _;
use sha1::{Digest as _, Sha1};
use url::Url;

/// How long somebody who chooses a password waits for the answer at most.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The digits that are sent.
const SENT: usize = 5;

/// The longest answer that is read; a padded one has about 50 KiB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Who is asked, if anybody.
#[derive(Clone)]
pub struct Breaches(Option<Service>);

#[derive(Clone)]
struct Service {
    http: Client,
    url: String,
}

/// Why there is no answer. Nothing in it tells what was asked.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(u16),
    #[error("the answer is too long")]
    TooLong,
    #[error("the answer is no list of hashes")]
    Garbage,
    #[error("no answer within {} ms", PATIENCE.as_millis())]
    Late,
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Breaches {
    /// Asks at `url`; nobody when there is none. Connects to nothing yet.
    pub fn new(url: Option<&Url>) -> anyhow::Result<Self> {
        let Some(url) = url else { return Ok(Self(None)) };
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent("trellis")
            .timeout(PATIENCE)
            .build()?;
        Ok(Self(Some(Service { http, url: url.as_str().trim_end_matches('/').to_owned() })))
    }

    /// Whether the password is known. No answer counts as no.
    pub async fn know(&self, password: &Password) -> bool {
        let Some(service) = &self.0 else { return false };
        let asked = tokio::time::timeout(PATIENCE, service.ask(password)).await;
        let (known, outcome) = match asked.unwrap_or(Err(AskError::Late)) {
            Ok(true) => (true, "known"),
            Ok(false) => (false, "unknown"),
            Err(error) => {
                tracing::warn!(%error, "could not ask whether a password is known from a breach: it was taken");
                (false, "failed")
            }
        };
        metrics::counter!("password_breach_checks_total", "outcome" => outcome).increment(1);
        known
    }
}

impl Service {
    async fn ask(&self, password: &Password) -> Result<bool, AskError> {
        let digest = hex(&Sha1::digest(password.secret().expose_secret().as_bytes())).to_ascii_uppercase();
        let (sent, kept) = digest.split_at(SENT);
        let request = self.http.get(format!("{}/{sent}", self.url)).header("Add-Padding", "true");
        let mut response = request.send().await?;
        if !response.status().is_success() {
            return Err(AskError::Status(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if answer.len() + piece.len() > LONGEST_ANSWER {
                return Err(AskError::TooLong);
            }
            answer.extend_from_slice(&piece);
        }
        find(&answer, kept)
    }
}

/// Whether a list of `suffix:count` has the suffix, seen once at least: padding is seen 0 times.
fn find(answer: &[u8], suffix: &str) -> Result<bool, AskError> {
    let text = std::str::from_utf8(answer).map_err(|_| AskError::Garbage)?;
    let mut known = false;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (hash, count) = line.split_once(':').ok_or(AskError::Garbage)?;
        let count: u64 = count.trim().parse().map_err(|_| AskError::Garbage)?;
        known |= count > 0 && hash.eq_ignore_ascii_case(suffix);
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_a_list_is_read_whole_and_padding_is_nothing() {
        let suffix = "1E4C9B93F3F0682250B6CF8331B7EE68FD8";
        for (answer, known) in [
            ("1E4C9B93F3F0682250B6CF8331B7EE68FD8:3\r\n", true),
            ("0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n1e4c9b93f3f0682250b6cf8331b7ee68fd8:9533", true),
            ("1E4C9B93F3F0682250B6CF8331B7EE68FD8:0\r\n", false),
            ("0018A45C4D1DEF81644B54AB7F969B88D65:1\n", false),
            ("", false),
        ] {
            assert_eq!(find(answer.as_bytes(), suffix).unwrap(), known, "{answer}");
        }
        for garbage in ["<html>", "a:b", "1E4C9B93F3F0682250B6CF8331B7EE68FD8:3\r\n<html>", "x:-1"] {
            assert!(find(garbage.as_bytes(), suffix).is_err(), "{garbage}");
        }
        assert!(find(&[0xff, 0xfe], suffix).is_err());
    }
}
