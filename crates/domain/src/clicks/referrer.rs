//! Where a visitor came from: the host of the `Referer`, and no more of it.

use url::{Host, Url};

/// The longest `Referer` that is looked at, in bytes.
const LONGEST: usize = 4_096;

/// The host that a `Referer` names, without `www.`. Empty when there is none, when it is our own, and when it is no name of
/// the public internet: an address or a name without a dot may say where somebody lives.
pub fn referrer(header: &str, own_host: &str) -> String {
    if header.len() > LONGEST {
        return String::new();
    }
    let Ok(url) = Url::parse(header.trim()) else { return String::new() };
    // Apps of Android name themselves too, such as android-app://com.google.android.gm/.
    let ("http" | "https" | "android-app", Some(Host::Domain(host))) = (url.scheme(), url.host()) else {
        return String::new();
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let host = host.strip_prefix("www.").unwrap_or(&host);
    let named = host.contains('.')
        && host.len() <= 253
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let ours = host == own_host.strip_prefix("www.").unwrap_or(own_host);
    if named && !ours { host.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_host_is_left() {
        for (header, expected) in [
            ("https://www.Instagram.com/ada?igsh=secret#x", "instagram.com"),
            ("https://user:password@l.example.org:8443/path", "l.example.org"),
            ("https://bücher.example/", "xn--bcher-kva.example"),
            ("android-app://com.google.android.gm/", "com.google.android.gm"),
            ("https://trellis.test/@ada", ""),
            ("https://www.trellis.test/@ada", ""),
            ("", ""),
            ("about:blank", ""),
            ("http://localhost:3000/", ""),
            ("http://192.168.0.7/", ""),
            ("http://[2001:db8::1]/", ""),
            ("javascript:alert(1)", ""),
            ("file:///home/ada/x.html", ""),
            ("=cmd|'/C calc'!A0", ""),
            ("https://example.org./", "example.org"),
        ] {
            assert_eq!(referrer(header, "trellis.test"), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn t10_any_referer_gives_a_host_or_nothing(text in "(https?://)?.*") {
            let host = referrer(&text, "trellis.test");
            prop_assert!(host.len() <= 253 && host.is_ascii() && !host.contains(['/', '?', '@', ' ']));
        }
    }
}
