//! The identity providers: `OIDC_PROVIDERS` names them, and each has settings of its own, `OIDC_<NAME>_..`.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use domain::config::Settings;
use domain::identities;
use secrecy::SecretString;
use url::{Host, Url};

use crate::oidc::client_secret;

/// What a provider's name may be: it stands in addresses, and in capitals in the names of its settings.
const NAMES: &str =
    "names of small letters and digits that start with a letter, such as google,github,acme, each once";

/// What an issuer is.
const ISSUER: &str =
    "an https URL without query, such as https://id.example (http only for this machine, in development)";

/// The preset whose client secret is signed.
const APPLE: &str = "apple";

/// The preset whose issuer depends on the tenant.
const MICROSOFT: &str = "microsoft";

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

/// Who a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Its issuer, to the letter as the provider writes it.
    Exact(String),
    /// Microsoft, whose tokens have an issuer for each tenant.
    Microsoft {
        /// `OIDC_MICROSOFT_ISSUER`: the cloud, without a slash at the end.
        authority: String,
        /// `OIDC_MICROSOFT_TENANT`: `common`, `organizations`, `consumers`, or one tenant.
        tenant: String,
    },
}

impl Issuer {
    /// The address that discovery starts from.
    pub fn address(&self) -> String {
        match self {
            Self::Exact(issuer) => issuer.clone(),
            Self::Microsoft { authority, tenant } => format!("{authority}/{tenant}/v2.0"),
        }
    }
}

/// What proves to a provider that a request is ours.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `OIDC_<NAME>_CLIENT_SECRET`
    Secret(SecretString),
    /// A secret that is signed for each request, as Apple wants it.
    Apple(AppleKey),
}

/// The key that signs Apple's client secrets.
#[derive(Clone, Debug)]
pub struct AppleKey {
    /// `OIDC_APPLE_TEAM_ID`
    pub team_id: String,
    /// `OIDC_APPLE_KEY_ID`
    pub key_id: String,
    /// `OIDC_APPLE_PRIVATE_KEY`: PKCS #8 in PEM.
    pub private_key: SecretString,
}

/// How a provider sends the browser back (OAuth 2.0 Form Post Response Mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// By GET, with a query.
    Query,
    /// By POST, with a form.
    FormPost,
}

impl ResponseMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
        }
    }
}

/// What a provider is to ask the person (OpenID Connect Core 1.0, 3.1.2.1). `none` is left out: it forbids all questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// To sign in again.
    Login,
    /// To consent again.
    Consent,
    /// Which account to use.
    SelectAccount,
}

impl Prompt {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }
}

impl fmt::Display for ResponseMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ResponseMode {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Query, Self::FormPost].into_iter().find(|mode| mode.as_str() == text).ok_or(())
    }
}

impl FromStr for Prompt {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Login, Self::Consent, Self::SelectAccount]
            .into_iter()
            .find(|prompt| prompt.as_str() == text)
            .ok_or(())
    }
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
    /// `OIDC_<NAME>_ISSUER`
    pub issuer: Issuer,
    /// `OIDC_<NAME>_CLIENT_ID`
    pub client_id: String,
    /// How this client authenticates.
    pub authentication: ClientAuthentication,
    /// `OIDC_<NAME>_SCOPES`
    pub scopes: Vec<String>,
    /// `OIDC_<NAME>_RESPONSE_MODE`
    pub response_mode: ResponseMode,
    /// `OIDC_<NAME>_PROMPT`, when the person has not chosen one.
    pub prompt: Option<Prompt>,
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
        APPLE => Some("https://appleid.apple.com"),
        MICROSOFT => Some("https://login.microsoftonline.com"),
        _ => None,
    };
    let scopes = match (protocol, provider) {
        (Protocol::GitHub, _) => "read:user user:email",
        // Apple has no scope `profile`.
        (_, APPLE) => "openid email name",
        _ => "openid email profile",
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
    let authentication = if provider == APPLE {
        apple_key(settings, client_id.as_deref()).map(ClientAuthentication::Apple)
    } else {
        let wants = "the secret that the provider gave this client";
        settings
            .required_secret(&format!("OIDC_{name}_CLIENT_SECRET"), wants)
            .map(ClientAuthentication::Secret)
    };
    let issuer = if provider == MICROSOFT { microsoft(settings, issuer) } else { issuer.map(Issuer::Exact) };
    // Apple refuses to give the address by any other response mode.
    let mode = if provider == APPLE { ResponseMode::FormPost } else { ResponseMode::Query };
    let response_mode = if protocol == Protocol::GitHub {
        Some(mode)
    } else {
        settings.or(&format!("OIDC_{name}_RESPONSE_MODE"), mode, "query or form_post")
    };
    let prompt = prompt(settings, &format!("OIDC_{name}_PROMPT"));
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
        authentication: authentication?,
        scopes: with_openid(&scopes?, protocol),
        response_mode: response_mode?,
        prompt: prompt?,
    })
}

/// The scopes; an OpenID provider gives an ID token only for `openid`.
fn with_openid(scopes: &str, protocol: Protocol) -> Vec<String> {
    let mut scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
    if protocol == Protocol::OpenIdConnect && !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    scopes
}

/// `None` only when it is set and wrong.
#[allow(clippy::option_option, reason = "the outer one says whether there is an error, as everywhere here")]
fn prompt(settings: &mut Settings, name: &str) -> Option<Option<Prompt>> {
    let is_set = settings.peek(name).is_some();
    let prompt = settings.optional(name, "login, consent or select_account");
    (prompt.is_some() || !is_set).then_some(prompt)
}

fn microsoft(settings: &mut Settings, authority: Option<String>) -> Option<Issuer> {
    let wants = "common, organizations, consumers, or the id or domain of a tenant";
    let tenant: String = settings.or("OIDC_MICROSOFT_TENANT", "common".to_owned(), wants)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !tenant.bytes().all(is_plain) || !tenant.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        settings.problem("OIDC_MICROSOFT_TENANT", &format!("wants {wants}"));
        return None;
    }
    let authority = authority?.trim_end_matches('/').to_owned();
    Some(Issuer::Microsoft { authority, tenant: tenant.to_ascii_lowercase() })
}

/// The key of Apple's client secrets, which is tried once: a wrong one must not wait for the first sign-in.
fn apple_key(settings: &mut Settings, client_id: Option<&str>) -> Option<AppleKey> {
    let mut id = |setting: &str, wants: &str| {
        let id: String = settings.required(setting, wants)?;
        let is_id = id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id {
            settings.problem(setting, &format!("wants {wants}"));
        }
        is_id.then_some(id)
    };
    let team_id = id("OIDC_APPLE_TEAM_ID", "the 10 characters of your team's id at Apple");
    let key_id = id("OIDC_APPLE_KEY_ID", "the 10 characters of the key's id at Apple");
    let wants = "the private key that Apple gave with the key's id: PEM, as in the .p8 file";
    let private_key = settings.required_secret("OIDC_APPLE_PRIVATE_KEY", wants);
    let key = AppleKey { team_id: team_id?, key_id: key_id?, private_key: private_key? };
    let tried = client_secret::sign(&key, client_id.unwrap_or_default(), "", DateTime::UNIX_EPOCH);
    if tried.is_err() {
        settings.problem("OIDC_APPLE_PRIVATE_KEY", &format!("wants {wants}"));
    }
    tried.is_ok().then_some(key)
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
    use super::{Issuer, ResponseMode};
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
            (google.title.as_str(), google.issuer.address().as_str()),
            ("Google", "https://accounts.google.com")
        );
        assert_eq!(google.scopes, ["openid", "email", "profile"]);
        assert_eq!(
            (github.title.as_str(), github.issuer.address().as_str()),
            ("GitHub", "https://github.com")
        );
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
            ("OIDC_ACME_RESPONSE_MODE", "fragment", false),
            ("OIDC_ACME_PROMPT", "none", false),
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
        assert_eq!(config(&local).unwrap().providers[0].issuer.address(), "http://127.0.0.1:9000");
    }

    /// cases/accounts 10
    #[test]
    fn apple_and_microsoft_have_presets() {
        let key = testkit::provider::ClientKey::new().private_key();
        let good = [
            ("OIDC_PROVIDERS", "apple,microsoft"),
            ("OIDC_APPLE_CLIENT_ID", "org.example.trellis"),
            ("OIDC_APPLE_TEAM_ID", "TEAM000001"),
            ("OIDC_APPLE_KEY_ID", "KEY0000001"),
            ("OIDC_APPLE_PRIVATE_KEY", key.as_str()),
            ("OIDC_MICROSOFT_CLIENT_ID", "m"),
            ("OIDC_MICROSOFT_CLIENT_SECRET", "hunter2"),
        ];
        let read = config(&good).unwrap();
        let [apple, microsoft] = &read.providers[..] else { panic!("two providers") };
        assert_eq!(apple.issuer, Issuer::Exact("https://appleid.apple.com".to_owned()));
        assert_eq!((apple.response_mode, apple.prompt), (ResponseMode::FormPost, None));
        assert_eq!(apple.scopes, ["openid", "email", "name"]);
        assert_eq!(microsoft.issuer.address(), "https://login.microsoftonline.com/common/v2.0");
        assert!(!format!("{read:?}").contains("PRIVATE KEY"));
        for (name, value) in [
            ("OIDC_APPLE_TEAM_ID", ""),
            ("OIDC_APPLE_TEAM_ID", "hunter2"),
            ("OIDC_APPLE_KEY_ID", "hunter2"),
            ("OIDC_APPLE_PRIVATE_KEY", "hunter2"),
            ("OIDC_APPLE_PRIVATE_KEY", ""),
            ("OIDC_MICROSOFT_TENANT", "../hunter2"),
        ] {
            let error = config(&[&good[..], &[(name, value)]].concat()).unwrap_err();
            assert!(error.contains(name) && !error.contains("hunter2"), "{name}={value}: {error}");
        }
    }
}
