//! Who a request comes from, as far as that can be known.
//!
//! `X-Forwarded-For` is what the client wrote, plus what each proxy appended. Only the entries that our own proxies
//! appended are true, so the list is read from its right end, and only when the peer itself is one of them. A whole
//! address is never logged or stored; limits and records use its prefix, blinded.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use domain::sessions::Origin;
use domain::token::Key;
use ipnet::IpNet;

/// The address of the client: the nearest hop that is not one of the `trusted` proxies.
pub fn of(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    // Without a peer there is no socket, which only happens in tests of a single service.
    let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |addr| addr.ip());
    resolve(peer, request.headers(), trusted)
}

/// The host that a request was sent to: `Host`, or what a trusted proxy that changed it says it was.
pub fn host<'a>(request: &'a HttpRequest, trusted: &[IpNet]) -> Option<&'a str> {
    let headers = request.headers();
    let peer = request.peer_addr().map(|addr| addr.ip().to_canonical());
    let is_trusted = peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer)));
    let forwarded = headers.get("x-forwarded-host").filter(|_| is_trusted);
    let text = forwarded.or_else(|| headers.get(header::HOST))?.to_str().ok()?;
    text.split(',').next().map(str::trim)
}

fn resolve(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return peer;
    }
    let mut nearest = peer;
    let lines: Vec<_> = headers.get_all("x-forwarded-for").collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        // What is no address was not written by a proxy of ours: the last one that was answers for it.
        let Some(ip) = std::str::from_utf8(hop).ok().and_then(parse_hop) else { return nearest };
        nearest = ip;
        if !is_trusted(&ip) {
            return ip;
        }
    }
    nearest
}

/// An address, with a port or brackets around it if the proxy writes them.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().ok().or_else(|| {
        let socket = text.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip());
        socket.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
    });
    address.map(|ip| ip.to_canonical())
}

/// The network that one household or office usually has: /24 of IPv4, /56 of IPv6.
pub fn prefix(ip: IpAddr) -> IpNet {
    let length = if ip.is_ipv4() { 24 } else { 56 };
    IpNet::new(ip, length).map_or_else(|_| IpNet::from(ip), |net| net.trunc())
}

/// Whether the address is somebody's own, so that two people who share its network have something in common. Loopback,
/// private, link-local and carrier-grade NAT addresses (RFC 1918, 4193, 6598) are what everybody has behind a proxy that
/// is not trusted, on one machine, or in one cluster.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || is_shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
    }
}

/// The prefix as limits and records know it: keyed, so that it can be compared and not read back.
pub fn blinded_prefix(ip: IpAddr, privacy: &Key) -> [u8; 32] {
    privacy.mac(&[b"ip-prefix", prefix(ip).to_string().as_bytes()])
}

/// Where a session comes from, as its owner sees it later: the user agent, and no more of the address than its prefix.
/// Whether the browser is known depends on who signs in, and is for the caller to say.
pub fn session_origin(request: &HttpRequest, trusted: &[IpNet]) -> Origin {
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Origin {
        user_agent: user_agent.unwrap_or_default().to_owned(),
        ip_prefix: prefix(of(request, trusted)).to_string(),
        known_browser: false,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(line).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        resolve(ip(peer), &headers, &trusted)
    }

    #[test]
    fn h4_the_right_most_untrusted_hop_is_the_client() {
        let proxies = &["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["6.6.6.6"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["6.6.6.6, garbage"], "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6, garbage, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded, proxies), ip(expected), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn h4_nothing_is_trusted_by_default() {
        assert_eq!(client("127.0.0.1", &["6.6.6.6"], &[]), ip("127.0.0.1"));
    }

    #[test]
    fn neighbours_share_a_prefix() {
        assert_eq!(prefix(ip("192.0.2.200")).to_string(), "192.0.2.0/24");
        assert_eq!(prefix(ip("2001:db8:1:2ff::1")).to_string(), "2001:db8:1:200::/56");
        let key = Key::new([1; 32]);
        assert_eq!(blinded_prefix(ip("192.0.2.1"), &key), blinded_prefix(ip("192.0.2.2"), &key));
        assert_ne!(blinded_prefix(ip("192.0.2.1"), &key), blinded_prefix(ip("192.0.3.1"), &key));
    }

    #[test]
    fn addresses_that_everybody_has_behind_a_proxy_are_not_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(!is_public(ip(private)), "{private}");
        }
        for public in ["8.8.8.8", "203.0.113.7", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(is_public(ip(public)), "{public}");
        }
    }

    proptest! {
        #[test]
        fn t10_any_header_gives_an_address(lines in proptest::collection::vec(".*", 0..4), v4: u32) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                if let Ok(value) = HeaderValue::from_str(line) {
                    headers.append(HeaderName::from_static("x-forwarded-for"), value);
                }
            }
            let everyone: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
            let peer = IpAddr::from(v4.to_be_bytes());
            let _any = resolve(peer, &headers, &everyone);
            prop_assert_eq!(resolve(peer, &headers, &[]), peer);
        }

        #[test]
        fn t10_hops_never_panic(text in "[0-9a-fA-F:.\\[\\] ]*|.*") {
            let _any = parse_hop(&text);
        }

        #[test]
        fn every_address_has_a_prefix(v4: u32, v6: u128) {
            prop_assert!(prefix(IpAddr::from(v4.to_be_bytes())).contains(&IpAddr::from(v4.to_be_bytes())));
            prop_assert!(prefix(IpAddr::from(v6.to_be_bytes())).contains(&IpAddr::from(v6.to_be_bytes())));
        }
    }
}
