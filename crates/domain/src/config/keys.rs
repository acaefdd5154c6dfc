//! The keys: one secret that all derive from, or one secret each.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::{AppEnv, Settings};
use crate::token::{Digest, Key, Token, hex};

/// Where development keeps the secret that it makes for itself.
const DEVELOPMENT_SECRET: &str = ".dev/secret-key";

/// What `JWT_KEYS` says when no HS256 token is to be taken.
const OFF: &str = "off";

/// The shortest secret that is taken, in bytes.
const SHORTEST_SECRET: usize = 32;

/// A JWT key with the name (`kid`) that tokens call it by.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The `kid` of RFC 7515, 4.1.4.
    pub kid: String,
    /// The HS256 key.
    pub key: Key,
}

/// One key a purpose, so that what leaks of one helps nobody with another.
#[derive(Clone, Debug)]
pub struct Keys {
    /// `JWT_KEYS`: the HS256 ring, newest first. The first signs unless an Ed25519 key does, all verify. Empty when `off`.
    pub jwt: Vec<SigningKey>,
    /// `CSRF_KEY`: binds CSRF tokens to sessions.
    pub csrf: Key,
    /// `REFERRAL_KEY`: makes referral codes and signs the referral cookie.
    pub referral: Key,
    /// `TOKEN_KEY`: mints mail tokens and rotated refresh tokens.
    pub token: Key,
    /// `PRIVACY_KEY`: blinds addresses that are only ever compared (deleted e-mails, IP prefixes, limiter keys).
    pub privacy: Key,
    /// `FACTOR_KEY`: seals what must be read again, the secrets of second factors and of webhooks.
    pub factor: SealingKeys,
}

/// The keys of what is stored encrypted, for as long as it is stored.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    /// The one that seals.
    pub current: Key,
    /// Those that still open, from `FACTOR_KEY_PREVIOUS`.
    pub previous: Vec<Key>,
}

impl Keys {
    pub(super) fn read(settings: &mut Settings, env: Option<AppEnv>) -> Option<Self> {
        let ring = settings.secret("JWT_KEYS");
        let single = ["CSRF_KEY", "REFERRAL_KEY", "TOKEN_KEY", "PRIVACY_KEY", "FACTOR_KEY"]
            .map(|name| (name, settings.secret(name)));
        let all_given = ring.is_some() && single.iter().all(|(_, secret)| secret.is_some());
        let master = master(settings, env, all_given);

        let mut given: Vec<(&str, &SecretString)> =
            single.iter().filter_map(|(name, secret)| Some((*name, secret.as_ref()?))).collect();
        given.extend(master.as_ref().map(|secret| ("SECRET_KEY", secret)));
        for (index, (name, secret)) in given.iter().enumerate() {
            check_strength(settings, name, secret);
            let earlier =
                given.iter().take(index).find(|(_, other)| other.expose_secret() == secret.expose_secret());
            if let Some((other, _)) = earlier {
                settings.problem(name, &format!("repeats {other}: each secret must be its own"));
            }
        }

        let master_key = master.as_ref().map(key_from);
        let derive = |name: &str| master_key.as_ref().map(|key| key.derive(name));
        let jwt = match ring {
            Some(ring) if ring.expose_secret() == OFF => Some(Vec::new()),
            Some(ring) => parse_ring(settings, &ring, &given),
            None => derive("JWT_KEYS").map(|key| vec![SigningKey { kid: kid_of(&key), key }]),
        };
        let [csrf, referral, token, privacy, factor] =
            single.each_ref().map(|(name, secret)| secret.as_ref().map(key_from).or_else(|| derive(name)));
        // It was the `FACTOR_KEY` or the `SECRET_KEY`: which one, the sealed texts know.
        let previous = settings.secret("FACTOR_KEY_PREVIOUS").map(|secret| key_from(&secret));
        let previous = previous.map(|key| vec![key.derive("FACTOR_KEY"), key]).unwrap_or_default();
        Some(Self {
            jwt: jwt?,
            csrf: csrf?,
            referral: referral?,
            token: token?,
            privacy: privacy?,
            factor: SealingKeys { current: factor?, previous },
        })
    }
}

/// `SECRET_KEY`, needed unless every key is given by itself.
fn master(settings: &mut Settings, env: Option<AppEnv>, all_given: bool) -> Option<SecretString> {
    let secret = settings.secret("SECRET_KEY");
    if secret.is_some() || all_given {
        return secret;
    }
    if env == Some(AppEnv::Development) {
        return match development_secret(Path::new(DEVELOPMENT_SECRET)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                let why =
                    format!("is missing, and {DEVELOPMENT_SECRET} cannot be read or made ({})", error.kind());
                settings.problem("SECRET_KEY", &why);
                None
            }
        };
    }
    settings.problem(
        "SECRET_KEY",
        "is missing: it wants 32 random bytes or more, such as `openssl rand -base64 48` gives",
    );
    None
}

/// Reads the secret of this checkout, or makes it. Several processes that start at once agree on one.
fn development_secret(path: &Path) -> std::io::Result<SecretString> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Written aside and linked into place: whoever comes second finds a whole file.
    let draft = path.with_extension(format!("{}", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(Token::random().expose().as_bytes())?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(SecretString::from(std::fs::read_to_string(path)?.trim().to_owned())),
    }
}

/// A secret becomes a key by SHA-256: it has 256 bits of its own already.
fn key_from(secret: &SecretString) -> Key {
    Key::new(Digest::of(secret.expose_secret().as_bytes()).0)
}

fn kid_of(key: &Key) -> String {
    hex(&key.mac(&[b"kid"])).chars().take(8).collect()
}

fn check_strength(settings: &mut Settings, name: &str, secret: &SecretString) {
    let text = secret.expose_secret();
    let distinct = text.bytes().collect::<std::collections::BTreeSet<_>>().len();
    if text.len() < SHORTEST_SECRET {
        settings.problem(
            name,
            "is weak: it wants 32 random bytes or more, such as `openssl rand -base64 48` gives",
        );
    } else if distinct < 12
        || ["change", "secret", "example"].iter().any(|word| text.to_lowercase().contains(word))
    {
        settings.problem(name, "is weak: it looks typed or copied from an example, not random");
    }
}

/// `kid:secret,kid:secret`, newest first.
fn parse_ring(
    settings: &mut Settings,
    ring: &SecretString,
    others: &[(&str, &SecretString)],
) -> Option<Vec<SigningKey>> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for entry in ring.expose_secret().split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parts = entry.split_once(':').filter(|(kid, _)| {
            !kid.is_empty()
                && kid.len() <= 32
                && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
        let Some((kid, secret)) = parts else {
            settings.problem("JWT_KEYS", "wants `kid:secret` pairs, newest first, with commas between");
            return None;
        };
        let secret = SecretString::from(secret.to_owned());
        check_strength(settings, "JWT_KEYS", &secret);
        if let Some((other, _)) =
            others.iter().find(|(_, other)| other.expose_secret() == secret.expose_secret())
        {
            settings.problem("JWT_KEYS", &format!("repeats {other}: each secret must be its own"));
        }
        let key = key_from(&secret);
        if keys.iter().any(|known| known.kid == kid || known.key == key) {
            settings.problem("JWT_KEYS", "names a key twice");
        }
        keys.push(SigningKey { kid: kid.to_owned(), key });
    }
    if keys.is_empty() {
        settings.problem("JWT_KEYS", "wants one `kid:secret` pair at least");
        return None;
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRONG: &str = "k3Zq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf1A";
    const OTHER: &str = "Q7wE2rT9yU4iO1pA6sD3fG8hJ5kL0zXc";

    fn read(values: &[(&str, &str)]) -> Result<Keys, String> {
        let mut settings = Settings::from_map(values.iter().copied());
        let keys = Keys::read(&mut settings, Some(AppEnv::Production));
        settings.finish(|| keys).map_err(|error| error.to_string())
    }

    #[test]
    fn t9_weak_missing_and_repeated_secrets_are_refused_by_name() {
        for (values, name) in [
            (vec![], "SECRET_KEY is missing"),
            (vec![("SECRET_KEY", "short")], "SECRET_KEY is weak"),
            (vec![("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "SECRET_KEY is weak"),
            (vec![("SECRET_KEY", "change-me-change-me-change-me-0123456789")], "SECRET_KEY is weak"),
            (vec![("SECRET_KEY", STRONG), ("CSRF_KEY", STRONG)], "SECRET_KEY repeats CSRF_KEY"),
            (
                vec![("SECRET_KEY", STRONG), ("CSRF_KEY", OTHER), ("TOKEN_KEY", OTHER)],
                "TOKEN_KEY repeats CSRF_KEY",
            ),
            (vec![("SECRET_KEY", STRONG), ("JWT_KEYS", "nocolon")], "JWT_KEYS wants"),
        ] {
            let error = read(&values).unwrap_err();
            assert!(error.contains(name), "{name} is missing in: {error}");
            assert!(values.iter().all(|(_, value)| !error.contains(value)), "{error}");
        }
    }

    #[test]
    fn one_secret_gives_every_key_and_each_differs() {
        let keys = read(&[("SECRET_KEY", STRONG)]).unwrap();
        let jwt = keys.jwt[0].key.clone();
        let all = [jwt, keys.csrf, keys.referral, keys.token, keys.privacy, keys.factor.current];
        for (index, key) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other != key));
        }
    }

    #[test]
    fn what_sealed_before_still_opens() {
        let old = read(&[("SECRET_KEY", STRONG)]).unwrap().factor.current;
        let new = read(&[("SECRET_KEY", OTHER), ("FACTOR_KEY_PREVIOUS", STRONG)]).unwrap().factor;
        assert!(new.current != old && new.previous.contains(&old));
        let old = read(&[("SECRET_KEY", OTHER), ("FACTOR_KEY", STRONG)]).unwrap().factor.current;
        let new = read(&[("SECRET_KEY", OTHER), ("FACTOR_KEY_PREVIOUS", STRONG)]).unwrap().factor;
        assert!(new.current != old && new.previous.contains(&old));
    }

    #[test]
    fn a_ring_keeps_its_order() {
        let ring = format!("new:{STRONG},old:{OTHER}");
        let keys = read(&[("SECRET_KEY", "Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0Pp"), ("JWT_KEYS", &ring)]).unwrap();
        assert_eq!(keys.jwt.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        assert!(read(&[("SECRET_KEY", STRONG), ("JWT_KEYS", "off")]).unwrap().jwt.is_empty());
    }
}
