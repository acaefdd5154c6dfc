//! A username for somebody who comes from a provider: made of what the provider calls them, and valid.

use unicode_normalization::UnicodeNormalization as _;

use super::Profile;
use crate::accounts::{Email, Reserved, Username};

/// Room for the digits that make a name unique.
const LONGEST_BASE: usize = 24;

/// How often each kind of name is tried with other digits. The index says which is free.
const TRIES: usize = 8;

/// Usernames to try, best first. Ends, so that no sign-in runs for ever.
pub(super) fn candidates(profile: &Profile, reserved: &Reserved) -> impl Iterator<Item = Username> {
    let local = profile.email.as_ref().map(Email::local_part);
    let bases: Vec<String> = profile.names.iter().map(String::as_str).chain(local).filter_map(base).collect();
    let plain = bases.clone().into_iter();
    let numbered = bases.into_iter().take(1).flat_map(|base| numbered(base, 1_000..10_000));
    let anonymous = numbered_user();
    plain.chain(numbered).chain(anonymous).filter_map(|name| Username::choose(&name, reserved).ok())
}

fn numbered(base: String, range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    std::iter::repeat_with(move || format!("{base}{}", rand::random_range(range.clone()))).take(TRIES)
}

fn numbered_user() -> impl Iterator<Item = String> {
    numbered("user-".to_owned(), 100_000_000..1_000_000_000)
}

/// What of a text can stand in a username; `None` when too little is left.
fn base(text: &str) -> Option<String> {
    let text = text.split('@').next().unwrap_or_default();
    // Letters lose their accents; what has no ASCII form goes.
    let kept = text.nfkd().filter_map(|letter| match letter {
        ' ' => Some('-'),
        letter if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-') => {
            Some(letter.to_ascii_lowercase())
        }
        _ => None,
    });
    let mut name = String::new();
    for letter in kept {
        // Two separators in a row are none of a username.
        let follows_separator = name.ends_with(['_', '.', '-']) || name.is_empty();
        if letter.is_ascii_alphanumeric() || !follows_separator {
            name.push(letter);
        }
        if name.len() == LONGEST_BASE {
            break;
        }
    }
    let kept = name;
    let kept = kept.trim_end_matches(['_', '.', '-']);
    (kept.len() >= 3).then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(called: &[&str], email: &str) -> Vec<String> {
        let profile = Profile {
            provider: "acme".to_owned(),
            issuer: "https://acme.example".to_owned(),
            subject: "1".to_owned(),
            email: Email::parse(email).ok(),
            email_verified: true,
            names: called.iter().map(|name| (*name).to_owned()).collect(),
        };
        candidates(&profile, &Reserved::default()).map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn a_name_is_made_of_what_the_provider_says() {
        for (called, email, first) in [
            (&["ada"][..], "a.lovelace@example.org", "ada"),
            (&["Ada Lovelace"], "x@example.org", "ada-lovelace"),
            (&["Zo\u{eb} B\u{fc}rgi"], "x@example.org", "zoe-burgi"),
            (&["ada@corp.example"], "x@example.org", "ada"),
            (&[], "grace.hopper@example.org", "grace.hopper"),
            (&["\u{645}\u{631}\u{64a}\u{645}"], "maryam@example.org", "maryam"),
            (&["-._ada_"], "x@example.org", "ada"),
            (&["Ada .. de  Lovelace"], "x@example.org", "ada-de-lovelace"),
            // Names of the service are nobody's.
            (&["admin"], "grace@example.org", "grace"),
        ] {
            assert_eq!(names(called, email)[0], first, "{called:?}");
        }
    }

    #[test]
    fn there_is_always_another_name_but_not_without_end() {
        let of_ada = names(&["ada"], "ada@example.org");
        assert!(of_ada[2].starts_with("ada") && of_ada[2].len() == 7, "{of_ada:?}");
        assert!(of_ada.last().unwrap().starts_with("user-"));
        assert!(of_ada.len() <= 2 + 2 * TRIES);
        let nobody = names(&["\u{1f980}"], "x@example.org");
        assert!(nobody[0].starts_with("user-"), "{nobody:?}");
        let long = names(&["a-very-long-name-that-nobody-would-type-twice"], "x@example.org");
        assert_eq!(long[0], "a-very-long-name-that-no");
    }

    #[test]
    fn t10_any_name_gives_valid_usernames() {
        for name in [
            "",
            " ",
            "@",
            "\0",
            "\r\nBcc: x",
            "<script>",
            "../../etc",
            "\u{fdfa}\u{202e}",
            &"a".repeat(100_000),
        ] {
            assert!(!names(&[name], "x@example.org").is_empty(), "{name:.20}");
        }
    }
}
