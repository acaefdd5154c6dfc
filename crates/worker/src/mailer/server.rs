//! `SMTP_URL`, taken apart.

use std::net::IpAddr;

use lettre::transport::smtp::client::{Certificate, TlsParameters};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

/// What `SMTP_URL` takes.
pub(super) const SHAPE: &str =
    "wants smtps://user:password@host:465 or smtp://user:password@host:587?tls=required";

/// A mail server and the way to speak to it.
#[derive(Clone, Debug)]
pub struct SmtpServer {
    /// Its host name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Who we are to it.
    pub login: Option<Login>,
    /// The name to greet it with; this machine's host name when `None`.
    pub hello: Option<String>,
    /// `SMTP_CA`: certificates (PEM) to trust beside the public ones.
    pub extra_roots: Option<String>,
    /// How many connections may be open at once.
    pub connections: usize,
}

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// STARTTLS, and nothing is said before it (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
}

/// A user and a password.
#[derive(Clone, Debug)]
pub struct Login {
    /// Often an e-mail address, so as secret as one.
    pub user: SecretString,
    /// The password.
    pub password: SecretString,
}

/// `smtp://user:password@host:port/name-for-ehlo?tls=required`, with the ports and parameters of lettre's URLs.
pub(super) fn parse(text: &str) -> Result<SmtpServer, &'static str> {
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    let tls: Vec<_> = url.query_pairs().collect();
    let (encryption, port) = match (url.scheme(), tls.as_slice()) {
        ("smtps", []) => (Encryption::Implicit, 465),
        ("smtp", []) => (Encryption::None, 587),
        ("smtp", [(name, value)]) if name == "tls" && matches!(&**value, "required" | "starttls") => {
            (Encryption::StartTls, 587)
        }
        ("smtp", [(name, value)]) if name == "tls" && value == "opportunistic" => {
            return Err(
                "asks for opportunistic TLS, which anyone on the way can switch off: write `?tls=required`",
            );
        }
        ("smtp", _) => return Err("has a parameter that is not `tls=required`"),
        ("smtps", _) => return Err("has a parameter, and smtps:// takes none"),
        _ => return Err(SHAPE),
    };
    let host =
        url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']')).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(plain) {
        return Err(SHAPE);
    }
    let hello = Some(url.path().trim_matches('/')).filter(|name| !name.is_empty());
    if hello.is_some_and(|name| !name.chars().all(plain)) {
        return Err("has a path, which is the name to say EHLO with, and this one is no host name");
    }
    Ok(SmtpServer {
        host: host.to_owned(),
        port: url.port().unwrap_or(port),
        encryption,
        login: login(&url)?,
        hello: hello.map(str::to_owned),
        extra_roots: None,
        connections: 4,
    })
}

fn login(url: &Url) -> Result<Option<Login>, &'static str> {
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => {
            Ok(SecretString::from(text.into_owned()))
        }
        _ => Err("has a user or password that is empty or not percent-encoded UTF-8"),
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (_, None) => Err("has a user without a password"),
        (user, Some(password)) => Ok(Some(Login { user: decode(user)?, password: decode(password)? })),
    }
}

/// Whether a host is this machine, so that nothing crosses a network.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The certificates to trust and the name to expect; an error when the extra certificates are none.
pub(super) fn tls_parameters(server: &SmtpServer) -> Result<TlsParameters, BadRoots> {
    let mut builder = TlsParameters::builder(server.host.clone());
    if let Some(pem) = &server.extra_roots {
        // Text without any certificate parses as an empty list, which would be trusted as if it were not set.
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(BadRoots);
        }
        builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(|_| BadRoots)?);
    }
    builder.build().map_err(|_| BadRoots)
}

/// `SMTP_CA` holds no usable certificate.
#[derive(Debug)]
pub(super) struct BadRoots;
