//! What people write about themselves and their links: text that shows as it was written, and nothing that hides.

use unicode_normalization::UnicodeNormalization as _;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing that anybody could see.
    #[error("this must not be empty")]
    Empty,
    /// Too many characters.
    #[error("this has {0} characters at most")]
    TooLong(usize),
    /// A control character, or one that turns the direction of what follows.
    #[error("control characters and changes of the direction of writing are not allowed")]
    InvisibleCharacter,
}

macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident($longest:expr, lines: $lines:expr, empty: $empty:expr);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The most characters.
            pub const LONGEST: usize = $longest;

            /// Reads it: normalised (NFC), without white space around it.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                read(text, $longest, $lines, $empty).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )*};
}

texts! {
    /// The name on a page; empty for the username.
    #[derive(Default)]
    DisplayName(60, lines: false, empty: true);
    /// A few lines about the owner of a page.
    #[derive(Default)]
    Bio(500, lines: true, empty: true);
    /// What a link or a header says.
    Title(120, lines: false, empty: false);
}

/// Whether a character turns the direction of those after it (Unicode UAX 9, explicit formatting), as in `gpj.exe`. Text in
/// Hebrew or Arabic needs none of them.
pub(super) fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether nothing shows of it by itself.
fn is_unseen(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(
            letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{2800}'
                | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
        )
}

fn read(text: &str, longest: usize, lines: bool, may_be_empty: bool) -> Result<String, TextError> {
    let text = if lines { text.replace("\r\n", "\n") } else { text.to_owned() };
    let refused = |letter: char| {
        let is_line_break = letter == '\n' && lines;
        letter.is_control() && !is_line_break
            || turns_direction(letter)
            || matches!(letter, '\u{2028}' | '\u{2029}')
            || !lines && letter == '\n'
    };
    if text.chars().any(refused) {
        return Err(TextError::InvisibleCharacter);
    }
    let text: String = text.trim().nfc().collect();
    if text.chars().count() > longest {
        return Err(TextError::TooLong(longest));
    }
    if text.chars().all(is_unseen) {
        return if may_be_empty { Ok(String::new()) } else { Err(TextError::Empty) };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h7_text_shows_as_it_was_written() {
        let title = |text: &str| Title::parse(text).map(|title| title.0);
        for good in ["Shop", "<svg onload=alert(1)>", "👩‍👩‍👧 أهلا שלום", "🏴\u{e0067}\u{e0062}\u{e007f}", "\"'&"]
        {
            assert_eq!(title(good), Ok(good.to_owned()));
        }
        assert_eq!(title("  e\u{301}  "), Ok("é".to_owned()));
        for unseen in ["", " ", "\u{200b}\u{feff}", "\u{3164}", "\u{2800} "] {
            assert_eq!(title(unseen), Err(TextError::Empty), "{unseen:?}");
        }
        for hidden in
            ["a\u{202e}gpj.exe", "a\u{2066}b", "a\0b", "a\u{7}", "a\nb", "a\u{85}b", "a\u{2028}b", "\u{9b}1m"]
        {
            assert_eq!(title(hidden), Err(TextError::InvisibleCharacter), "{hidden:?}");
        }
        assert!(title(&"é".repeat(120)).is_ok());
        assert_eq!(title(&"é".repeat(121)), Err(TextError::TooLong(120)));
    }

    #[test]
    fn a_bio_has_lines_and_may_be_empty() {
        let bio = |text: &str| Bio::parse(text).map(|bio| bio.0);
        assert_eq!(bio("one\r\ntwo\n"), Ok("one\ntwo".to_owned()));
        assert_eq!(bio(" \u{200b} "), Ok(String::new()));
        assert_eq!(bio("a\rb"), Err(TextError::InvisibleCharacter));
        assert_eq!(DisplayName::parse("a\nb"), Err(TextError::InvisibleCharacter));
    }
}
