//! Time-based one-time passwords (RFC 6238): SHA-1, six digits, thirty seconds, one step either side.
//!
//! These are the parameters that every app knows; many ignore any other. SHA-1 is no weakness here: HMAC does not rest on
//! its resistance to collisions (RFC 4226, appendix B.2).

use chrono::{DateTime, Utc};
use secrecy::zeroize::Zeroizing;
use totp_rs::{Builder, Secret, Totp};

use super::TotpCode;
use crate::token;

/// Bytes of a secret: as many as SHA-1 has (RFC 4226, 4, R6).
const LENGTH: usize = 20;

/// A new secret.
pub(super) fn random_secret() -> Zeroizing<[u8; LENGTH]> {
    Zeroizing::new(token::random())
}

/// A secret as it is typed into an app (RFC 4648, base 32 without padding).
pub(super) fn base32(secret: &[u8]) -> String {
    Secret::from(secret).to_base32()
}

/// A secret as an app reads it from a QR code. Neither name may have a colon in it: it would end there.
pub(super) fn uri(secret: &[u8], issuer: &str, account: &str) -> String {
    let plain = |name: &str| name.replace(':', "-");
    let builder = builder(secret).with_issuer(Some(plain(issuer))).with_account_name(plain(account));
    // It fails for an account without a name, and there is none.
    builder.build_noncompliant().to_url().unwrap_or_default()
}

/// The time step that a code is of: the present one, the one before or the one after. Each code is compared in constant
/// time. No step may be taken twice (RFC 6238, 5.2): that is for the caller to see to.
pub(super) fn step_of(secret: &[u8], code: &TotpCode, now: DateTime<Utc>) -> Option<i64> {
    let seconds = u64::try_from(now.timestamp()).ok()?;
    generator(secret).check(code.as_str(), seconds).and_then(|step| i64::try_from(step).ok())
}

fn generator(secret: &[u8]) -> Totp {
    builder(secret).build_noncompliant()
}

/// The library's defaults, said aloud.
fn builder(secret: &[u8]) -> Builder {
    Builder::new()
        .with_algorithm(totp_rs::Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_skew(1)
        .with_secret(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B.
    const SECRET: &[u8; LENGTH] = b"12345678901234567890";

    fn step(text: &str, seconds: i64) -> Option<i64> {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        step_of(SECRET, &TotpCode::parse(text).unwrap(), now)
    }

    /// The vectors of RFC 6238, appendix B have eight digits; six are their last six (RFC 4226, 5.3).
    #[test]
    fn s1_the_vectors_of_rfc_6238() {
        for (seconds, eight) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(step(&eight[2..], seconds), Some(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn s1_clocks_may_differ_by_one_step_and_no_more() {
        // 081804 is of the step from 1111111080 to 1111111109.
        let first = 1_111_111_080;
        for (seconds, taken) in [
            (first - 31, false),
            (first - 30, true),
            (first, true),
            (first + 29, true),
            (first + 59, true),
            (first + 60, false),
            (0, false),
            (-100, false),
        ] {
            assert_eq!(step("081804", seconds), taken.then_some(first / 30), "{seconds}");
        }
        assert_eq!(step("081805", first), None);
    }

    #[test]
    fn what_an_app_reads_names_us_and_the_account() {
        assert_eq!(base32(SECRET), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let uri = uri(SECRET, "trellis.example", "ada:x");
        assert_eq!(
            uri,
            "otpauth://totp/trellis.example:ada-x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=trellis.example"
        );
    }
}
