//! Secrets that the server has to read again, encrypted where they lie.
//!
//! Of second factors and of webhooks. AES-256-GCM, under a key that is not in the database: a dump, a backup or a stray
//! SELECT gives nobody an app's secret, and nobody can sign in our name. It does not protect from whoever has the server's
//! key as well. Each sealed text names the key that opens it, so that a key can be changed while secrets of the one before
//! are about, and is bound to the row it was made for.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

use crate::config::SealingKeys;
use crate::token::{self, Key};

/// The layout: this byte, the name of the key, the nonce, the text with its tag.
const LAYOUT: u8 = 1;

/// How many bytes name a key.
const NAME: usize = 4;

/// A secret that none of our keys opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stored secret is sealed with a key that is not known here: give the former FACTOR_KEY or SECRET_KEY as \
     FACTOR_KEY_PREVIOUS"
)]
pub struct UnknownKey;

/// A secret that was opened.
pub(crate) struct Opened {
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// Whether it was sealed with a former key.
    pub(crate) is_stale: bool,
}

/// Seals the secret of the row with this id.
pub(crate) fn seal(keys: &SealingKeys, id: Uuid, secret: &[u8]) -> Result<Vec<u8>, UnknownKey> {
    let key = &keys.current;
    let nonce: [u8; NONCE_LEN] = token::random();
    let mut text = secret.to_vec();
    let sealed = cipher(key)?.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(id.as_bytes()),
        &mut text,
    );
    sealed.map_err(|_| UnknownKey)?;
    Ok([&[LAYOUT][..], &name(key), &nonce, &text].concat())
}

/// Opens the secret of the row with this id.
pub(crate) fn open(keys: &SealingKeys, id: Uuid, sealed: &[u8]) -> Result<Opened, UnknownKey> {
    let (layout, rest) = sealed.split_first().ok_or(UnknownKey)?;
    let (wanted, rest) = rest.split_first_chunk::<NAME>().ok_or(UnknownKey)?;
    let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(UnknownKey)?;
    let is_stale = *wanted != name(&keys.current);
    let mut ring = std::iter::once(&keys.current).chain(&keys.previous);
    let key = ring.find(|key| *layout == LAYOUT && name(key) == *wanted).ok_or(UnknownKey)?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(key)?.open_in_place(nonce, Aad::from(id.as_bytes()), &mut text);
    let length = opened.map_err(|_| UnknownKey)?.len();
    text.truncate(length);
    Ok(Opened { secret: text, is_stale })
}

fn cipher(key: &Key) -> Result<LessSafeKey, UnknownKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.derive("AES-256-GCM").expose()).map_err(|_| UnknownKey)?;
    Ok(LessSafeKey::new(key))
}

/// What sealed texts call a key; it tells nothing about it.
fn name(key: &Key) -> [u8; NAME] {
    let mac = key.mac(&[b"name"]);
    mac.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(current: u8, previous: &[u8]) -> SealingKeys {
        let key = |byte: u8| Key::new([byte; 32]);
        SealingKeys { current: key(current), previous: previous.iter().copied().map(key).collect() }
    }

    fn opens(keys: &SealingKeys, id: Uuid, sealed: &[u8]) -> Option<Vec<u8>> {
        open(keys, id, sealed).ok().map(|opened| opened.secret.to_vec())
    }

    #[test]
    fn s7_a_secret_opens_with_its_key_and_in_its_row_alone() {
        let (keys_1, id) = (keys(1, &[]), Uuid::from_u128(1));
        let sealed = seal(&keys_1, id, b"twenty bytes of it..").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"twenty"), "{sealed:?}");
        assert_ne!(sealed, seal(&keys_1, id, b"twenty bytes of it..").unwrap(), "nonces differ");
        assert_eq!(opens(&keys_1, id, &sealed).unwrap(), b"twenty bytes of it..");
        assert_eq!(opens(&keys_1, Uuid::from_u128(2), &sealed), None);
        assert_eq!(opens(&keys(2, &[]), id, &sealed), None);
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(opens(&keys_1, id, &altered), None, "byte {index}");
            assert_eq!(opens(&keys_1, id, &sealed[..index]), None, "{index} bytes");
        }
    }

    #[test]
    fn s7_a_former_key_opens_and_says_that_it_is_one() {
        let id = Uuid::from_u128(1);
        let sealed = seal(&keys(1, &[]), id, b"secret").unwrap();
        let opened = open(&keys(2, &[3, 1]), id, &sealed).unwrap();
        assert!(opened.is_stale && opened.secret.as_slice() == b"secret");
        let sealed = seal(&keys(2, &[1]), id, &opened.secret).unwrap();
        assert!(!open(&keys(2, &[]), id, &sealed).unwrap().is_stale);
    }
}
