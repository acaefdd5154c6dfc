//! The identity providers: `OIDC_PROVIDERS` names them, and each has settings of its own, `OIDC_<NAME>_..`.

use std::fmt;
use std::str::FromStr;

use domain::config::Settings;
use domain::identities;
use secrecy::SecretString;
use url::{Host, Url};

/// What a provider's name may be: it stands in addresses, and in capitals in the names of its settings.
const NAMES: &str =
    "names of small letters and digits that start with a letter, such as google,github,acme, each once";

/// What an issuer is.
const ISSUER: &str =
    "an https URL without query, such as https://id.example (http only for this machine, in development)";

/// The longest name.
const LONGEST_NAME: usize = 20;

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OpenID Connect, with discovery.
    OpenIdConnect,
    /// OAuth 2.0 with the API of GitHub, which is no OpenID provider.
    GitHub,
}

/// One identity provider.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name, in addresses and settings.
    pub name: String,
    /// `OIDC_<NAME>_TITLE`: what people call it.
    pub title: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// `OIDC_<NAME>_ISSUER`, to the letter as the provider writes it.
    pub issuer: String,
    /// `OIDC_<NAME>_CLIENT_ID`
    pub client_id: String,
    /// `OIDC_<NAME>_CLIENT_SECRET`
    pub client_secret: SecretString,
    /// `OIDC_<NAME>_SCOPES`
    pub scopes: Vec<String>,
}

/// The providers that `OIDC_PROVIDERS` names, in its order; none when it is unset.
pub(super) fn read(settings: &mut Settings, production: bool) -> Option<Vec<ProviderConfig>> {
    let Names(names) = settings.or("OIDC_PROVIDERS", Names(Vec::new()), NAMES)?;
    if !names.is_empty() && !cfg!(feature = "oidc") {
        settings.problem("OIDC_PROVIDERS", "wants a build with the cargo feature `oidc`");
    }
    // Each is read, also after one that is wrong: all that is wrong is reported.
    let providers: Vec<_> = names.iter().map(|name| provider(settings, name, production)).collect();
    providers.into_iter().collect()
}

fn provider(settings: &mut Settings, provider: &str, production: bool) -> Option<ProviderConfig> {
    let protocol = if provider == "github" { Protocol::GitHub } else { Protocol::OpenIdConnect };
    let name = provider.to_ascii_uppercase();
    let preset = match provider {
        "google" => Some("https://accounts.google.com"),
        "github" => Some("https://github.com"),
        _ => None,
    };
    let scopes = match protocol {
        Protocol::OpenIdConnect => "openid email profile",
        Protocol::GitHub => "read:user user:email",
    };
    let issuer_setting = format!("OIDC_{name}_ISSUER");
    let issuer = match preset {
        Some(preset) => settings.or(&issuer_setting, preset.to_owned(), ISSUER),
        None => settings.required(&issuer_setting, ISSUER),
    };
    let issuer = issuer.filter(|issuer| {
        let good = is_issuer(issuer, production);
        if !good {
            settings.problem(&issuer_setting, &format!("wants {ISSUER}"));
        }
        good
    });
    let client_id =
        settings.required(&format!("OIDC_{name}_CLIENT_ID"), "the id that the provider gave this client");
    let client_secret = settings.required_secret(
        &format!("OIDC_{name}_CLIENT_SECRET"),
        "the secret that the provider gave this client",
    );
    let title: Option<String> = settings.or(
        &format!("OIDC_{name}_TITLE"),
        identities::title(provider),
        "what people call the provider",
    );
    let scopes: Option<String> =
        settings.or(&format!("OIDC_{name}_SCOPES"), scopes.to_owned(), "scopes with spaces between");
    Some(ProviderConfig {
        name: provider.to_owned(),
        title: title?,
        protocol,
        issuer: issuer?,
        client_id: client_id?,
        client_secret: client_secret?,
        scopes: scopes?.split_whitespace().map(str::to_owned).collect(),
    })
}

fn is_issuer(text: &str, production: bool) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    plain && url.password().is_none() && may_be_called(&url, production)
}

/// Whether a provider's address is one that secrets may be sent to: https, or this very machine in development.
pub(crate) fn may_be_called(url: &Url, production: bool) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_local && !production
}

/// The names of the providers.
struct Names(Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for Names {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
            let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if !starts || !plain || name.len() > LONGEST_NAME || names.iter().any(|known| known == name) {
                return Err(());
            }
            names.push(name.to_owned());
        }
        Ok(Self(names))
    }
}

#[cfg(test)]
#[cfg(feature = "oidc")]
mod tests {
    use crate::config::tests::config;

    const ACME: [(&str, &str); 4] = [
        ("OIDC_PROVIDERS", "acme"),
        ("OIDC_ACME_ISSUER", "https://id.acme.example/realms/x"),
        ("OIDC_ACME_CLIENT_ID", "trellis"),
        ("OIDC_ACME_CLIENT_SECRET", "hunter2"),
    ];

    #[test]
    fn google_and_github_need_no_more_than_their_client() {
        let config = config(&[
            ("OIDC_PROVIDERS", "google, github"),
            ("OIDC_GOOGLE_CLIENT_ID", "g"),
            ("OIDC_GOOGLE_CLIENT_SECRET", "hunter2"),
            ("OIDC_GITHUB_CLIENT_ID", "h"),
            ("OIDC_GITHUB_CLIENT_SECRET", "hunter2"),
        ])
        .unwrap();
        let [google, github] = &config.providers[..] else { panic!("two providers") };
        assert_eq!(
            (google.title.as_str(), google.issuer.as_str()),
            ("Google", "https://accounts.google.com")
        );
        assert_eq!(google.scopes, ["openid", "email", "profile"]);
        assert_eq!((github.title.as_str(), github.issuer.as_str()), ("GitHub", "https://github.com"));
        assert_eq!(github.scopes, ["read:user", "user:email"]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn nothing_is_configured_by_default() {
        assert!(config(&[]).unwrap().providers.is_empty());
        assert!(config(&[("OIDC_PROVIDERS", " , ")]).unwrap().providers.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_and_never_shown() {
        for (name, value, production) in [
            ("OIDC_PROVIDERS", "Acme", false),
            ("OIDC_PROVIDERS", "acme,acme", false),
            ("OIDC_PROVIDERS", "acme;b", false),
            ("OIDC_PROVIDERS", "../x", false),
            ("OIDC_ACME_ISSUER", "", false),
            ("OIDC_ACME_ISSUER", "id.acme.hunter2", false),
            ("OIDC_ACME_ISSUER", "http://id.acme.hunter2", false),
            ("OIDC_ACME_ISSUER", "https://user:hunter2@id.acme.example", false),
            ("OIDC_ACME_ISSUER", "https://id.acme.example/?hunter2", false),
            ("OIDC_ACME_ISSUER", "http://127.0.0.1:1/hunter2", true),
            ("OIDC_ACME_CLIENT_ID", "", false),
            ("OIDC_ACME_CLIENT_SECRET", "", false),
        ] {
            let mut settings = ACME.to_vec();
            settings.push((name, value));
            if production {
                settings.extend([("APP_ENV", "production"), ("PUBLIC_URL", "https://trellis.example")]);
            }
            let error = config(&settings).unwrap_err();
            assert!(error.contains(name) && !error.contains("hunter2"), "{name}={value}: {error}");
        }
        let local = [&ACME[..], &[("OIDC_ACME_ISSUER", "http://127.0.0.1:9000")]].concat();
        assert_eq!(config(&local).unwrap().providers[0].issuer, "http://127.0.0.1:9000");
    }
}
