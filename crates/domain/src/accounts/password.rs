//! Which passwords are taken: length and guessability, no composition rules (NIST SP 800-63B-4, 3.1.1.2).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization as _;

/// More bytes than this are refused before anything is computed from them.
const MOST_BYTES: usize = 1_024;

/// The longest password, in characters.
const LONGEST: usize = 128;

/// The estimate looks at this many characters at once: its time grows with the square of their number, and its figures for a
/// walk over the keyboard with more turns are too large for 64 bits, which it does not notice.
const ESTIMATED: usize = 28;

/// The lowest zxcvbn score that is taken, of 0 to 4: 2 is over a million guesses, beyond what throttled sign-ins allow.
const LOWEST_SCORE: u8 = 2;

/// A password as people type it, normalised so that composed and decomposed letters are one (RFC 8265, 4.2: NFC, other
/// spaces become U+0020; case and outer spaces are kept). `Debug` is redacted.
#[derive(Clone)]
pub struct Password(SecretString);

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Fewer characters than the configured minimum.
    #[error("a password has {0} characters at least")]
    TooShort(usize),
    /// More than 128 characters.
    #[error("a password has 128 characters at most")]
    TooLong,
    /// A control character.
    #[error("a password has no control characters")]
    ControlCharacter,
    /// Among the first that an attacker tries, or made of the account's own names.
    #[error("this password is easy to guess: take a longer one, of several unrelated words")]
    Weak,
}

impl Password {
    /// Normalises what somebody typed, to compare it with a stored hash. Only a length no account can have is refused.
    pub fn typed(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MOST_BYTES {
            return Err(PasswordError::TooLong);
        }
        let normal: String = text
            .nfc()
            .map(|c| if c.is_whitespace() && c != '\u{20}' && !c.is_control() { ' ' } else { c })
            .collect();
        Ok(Self(SecretString::from(normal)))
    }

    /// Takes a new password of `shortest` characters at least. `own` are the account's names (e-mail address, username):
    /// a password made of them is weak.
    pub fn choose(text: &str, shortest: usize, own: &[&str]) -> Result<Self, PasswordError> {
        let password = Self::typed(text)?;
        let normal = password.expose();
        if normal.chars().any(char::is_control) {
            return Err(PasswordError::ControlCharacter);
        }
        let length = normal.chars().count();
        if length < shortest {
            return Err(PasswordError::TooShort(shortest));
        }
        if length > LONGEST {
            return Err(PasswordError::TooLong);
        }
        if is_weak(normal, own) { Err(PasswordError::Weak) } else { Ok(password) }
    }

    /// The password, to be looked at.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// The password, for hashing.
    pub fn into_secret(self) -> SecretString {
        self.0
    }

    fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([redacted])")
    }
}

fn is_weak(password: &str, own: &[&str]) -> bool {
    let mut words: Vec<&str> = vec!["trellis"];
    for name in own {
        words.push(name);
        words.extend(name.split(['@', '.', '-', '_', '+']).filter(|part| part.len() > 2));
    }
    if has_little_beside(&password.to_lowercase(), &words) {
        return true;
    }
    // The whole is as hard to guess as its hardest part, at least.
    let chars: Vec<char> = password.chars().collect();
    let mut parts = chars.chunks(ESTIMATED).map(|part| part.iter().collect::<String>());
    !parts.any(|part| u8::from(zxcvbn::zxcvbn(&part, &words).score()) >= LOWEST_SCORE)
}

/// Whether fewer than four letters and digits are left when `words` are taken out, however often they are in it. The
/// estimate below takes a word and its repetition for two words, and so for a good password.
fn has_little_beside(folded: &str, words: &[&str]) -> bool {
    let mut words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    // The address before its parts.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words.iter().fold(folded.to_owned(), |rest, word| rest.replace(word, " "));
    rest.len() < folded.len() && rest.chars().filter(|c| c.is_alphanumeric()).count() < 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str) -> Result<Password, PasswordError> {
        Password::choose(text, 8, &["ada@example.org", "ada-lovelace"])
    }

    #[test]
    fn a8_which_passwords_are_taken() {
        let long = "correct horse ".repeat(9);
        let longest: String = "x9 Kp-".chars().cycle().take(128).collect();
        for good in [
            "Vq7-tangerine-kiln",
            "correct horse battery staple",
            "пароль-синий-трамвай",
            "🦀🦀🍉🍉🚲🚲🎻🎻 и",
            &longest,
            &long,
        ] {
            assert!(choose(good).is_ok(), "{good}");
        }
        let over = format!("{longest}y");
        let huge = "a".repeat(1_025);
        for (bad, why) in [
            ("", PasswordError::TooShort(8)),
            ("Xk9-qZ7", PasswordError::TooShort(8)),
            (&over, PasswordError::TooLong),
            (&huge, PasswordError::TooLong),
            ("Vq7-tang\u{7}erine", PasswordError::ControlCharacter),
            ("password", PasswordError::Weak),
            ("password1", PasswordError::Weak),
            ("12345678", PasswordError::Weak),
            ("qwertyuiop", PasswordError::Weak),
            ("aaaaaaaaaaaa", PasswordError::Weak),
            ("ada@example.org", PasswordError::Weak),
            ("Ada-Lovelace", PasswordError::Weak),
            ("trellis1", PasswordError::Weak),
            ("trellis-trellis", PasswordError::Weak),
            ("Ada-Lovelace/Ada-Lovelace/42", PasswordError::Weak),
        ] {
            assert_eq!(choose(bad).err(), Some(why), "{bad}");
        }
    }

    #[test]
    fn a9_composed_and_decomposed_letters_are_one_password() {
        let composed = Password::typed("caf\u{e9} au lait ").unwrap();
        let decomposed = Password::typed("cafe\u{301}\u{a0}au lait ").unwrap();
        assert_eq!(composed.expose(), decomposed.expose());
        assert_ne!(composed.expose(), Password::typed("CAF\u{c9} au lait ").unwrap().expose());
        assert!(composed.expose().ends_with(' '));
    }
}
