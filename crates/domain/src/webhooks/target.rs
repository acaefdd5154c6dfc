//! Where webhooks may go: a manager types the address, and our own machines make the request (CWE-918, OWASP's cheat sheet on
//! server-side request forgery).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

/// The longest address, in bytes.
const LONGEST: usize = 2_048;

/// What is configured when no private network may be called.
const NONE: &str = "none";

/// What may be called: public addresses, over TLS; and the operator's own networks, if some are named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// `WEBHOOK_PRIVATE_NETWORKS`.
    private: Vec<IpNet>,
}

impl Targets {
    /// Public addresses, and those in `private`.
    pub fn new(private: Vec<IpNet>) -> Self {
        Self { private }
    }

    /// The networks of a developer's machine.
    pub(crate) fn of_development() -> Self {
        "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7".parse().unwrap_or_default()
    }

    /// Whether a connection may be made to this address; without TLS only within the operator's own networks.
    pub fn admit(&self, ip: IpAddr, over_tls: bool) -> bool {
        let ip = ip.to_canonical();
        self.private.iter().any(|network| network.contains(&ip)) || over_tls && is_global(ip)
    }

    /// Whether this may be asked for. What a name stands for is for whoever looks it up to [`admit`](Self::admit).
    pub fn admit_url(&self, url: &Url) -> bool {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        self.admit(ip, url.scheme() == "https")
    }

    /// Whether anything may be called without TLS.
    fn admit_plain(&self) -> bool {
        !self.private.is_empty()
    }
}

/// As it is configured: networks with commas between, or `none`.
impl FromStr for Targets {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == NONE {
            return Ok(Self::default());
        }
        let networks = text.split(',').map(|network| network.trim().parse().map_err(|_| ()));
        networks.collect::<Result<_, _>>().map(Self::new)
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.private.is_empty() {
            return f.write_str(NONE);
        }
        let networks: Vec<String> = self.private.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

/// Whether the Internet leads there, and not to ourselves, our neighbours or nowhere (IANA's special-purpose registries). Not
/// the addresses either that carry one of IPv4 inside, which a gateway may unwrap.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    let is_benchmark = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || a >= 224
        || is_shared
        || is_protocol
        || is_benchmark
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation())
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // 2000::/3 is all that was given out; in it are Teredo, ORCHID and documentation, and 6to4.
    let is_given_out = a & 0xe000 == 0x2000;
    let is_special = a == 0x2001 && (b < 0x200 || b == 0xdb8) || a == 0x3fff;
    is_given_out && !is_special && a != 0x2002
}

/// The address of an endpoint, as requests are made to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(String);

/// Why an address is none of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUrlError {
    /// Not an absolute address, or too long a one.
    #[error("this is no address such as https://example.com/hooks, of 2048 bytes at most")]
    Malformed,
    /// Neither https nor http.
    #[error("an endpoint is called over https")]
    Scheme,
    /// `http`, and no private networks are configured.
    #[error("an endpoint is called over https; without TLS only in WEBHOOK_PRIVATE_NETWORKS")]
    Plain,
    /// With a name and a password in it, which logs of proxies would show.
    #[error("an address holds no user name and no password")]
    Credentials,
    /// An address that may not be called.
    #[error("this address is not one of the Internet, nor in WEBHOOK_PRIVATE_NETWORKS")]
    NotAdmitted,
}

impl EndpointUrl {
    /// Reads an address. What a name in it stands for is looked at at each request.
    pub fn parse(text: &str, targets: &Targets) -> Result<Self, EndpointUrlError> {
        let mut url = Url::parse(text.trim()).map_err(|_| EndpointUrlError::Malformed)?;
        match url.scheme() {
            "https" => {}
            "http" if targets.admit_plain() => {}
            "http" => return Err(EndpointUrlError::Plain),
            _ => return Err(EndpointUrlError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointUrlError::Credentials);
        }
        if !targets.admit_url(&url) {
            return Err(EndpointUrlError::NotAdmitted);
        }
        url.set_fragment(None);
        let url = String::from(url);
        if url.len() > LONGEST { Err(EndpointUrlError::Malformed) } else { Ok(Self(url)) }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn w4_only_the_internet_is_called_and_what_the_operator_names() {
        let (strict, own) = (Targets::default(), Targets::new(vec!["10.1.0.0/16".parse().unwrap()]));
        for inside in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.113.7",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "::127.0.0.1",
        ] {
            assert!(!strict.admit(ip(inside), true), "{inside}");
            assert!(!strict.admit(ip(inside), false), "{inside}");
        }
        for outside in ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1"] {
            assert!(strict.admit(ip(outside), true), "{outside}");
            assert!(!strict.admit(ip(outside), false), "{outside}: not without TLS");
        }
        assert!(own.admit(ip("10.1.2.3"), false) && own.admit(ip("::ffff:10.1.2.3"), true));
        assert!(!own.admit(ip("10.2.0.1"), true) && !own.admit(ip("1.1.1.1"), false));
    }

    #[test]
    fn w4_an_address_that_may_not_be_called_is_refused_when_it_is_typed() {
        use EndpointUrlError::{Credentials, Malformed, NotAdmitted, Plain, Scheme};
        let strict = Targets::default();
        for (text, error) in [
            ("", Malformed),
            ("hooks.example/x", Malformed),
            ("https://", Malformed),
            ("ftp://hooks.example/", Scheme),
            ("javascript:alert(1)", Scheme),
            ("http://hooks.example/", Plain),
            ("https://user:pass@hooks.example/", Credentials),
            ("https://user@hooks.example/", Credentials),
            ("https://127.0.0.1/", NotAdmitted),
            ("https://2130706433/", NotAdmitted),
            ("https://0x7f.1/", NotAdmitted),
            ("https://[::1]/", NotAdmitted),
            ("https://[::ffff:169.254.169.254]/", NotAdmitted),
        ] {
            assert_eq!(EndpointUrl::parse(text, &strict), Err(error), "{text}");
        }
        let long = format!("https://hooks.example/{}", "x".repeat(LONGEST));
        assert_eq!(EndpointUrl::parse(&long, &strict), Err(Malformed));
        let url = EndpointUrl::parse(" https://Hooks.Example/a?b=c#d ", &strict).unwrap();
        assert_eq!(url.as_str(), "https://hooks.example/a?b=c");
        let local = Targets::of_development();
        assert_eq!(local.to_string().parse::<Targets>().unwrap(), local);
        assert_eq!(strict.to_string().parse::<Targets>().unwrap(), strict);
        assert!("10.0.0.0/8,".parse::<Targets>().is_err() && "".parse::<Targets>().is_err());
        assert!(EndpointUrl::parse("http://127.0.0.1:9999/hook", &local).is_ok());
        assert!(EndpointUrl::parse("http://1.1.1.1/", &local).is_err());
    }
}
