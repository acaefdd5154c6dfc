//! Which origins and hosts belong together, as browsers see it.
//!
//! Browsers send `SameSite=Lax` cookies only between pages of one site: the same scheme and the same registrable domain
//! (RFC 6265bis, 5.2). A page of another site may be allowed by CORS and still cannot carry a session.

use std::net::IpAddr;

/// The host of an origin such as `https://trellis.example:8443`, without its port.
pub(super) fn host(origin: &str) -> &str {
    name(origin.split_once("://").map_or(origin, |(_, authority)| authority))
}

/// The name in a `Host` header, without its port. Proxies differ in whether they pass the port on.
pub(super) fn name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// Whether pages of both origins may share cookies that are `SameSite`.
pub(super) fn are_same_site(one: &str, other: &str) -> bool {
    scheme(one) == scheme(other) && site(host(one)) == site(host(other))
}

fn scheme(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(scheme, _)| scheme)
}

/// The registrable domain; an address, and a name that has none, stands for itself.
fn site(host: &str) -> &str {
    if address(host).is_some() {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// The IP address that a host is, in brackets or not.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cases/accounts 11
    #[test]
    fn siblings_are_one_site_and_public_suffixes_are_not() {
        let public = "https://api.trellis.example";
        for sibling in
            ["https://api.trellis.example", "https://app.trellis.example", "https://trellis.example:8443"]
        {
            assert!(are_same_site(public, sibling), "{sibling}");
        }
        for stranger in ["http://app.trellis.example", "https://app.example", "https://trellis.example.com"] {
            assert!(!are_same_site(public, stranger), "{stranger}");
        }
        assert!(!are_same_site("https://trellis.co.uk", "https://app.co.uk"));
        assert!(!are_same_site("https://trellis.github.io", "https://app.github.io"));
        assert!(!are_same_site("https://10.0.0.1", "https://10.0.0.2"));
        assert!(are_same_site("http://app.trellis.test:3000", "http://api.trellis.test"));
        assert!(are_same_site("http://localhost:3000", "http://localhost:8080"));
        assert!(!are_same_site("http://localhost:3000", "http://127.0.0.1:8080"));
    }

    #[test]
    fn hosts_are_compared_without_their_port() {
        assert_eq!(host("https://trellis.example:8443"), "trellis.example");
        assert_eq!(host("http://[::1]:80"), "[::1]");
        assert_eq!(name("[::1]"), "[::1]");
        assert_eq!(name("trellis.example"), "trellis.example");
        assert_eq!(name(""), "");
        assert!(address("[::1]").is_some() && address("127.0.0.1").is_some() && address("a.b").is_none());
    }
}
