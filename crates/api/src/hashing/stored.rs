//! Password hashes as accounts have them: our own, and those that other systems made.
//!
//! A hash that another system made is verified as it is and replaced at the next sign-in. What a hash may cost is bounded: a
//! damaged row must not occupy a thread for minutes or take all memory.

use argon2::Block;
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use domain::token::hex;
use sha2::{Digest as _, Sha256};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq as _;

use super::HashError;
use super::phc::Phc;
use crate::config::Argon2Params;

/// Base64 with or without padding, in the standard alphabet.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Iterations of PBKDF2: seconds of one core. Django 6 uses 1.2 million.
const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;

/// The cost of bcrypt: a few seconds of one core. Twelve is common.
const MAX_BCRYPT_COST: u32 = 16;

/// Blocks of scrypt, N times r: 1 GiB.
const MAX_SCRYPT_BLOCKS: u64 = 1 << 23;

/// Blocks of scrypt that are computed in all, N times r times p.
const MAX_SCRYPT_WORK: u64 = 1 << 24;

/// Bytes of scrypt's output that Django stores.
const DJANGO_SCRYPT_LENGTH: usize = 64;

/// Lengths of scrypt outputs in bytes: a shorter one is the beginning of a longer one, so one that was cut off would verify.
const SCRYPT_LENGTHS: std::ops::RangeInclusive<usize> = 32..=64;

/// A stored hash that was read, ready to be compared with a password.
#[derive(Clone)]
pub struct Stored(Kind);

#[derive(Clone)]
enum Kind {
    Argon2(Phc),
    /// Under Django's name: rewritten even where it is strong enough.
    DjangoArgon2(Phc),
    Bcrypt {
        hash: String,
        prehash: Prehash,
    },
    Pbkdf2 {
        algorithm: pbkdf2::Algorithm,
        iterations: NonZeroU32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Scrypt {
        params: scrypt::Params,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
}

/// What bcrypt is given.
#[derive(Clone, Copy)]
enum Prehash {
    /// The password, whose first 72 bytes count.
    None,
    /// The SHA-256 of the password in hexadecimal digits (Django's `bcrypt_sha256`).
    Sha256,
}

/// The scheme of a stored hash, as far as it can be recognised: for logs, which never hold the hash.
pub fn scheme(text: &str) -> &'static str {
    const SCHEMES: [(&str, &str); 14] = [
        ("$argon2", "argon2"),
        ("argon2$", "argon2 (Django)"),
        ("$2", "bcrypt"),
        ("bcrypt", "bcrypt (Django)"),
        ("$pbkdf2", "pbkdf2"),
        ("pbkdf2_", "pbkdf2 (Django)"),
        ("$scrypt$", "scrypt"),
        ("scrypt$", "scrypt (Django)"),
        ("$1$", "md5-crypt"),
        ("$5$", "sha256-crypt"),
        ("$6$", "sha512-crypt"),
        ("$y$", "yescrypt"),
        ("md5$", "md5 (Django)"),
        ("sha1$", "sha1 (Django)"),
    ];
    SCHEMES.iter().find(|(prefix, _)| text.starts_with(prefix)).map_or("unknown", |(_, name)| name)
}

impl Stored {
    /// Reads a stored hash. `wanted` is what new hashes cost: as much is always allowed.
    pub fn parse(text: &str, wanted: Argon2Params) -> Result<Self, HashError> {
        let kind = if let Some(rest) = text.strip_prefix("argon2$") {
            Kind::DjangoArgon2(Phc::parse(&format!("${rest}"), wanted)?)
        } else if text.starts_with("$argon2") {
            Kind::Argon2(Phc::parse(text, wanted)?)
        } else if let Some(rest) = text.strip_prefix("bcrypt_sha256$") {
            bcrypt(rest, Prehash::Sha256)?
        } else if let Some(rest) = text.strip_prefix("bcrypt$") {
            bcrypt(rest, Prehash::None)?
        } else if text.starts_with("$2") {
            bcrypt(text, Prehash::None)?
        } else {
            let parts: Vec<&str> = text.split('$').collect();
            match parts.as_slice() {
                ["", "pbkdf2-sha256", params, salt, hash] => {
                    phc_pbkdf2(PBKDF2_HMAC_SHA256, params, salt, hash)?
                }
                ["", "pbkdf2-sha512", params, salt, hash] => {
                    phc_pbkdf2(PBKDF2_HMAC_SHA512, params, salt, hash)?
                }
                ["", "pbkdf2-sha1" | "pbkdf2", params, salt, hash] => {
                    phc_pbkdf2(PBKDF2_HMAC_SHA1, params, salt, hash)?
                }
                ["pbkdf2_sha256", iterations, salt, hash] => {
                    pbkdf2(PBKDF2_HMAC_SHA256, iterations, salt.as_bytes(), &decode(hash)?)?
                }
                ["pbkdf2_sha1", iterations, salt, hash] => {
                    pbkdf2(PBKDF2_HMAC_SHA1, iterations, salt.as_bytes(), &decode(hash)?)?
                }
                ["", "scrypt", params, salt, hash] => {
                    let (log_n, r, p) = scrypt_params(params)?;
                    scrypt(log_n, r, p, &decode(salt)?, &decode(hash)?)?
                }
                ["scrypt", n, salt, r, p, hash] => {
                    let n: u64 = number(n)?;
                    if !n.is_power_of_two() {
                        return Err(HashError::OutOfBounds);
                    }
                    let hash = decode(hash)?;
                    if hash.len() != DJANGO_SCRYPT_LENGTH {
                        return Err(HashError::Malformed);
                    }
                    scrypt(n.trailing_zeros(), number(r)?, number(p)?, salt.as_bytes(), &hash)?
                }
                _ => return Err(HashError::UnknownScheme),
            }
        };
        Ok(Self(kind))
    }

    pub(super) fn argon2(phc: Phc) -> Self {
        Self(Kind::Argon2(phc))
    }

    pub(super) fn verify(&self, password: &[u8], memory: &mut Vec<Block>) -> Result<bool, HashError> {
        match &self.0 {
            Kind::Argon2(phc) | Kind::DjangoArgon2(phc) => phc.verify(password, memory),
            Kind::Bcrypt { hash, prehash } => {
                let ok = match prehash {
                    Prehash::None => bcrypt::verify(password, hash),
                    Prehash::Sha256 => bcrypt::verify(hex(&Sha256::digest(password)), hash),
                };
                ok.map_err(|_| HashError::Malformed)
            }
            Kind::Pbkdf2 { algorithm, iterations, salt, hash } => {
                Ok(pbkdf2::verify(*algorithm, *iterations, salt, password, hash).is_ok())
            }
            Kind::Scrypt { params, salt, hash } => {
                let mut computed = vec![0; hash.len()];
                scrypt::scrypt(password, salt, params, &mut computed).map_err(|_| HashError::Malformed)?;
                Ok(computed.ct_eq(hash).into())
            }
        }
    }

    /// Whether a new hash of the same password would be a better one.
    pub(super) fn is_weaker_than(&self, wanted: Argon2Params) -> bool {
        match &self.0 {
            Kind::Argon2(phc) => phc.is_weaker_than(wanted),
            Kind::DjangoArgon2(_) | Kind::Bcrypt { .. } | Kind::Pbkdf2 { .. } | Kind::Scrypt { .. } => true,
        }
    }
}

/// `$2b$12$`, 22 characters of salt, 31 of hash.
fn bcrypt(text: &str, prehash: Prehash) -> Result<Kind, HashError> {
    let (version, rest) = text.split_at_checked(4).ok_or(HashError::Malformed)?;
    let (cost, rest) = rest.split_once('$').ok_or(HashError::Malformed)?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    if !matches!(version, "$2a$" | "$2b$" | "$2y$" | "$2x$") || cost.len() != 2 {
        return Err(HashError::UnknownScheme);
    }
    if rest.len() != 53 || !rest.bytes().all(is_base64) {
        return Err(HashError::Malformed);
    }
    if !(4..=MAX_BCRYPT_COST).contains(&number(cost)?) {
        return Err(HashError::OutOfBounds);
    }
    // Hashes of the faulty `$2x$` are not what today's bcrypt computes.
    if version == "$2x$" {
        return Err(HashError::UnknownScheme);
    }
    Ok(Kind::Bcrypt { hash: text.to_owned(), prehash })
}

/// `i=1000,l=32` as the PHC format has it, or the iterations alone as passlib writes them.
fn phc_pbkdf2(algorithm: pbkdf2::Algorithm, params: &str, salt: &str, hash: &str) -> Result<Kind, HashError> {
    let hash = decode(hash)?;
    let iterations = match params.split_once(',') {
        Some((iterations, length)) => {
            let length: usize = number(length.strip_prefix("l=").ok_or(HashError::Malformed)?)?;
            if hash.len() != length {
                return Err(HashError::Malformed);
            }
            iterations
        }
        None => params,
    };
    let iterations = iterations.strip_prefix("i=").unwrap_or(iterations);
    pbkdf2(algorithm, iterations, &decode(salt)?, &hash)
}

fn pbkdf2(
    algorithm: pbkdf2::Algorithm,
    iterations: &str,
    salt: &[u8],
    hash: &[u8],
) -> Result<Kind, HashError> {
    let iterations: u32 = number(iterations)?;
    // A shorter output is the beginning of a longer one, so one that was cut off would still verify.
    let shortest = if algorithm == PBKDF2_HMAC_SHA1 { 20 } else { 32 };
    if iterations > MAX_PBKDF2_ITERATIONS || !(shortest..=64).contains(&hash.len()) {
        return Err(HashError::OutOfBounds);
    }
    let iterations = NonZeroU32::new(iterations).ok_or(HashError::OutOfBounds)?;
    Ok(Kind::Pbkdf2 { algorithm, iterations, salt: salt.to_vec(), hash: hash.to_vec() })
}

/// `ln=15,r=8,p=1`
fn scrypt_params(params: &str) -> Result<(u32, u32, u32), HashError> {
    let mut values = [None; 3];
    for param in params.split(',') {
        let (name, value) = param.split_once('=').ok_or(HashError::Malformed)?;
        let position = ["ln", "r", "p"].iter().position(|known| *known == name);
        let place = position.and_then(|position| values.get_mut(position)).ok_or(HashError::Malformed)?;
        *place = Some(number(value)?);
    }
    match values {
        [Some(log_n), Some(r), Some(p)] => Ok((log_n, r, p)),
        _ => Err(HashError::Malformed),
    }
}

fn scrypt(log_n: u32, r: u32, p: u32, salt: &[u8], hash: &[u8]) -> Result<Kind, HashError> {
    let n = 1_u64.checked_shl(log_n).filter(|_| (1..32).contains(&log_n)).ok_or(HashError::OutOfBounds)?;
    let blocks = n.saturating_mul(r.into());
    if blocks > MAX_SCRYPT_BLOCKS
        || blocks.saturating_mul(p.into()) > MAX_SCRYPT_WORK
        || !SCRYPT_LENGTHS.contains(&hash.len())
    {
        return Err(HashError::OutOfBounds);
    }
    let log_n = u8::try_from(log_n).map_err(|_| HashError::OutOfBounds)?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| HashError::OutOfBounds)?;
    Ok(Kind::Scrypt { params, salt: salt.to_vec(), hash: hash.to_vec() })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, HashError> {
    text.parse().map_err(|_| HashError::Malformed)
}

/// Passlib writes `.` for `+`.
fn decode(text: &str) -> Result<Vec<u8>, HashError> {
    BASE64.decode(text.replace('.', "+")).map_err(|_| HashError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Argon2Params = Argon2Params { memory_kib: 64, iterations: 1, parallelism: 1 };

    const PASSWORD: &[u8] = b"Vq7-tangerine-kiln";

    /// Made by Django 5.2, Python's hashlib, and the Python packages `bcrypt` and `argon2-cffi`.
    const KNOWN: [&str; 19] = [
        "$argon2i$v=19$m=256,t=2,p=1$c2l4dGVlbiBieXRlIHNsdA$hq/2QHQ4VaLU6bjMSo1wKA",
        "$argon2d$v=19$m=256,t=2,p=1$c2l4dGVlbiBieXRlIHNsdA$yAnhjvOkZWj9U6lu7WvwDQ",
        "$argon2id$v=19$m=256,t=2,p=1$c2l4dGVlbiBieXRlIHNsdA$vkFI5Ey+69WRH6dvM8AZSQ",
        "argon2$argon2id$v=19$m=1024,t=2,p=2$c2Vhc2FsdDEyMzQ1Njc4$eE9ZGWCvy0mAGqlo04rSe7JG+txW0pRob9Yogk8/tPc",
        "$2b$04$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry.",
        "$2a$04$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry.",
        "$2y$04$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry.",
        "bcrypt$$2b$04$qmGgxbsuXc7UHvk2m82MOO.d7BpNJaQMYwIPbPTx9irIYSGy1dc9.",
        "bcrypt_sha256$$2b$04$JsWEWrNTM3R5dRPHZVzoauZ0PTteID0JLtzpywo/RRc45elMNG3kS",
        "$pbkdf2-sha256$i=1000,l=32$c2l4dGVlbiBieXRlIHNsdA$hYpkI/KalmCp1e4BeBm0ojy6qAdILFERsgY5CRk9BBA",
        "$pbkdf2-sha256$i=1000$c2l4dGVlbiBieXRlIHNsdA$hYpkI/KalmCp1e4BeBm0ojy6qAdILFERsgY5CRk9BBA",
        "$pbkdf2-sha256$1000$c2l4dGVlbiBieXRlIHNsdA$hYpkI/KalmCp1e4BeBm0ojy6qAdILFERsgY5CRk9BBA",
        "$pbkdf2-sha512$i=1000,l=32$c2l4dGVlbiBieXRlIHNsdA$Ixi198vHz3fF8v+MKFnPzRqTHrU1uEP33p2C865ZYCo",
        "$pbkdf2-sha512$1000$c2l4dGVlbiBieXRlIHNsdA$Ixi198vHz3fF8v.MKFnPzRqTHrU1uEP33p2C865ZYCo",
        "pbkdf2_sha256$1000$seasalt12345678$CESmAFmTa03s2rCziONEAnbr6N8+cBU4b6HlwDf3tU0=",
        "pbkdf2_sha1$1000$seasalt12345678$Bu4Hl8GjiAVKP9ogpu3wo4sDfHs=",
        "$scrypt$ln=10,r=8,p=1$c2l4dGVlbiBieXRlIHNsdA$c4vOYjlFiCmM/k28tcPdqbNTQGYYDrxM/x2sInNctgE",
        "$scrypt$r=8,p=1,ln=10$c2l4dGVlbiBieXRlIHNsdA$c4vOYjlFiCmM/k28tcPdqbNTQGYYDrxM/x2sInNctgE",
        "scrypt$1024$seasalt12345678$8$5$Vblr8Tjpu+e2jI5jz74rMqq0Czecl1GAV7TrqO+uVo1UocvvbmRZSMeKkchH1L6619gvt7gb1wHFeb+vR7GIcA==",
    ];

    /// cases/accounts 13
    #[test]
    fn hashes_of_other_systems_are_verified() {
        let mut memory = Vec::new();
        for text in KNOWN {
            let stored = Stored::parse(text, WANTED).unwrap();
            assert!(stored.verify(PASSWORD, &mut memory).unwrap(), "{text}");
            assert!(!stored.verify(b"Vq7-tangerine-kilns", &mut memory).unwrap(), "{text}");
            assert!(!stored.verify(b"", &mut memory).unwrap(), "{text}");
            assert_ne!(scheme(text), "unknown", "{text}");
            assert!(stored.is_weaker_than(Argon2Params { memory_kib: 2_048, ..WANTED }), "{text}");
        }
    }

    /// cases/accounts 13
    #[test]
    fn a_damaged_hash_is_an_error_and_never_a_panic() {
        for text in KNOWN {
            for end in 0..text.len() {
                // A hash that lost its last characters is none, or another one; its padding says nothing.
                let cut = text.get(..end).unwrap();
                if cut.trim_end_matches('=') == text.trim_end_matches('=') {
                    continue;
                }
                if let Ok(stored) = Stored::parse(cut, WANTED) {
                    assert!(!stored.verify(PASSWORD, &mut Vec::new()).unwrap_or_default(), "{cut}");
                }
            }
        }
        for text in ["", "$", "$$$$", "x", "!", "!unusable", "password", "$2b$", "$2b$10$", "\u{e9}\u{e9}$"] {
            assert!(Stored::parse(text, WANTED).is_err(), "{text}");
        }
    }

    /// cases/accounts 13
    #[test]
    fn a_stored_hash_cannot_cost_minutes() {
        let salted = "c2l4dGVlbiBieXRlIHNsdA$c4vOYjlFiCmM/k28tcPdqbNTQGYYDrxM/x2sInNctgE";
        for text in [
            format!("$argon2id$v=19$m=1048576,t=1000,p=1${salted}"),
            format!("$argon2id$v=19$m=4194304,t=1,p=1${salted}"),
            format!("$pbkdf2-sha256$i=4294967295,l=32${salted}"),
            format!("$pbkdf2-sha256$i=0,l=32${salted}"),
            format!("$scrypt$ln=31,r=8,p=1${salted}"),
            format!("$scrypt$ln=63,r=8,p=1${salted}"),
            format!("$scrypt$ln=10,r=4294967295,p=4294967295${salted}"),
            format!("$scrypt$ln=16,r=8,p=1024${salted}"),
            "scrypt$1023$salt$8$1$c4vOYjlFiCmM/k28tcPdqbNTQGYYDrxM/x2sInNctgE=".to_owned(),
            "$2b$31$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry.".to_owned(),
            "$2b$00$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry.".to_owned(),
            // An empty hash would equal what is computed of any password.
            "pbkdf2_sha256$1000$seasalt$".to_owned(),
            "$scrypt$ln=10,r=8,p=1$c2l4dGVlbiBieXRlIHNsdA$".to_owned(),
        ] {
            assert!(Stored::parse(&text, WANTED).is_err(), "{text}");
        }
    }
}
