//! Paths of ours that a link names, to go on to: never anybody else's page.

use url::Url;

/// The longest path, in bytes.
const LONGEST: usize = 512;

/// The path, with its query and fragment, if browsers take it for one of ours. What they read differently from us
/// (`//evil`, `/\evil`, white space in it) is refused.
pub fn parse(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !text.starts_with('/') || !plain || text.len() > LONGEST {
        return None;
    }
    let ours = Url::parse("https://own.invalid").ok()?;
    let target = ours.join(text).ok()?;
    (target.origin() == ours.origin() && !target.path().starts_with("//")).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f12_only_paths_of_ours_are_gone_on_to() {
        for good in [
            "/",
            "/dashboard",
            "/dashboard#account",
            "/@ada?x=1&y=%2F",
            "/a//b",
            "/a:b",
            "/%2F%2Fevil.example",
        ] {
            assert_eq!(parse(good), Some(good));
        }
        for bad in [
            "",
            "dashboard",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /dashboard",
            "https:evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/.//evil.example",
            "/..//evil.example",
            "/x/..//evil.example",
            "/%5c\\evil",
            "/d\u{e9}",
            "/\0",
            "?x",
            "#x",
            &format!("/{}", "a".repeat(512)),
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn t10_f12_whatever_is_taken_stays_here(text in "[/\\\\.:@#?%a-z0-9 \t]{0,24}|.*") {
            if let Some(path) = parse(&text) {
                let ours = Url::parse("https://trellis.example").unwrap();
                prop_assert_eq!(ours.join(path).unwrap().origin(), ours.origin());
            }
        }
    }
}
