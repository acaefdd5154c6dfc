//! The endpoints that take a body, their fields, and what is wrong for each kind of field.

use reqwest::Method;
use serde_json::{Map, Value};
use testkit::app::PASSWORD;

use crate::support::OTHER_PASSWORD;

/// Usernames that new accounts may not choose.
const RESERVED_NAMES: [&str; 7] = ["admin", "ADMIN", "adm1n", "r00t", "0auth", "www", "trellis-support"];

/// Unsafe routes that take no fields; see `a14_what_takes_no_fields_refuses_every_field`.
pub(super) const WITHOUT_BODY: [(Method, &str); 11] = [
    (Method::DELETE, "/api/admin/webhooks/{id}/"),
    (Method::POST, "/api/admin/webhooks/{id}/deliveries/{delivery}/redeliver/"),
    (Method::POST, "/api/admin/webhooks/{id}/ping/"),
    (Method::POST, "/api/admin/webhooks/{id}/rotate-secret/"),
    (Method::DELETE, "/api/links/{id}/"),
    (Method::DELETE, "/api/links/{id}/thumbnail/"),
    (Method::POST, "/api/logout/"),
    (Method::DELETE, "/api/profile/avatar/"),
    (Method::DELETE, "/api/sessions/"),
    (Method::DELETE, "/api/sessions/{id}/"),
    (Method::POST, "/api/verify-email/resend/"),
];

/// Those whose bodies hold more than texts; they are tried in modules of their own.
pub(super) const APART: [(Method, &str); 14] = [
    (Method::PUT, "/api/admin/reward-rules/"),
    (Method::POST, "/api/admin/webhooks/"),
    (Method::PATCH, "/api/admin/webhooks/{id}/"),
    (Method::POST, "/api/discounts/{code}/redeem/"),
    (Method::POST, "/api/links/"),
    (Method::POST, "/api/links/import/"),
    (Method::PUT, "/api/links/order/"),
    (Method::PATCH, "/api/links/{id}/"),
    (Method::PUT, "/api/links/{id}/thumbnail/"),
    (Method::PUT, "/api/me/leaderboard/"),
    (Method::PATCH, "/api/profile/"),
    (Method::PUT, "/api/profile/avatar/"),
    (Method::POST, "/api/oauth/{provider}/callback/"),
    (Method::POST, "/api/rewards/redeem/"),
];

/// What must come of a bad value.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// 422 for this field, with this code.
    Code(&'static str),
    /// 422 with exactly these errors.
    Fields(Vec<String>),
    /// A well-formed value that is not the right one.
    Problem(u16, &'static str),
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Email,
    Username,
    /// A password that is being chosen.
    NewPassword,
    /// A password that is compared with a stored one.
    Password,
    ReferralCode,
    /// The token of a mail.
    Token,
    RefreshToken,
    Transport,
    Identifier,
    /// What the first half of a sign-in gives.
    Challenge,
    /// A code of the second factor, or a recovery code.
    FactorCode,
    /// A code of the second factor.
    TotpCode,
    /// A path of ours to go on to.
    OwnPath,
    /// Why a manager does something.
    Reason,
    Amount,
    /// A domain that no link may lead to.
    Domain,
    /// What is wrong with a page, in a word.
    Ground,
    /// And in a sentence.
    Detail,
}

/// A field of a body.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// An endpoint that takes a body.
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) signed_in: bool,
    pub(super) fields: Vec<Field>,
}

impl Endpoint {
    /// Its path, with the id of nobody in place of a parameter.
    pub(super) fn url(&self) -> String {
        self.path
            .replace("{id}", "00000000-0000-7000-8000-000000000000")
            .replace("{identity}", "acme")
            .replace("{username}", "nobody")
            .replace("{domain}", "nobody.example")
    }

    /// A body that is well-formed in every field.
    pub(super) fn good(&self) -> Map<String, Value> {
        self.fields.iter().map(|field| (field.name.to_owned(), field.kind.good().into())).collect()
    }
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn endpoints() -> Vec<Endpoint> {
    use Kind::{
        Amount, Challenge, Detail, Domain, Email, FactorCode, Ground, Identifier, NewPassword, OwnPath,
        Password, Reason, ReferralCode, RefreshToken, Token, TotpCode, Transport, Username,
    };
    let endpoint = |method, path, signed_in, fields: &[(&'static str, Kind, bool)]| Endpoint {
        method,
        path,
        signed_in,
        fields: fields
            .iter()
            .map(|(name, kind, required)| Field { name, kind: *kind, required: *required })
            .collect(),
    };
    let (nobody, user) = (false, true);
    let (required, optional) = (true, false);
    let reasoned = |path| endpoint(Method::POST, path, user, &[("reason", Reason, required)]);
    vec![
        endpoint(
            Method::POST,
            "/api/register/",
            nobody,
            &[
                ("email", Email, required),
                ("username", Username, required),
                ("password", NewPassword, required),
                ("referral_code", ReferralCode, optional),
            ],
        ),
        endpoint(
            Method::POST,
            "/api/register/confirm/",
            nobody,
            &[
                ("token", Token, required),
                ("password", NewPassword, required),
                ("username", Username, optional),
            ],
        ),
        endpoint(
            Method::POST,
            "/api/me/email/",
            user,
            &[("email", Email, required), ("password", Password, required)],
        ),
        endpoint(
            Method::POST,
            "/api/login/",
            nobody,
            &[
                ("identifier", Identifier, required),
                ("password", Password, required),
                ("transport", Transport, optional),
            ],
        ),
        endpoint(
            Method::POST,
            "/api/login/factor/",
            nobody,
            &[
                ("challenge", Challenge, required),
                ("code", FactorCode, required),
                ("transport", Transport, optional),
            ],
        ),
        endpoint(Method::POST, "/api/token/refresh/", nobody, &[("refresh_token", RefreshToken, optional)]),
        endpoint(Method::POST, "/api/forgot-password/", nobody, &[("email", Email, required)]),
        endpoint(
            Method::POST,
            "/api/reset-password/",
            nobody,
            &[("token", Token, required), ("password", NewPassword, required)],
        ),
        endpoint(Method::POST, "/api/verify-email/", nobody, &[("token", Token, required)]),
        endpoint(
            Method::PATCH,
            "/api/me/",
            user,
            &[("username", Username, required), ("password", Password, optional)],
        ),
        endpoint(Method::DELETE, "/api/me/", user, &[("password", Password, required)]),
        endpoint(
            Method::POST,
            "/api/me/password/",
            user,
            &[("current_password", Password, required), ("password", NewPassword, required)],
        ),
        endpoint(Method::POST, "/api/me/factors/totp/", user, &[("password", Password, required)]),
        endpoint(Method::POST, "/api/me/factors/totp/confirm/", user, &[("code", TotpCode, required)]),
        endpoint(
            Method::DELETE,
            "/api/me/factors/totp/",
            user,
            &[("password", Password, required), ("code", FactorCode, required)],
        ),
        endpoint(
            Method::POST,
            "/api/me/factors/recovery-codes/",
            user,
            &[("password", Password, required), ("code", FactorCode, required)],
        ),
        endpoint(
            Method::POST,
            "/api/me/identities/{identity}/",
            user,
            &[("password", Password, optional), ("next", OwnPath, optional)],
        ),
        endpoint(Method::DELETE, "/api/me/identities/{identity}/", user, &[("password", Password, optional)]),
        endpoint(Method::POST, "/api/me/export/", user, &[("password", Password, optional)]),
        reasoned("/api/admin/referrals/{id}/approve/"),
        reasoned("/api/admin/referrals/{id}/reject/"),
        reasoned("/api/admin/referrals/{id}/reverse/"),
        reasoned("/api/admin/users/{id}/block/"),
        reasoned("/api/admin/users/{id}/confirm-email/"),
        reasoned("/api/admin/users/{id}/delete/"),
        reasoned("/api/admin/users/{id}/demote/"),
        reasoned("/api/admin/users/{id}/end-sessions/"),
        endpoint(
            Method::POST,
            "/api/admin/users/{id}/email/",
            user,
            &[("email", Email, required), ("reason", Reason, required)],
        ),
        reasoned("/api/admin/users/{id}/unblock/"),
        endpoint(
            Method::POST,
            "/api/admin/users/{id}/adjust/",
            user,
            &[("amount", Amount, required), ("reason", Reason, required)],
        ),
        reasoned("/api/admin/reports/{id}/dismiss/"),
        reasoned("/api/admin/pages/{username}/disable/"),
        reasoned("/api/admin/pages/{username}/enable/"),
        reasoned("/api/admin/links/{id}/disable/"),
        reasoned("/api/admin/links/{id}/enable/"),
        endpoint(
            Method::POST,
            "/api/admin/blocked-domains/",
            user,
            &[("domain", Domain, required), ("reason", Reason, required)],
        ),
        endpoint(
            Method::DELETE,
            "/api/admin/blocked-domains/{domain}/",
            user,
            &[("reason", Reason, required)],
        ),
        endpoint(
            Method::POST,
            "/api/u/{username}/report/",
            nobody,
            &[("reason", Ground, required), ("detail", Detail, optional)],
        ),
    ]
}

impl Kind {
    /// A well-formed value. The body of an endpoint that has all of them is never sent.
    pub(super) fn good(self) -> String {
        match self {
            Self::Email => "grace@example.org".to_owned(),
            Self::Username => "grace".to_owned(),
            Self::NewPassword => OTHER_PASSWORD.to_owned(),
            Self::Password => PASSWORD.to_owned(),
            Self::ReferralCode => "0000000000".to_owned(),
            Self::Token | Self::RefreshToken => "A".repeat(43),
            Self::Transport => "cookie".to_owned(),
            Self::Identifier => "ada".to_owned(),
            Self::Challenge => "A".repeat(90),
            Self::FactorCode | Self::TotpCode => "123456".to_owned(),
            Self::OwnPath => "/dashboard".to_owned(),
            Self::Reason => "it was a mistake".to_owned(),
            Self::Amount => "2.50".to_owned(),
            Self::Domain => "phishing.example".to_owned(),
            Self::Ground => "spam".to_owned(),
            Self::Detail => "it sells what it has not".to_owned(),
        }
    }

    /// Texts that are wrong for this kind beyond what is wrong for every text.
    pub(super) fn bad(self, endpoint: &Endpoint) -> Vec<(String, Outcome)> {
        use Outcome::{Code, Problem};
        let all = |texts: &[&str], outcome: &Outcome| -> Vec<_> {
            texts.iter().map(|text| ((*text).to_owned(), outcome.clone())).collect()
        };
        let long = |text: &str, times: usize| (text.repeat(times), Code("too_long"));
        let mut bad = match self {
            Self::Email => {
                let mut bad = all(&MALFORMED_ADDRESSES, &Code("invalid_email"));
                let labels = "label.".repeat(50);
                bad.push((format!("{}@example.org", "a".repeat(65)), Code("too_long")));
                bad.push((format!("grace@{labels}org"), Code("too_long")));
                bad
            }
            Self::Username => {
                let mut bad = all(&MALFORMED_NAMES, &Code("invalid_username"));
                bad.extend(all(&["g", "gr", "G7", " ", " g "], &Code("too_short")));
                bad.extend(all(&RESERVED_NAMES, &Code("username_reserved")));
                bad.push(long("g", 31));
                bad
            }
            Self::NewPassword => {
                let mut bad = all(&["Vq7-tan", "é7-ü"], &Code("too_short"));
                bad.extend(all(&["password", "PASSWORD1", "12345678", "        "], &Code("weak_password")));
                bad.extend([long("Vq7-tang", 17), long("é", 129), long("🦀", 257)]);
                bad
            }
            Self::Password => {
                let wrong = Problem(401, "invalid_credentials");
                let mut bad = all(
                    &["x", " ", "Vq7-tangerine-kiln ", "vq7-tangerine-kiln", "Vq7-tangеrine-kiln"],
                    &wrong,
                );
                bad.extend([long("a", 1_025), long("é", 513)]);
                bad
            }
            Self::ReferralCode => all(&MALFORMED_CODES, &Code("invalid_referral_code")),
            Self::Token => {
                let bad = all(&MALFORMED_TOKENS, &Problem(400, "invalid_token"));
                // With a password that is being chosen beside it, too.
                [bad, vec![long("A", 129)]].concat()
            }
            Self::RefreshToken => all(&MALFORMED_TOKENS, &Problem(401, "unauthenticated")),
            Self::Transport => all(
                &[
                    "Cookie",
                    "COOKIE",
                    "сookie",
                    "cookie ",
                    " cookie",
                    "ｃookie",
                    "cookies",
                    "none",
                    "bearer,cookie",
                ],
                &Code("invalid_value"),
            ),
            Self::OwnPath => {
                let mut bad = all(
                    &["//evil.example", "/\\evil.example", "https:evil.example", "dashboard", "/d ", "/dé"],
                    &Code("invalid_value"),
                );
                bad.push((format!("/{}", "a".repeat(600)), Code("invalid_value")));
                bad
            }
            Self::Identifier => {
                let wrong = Problem(401, "invalid_credentials");
                let mut bad = all(
                    &["аda", "ａda", "ada\u{200b}", "ad", "a b", "' OR 1=1 --", "ada@", "@", "%"],
                    &wrong,
                );
                bad.push(long("a", 255));
                bad
            }
            Self::Challenge => {
                let mut bad = all(&[" ", "x", ".", "A.A", "0-0-0.A"], &Problem(401, "invalid_challenge"));
                bad.push(long("A", 257));
                bad
            }
            Self::FactorCode => all(&MALFORMED_FACTOR_CODES, &Code("invalid_value")),
            Self::TotpCode => {
                let recovery = "k7x2mq-9dhr4t-0bz3wv-g5n8cf";
                all(&[&MALFORMED_FACTOR_CODES[..], &[recovery]].concat(), &Code("invalid_value"))
            }
            Self::Reason => {
                [all(&[" ", "\u{a0}\u{3000}"], &Code("empty")), vec![long("a", 501), long("é", 501)]].concat()
            }
            Self::Detail => vec![long("a", 1_001), long("é", 1_001)],
            Self::Domain => {
                let mut bad = all(&MALFORMED_DOMAINS, &Code("invalid_value"));
                bad.push(("a.".repeat(150), Code("invalid_value")));
                bad
            }
            Self::Ground => all(&["Spam", " spam", "spаm", "spam,scam", "rude"], &Code("invalid_value")),
            Self::Amount => all(
                &["0", "0.00", "-0", "1.234", "1e3", " 1", "1,50", "+1", ".5", "5.", "NaN", "-", "１"],
                &Code("invalid_value"),
            ),
        };
        // Longer than anything has need to be, and still within a body.
        bad.push(long("a", if endpoint.fields.len() > 1 { 20_000 } else { 60_000 }));
        bad
    }
}

const MALFORMED_ADDRESSES: [&str; 25] = [
    " ",
    "grace",
    "@",
    "grace@",
    "@example.org",
    "grace@localhost",
    "grace@example..org",
    "grace@.example.org",
    "grace@example.org.",
    "grace@-example.org",
    "gr ace@example.org",
    "grace@exa mple.org",
    ".grace@example.org",
    "gr..ace@example.org",
    "grace@127.0.0.1",
    "grace@[127.0.0.1]",
    "\"grace\"@example.org",
    "Grace <grace@example.org>",
    "grace@example.org,ada@example.org",
    "grace@example.org ada@example.org",
    "grace@exam_ple.org",
    // Look-alikes: Cyrillic а, a wide @, a zero-width space, an override of direction.
    "grаce@example.org",
    "grace＠example.org",
    "gra\u{200b}ce@example.org",
    "grace@example.org\u{202e}",
];

const MALFORMED_DOMAINS: [&str; 12] = [
    " ",
    ".",
    "..",
    ".example",
    "a..example",
    "evil example",
    "https://evil.example",
    "evil.example/x",
    "evil.example:80",
    "ada@evil.example",
    "*.evil.example",
    "[::1",
];

const MALFORMED_NAMES: [&str; 14] = [
    "gra ce",
    "grace.",
    "grace-",
    "gra..ce",
    "@@grace",
    "-grace",
    "_grace",
    ".grace",
    "grace/x",
    "grace@x",
    "grace%00",
    // Look-alikes: Cyrillic а, wide letters, a letter with a mark of its own.
    "grаce",
    "ｇｒａｃｅ",
    "grace\u{301}",
];

const MALFORMED_CODES: [&str; 12] = [
    " ",
    "-",
    "000000000",
    "00000000000",
    "0000-0000-000",
    "00000u0000",
    "000000000'",
    "00000 00000",
    "019a0000-0000-7000-8000-000000000001",
    // Look-alikes: wide digits, Arabic digits, Cyrillic о.
    "００００００００００",
    "٠٠٠٠٠٠٠٠٠٠",
    "оооооооооо",
];

const MALFORMED_TOKENS: [&str; 9] = [
    " ",
    "x",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+",
    "' OR 1=1 --",
    // Cyrillic А.
    "ААААААААААААААААААААААААААААААААААААААААААА",
];

const MALFORMED_FACTOR_CODES: [&str; 9] = [
    " ",
    "-",
    "12345",
    "1234567",
    "+12345",
    "12345x",
    "k7x2mq-9dhr4t-0bz3wv-g5n8cu",
    // Look-alikes: wide digits, Arabic digits.
    "１２３４５６",
    "١٢٣٤٥٦",
];
