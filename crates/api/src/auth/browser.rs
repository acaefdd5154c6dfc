//! What we remember in a browser beyond a session: who signed in there, by whose referral link it came, and which
//! registration it began.
//!
//! All cookies are signed and hidden from scripts: they are `HttpOnly`.
//!
//! The device cookie has two uses. It tells that a friend who registers is the referrer; for that, whose it is suffices. And
//! it lets the owner of an account in while strangers keep the limit of that account used up (OWASP's device cookies); so it
//! is given to whoever proved to be the owner just now and to nobody else, not even to a session that goes on: else a stolen
//! session would mint as many as it likes. Each has a nonce, and the attempts made with it a limit of their own: a stolen
//! one is worth no more guesses than a stranger has. And it names the session epoch of its account: a new password, and
//! signing out everywhere, make every earlier one worthless, on all replicas, because the epoch is read from PostgreSQL.

use actix_web::cookie::Cookie;
use actix_web::cookie::time::Duration;
use actix_web::http::header::HeaderMap;
use domain::accounts::Credentials;
use domain::referrals::ReferralCode;
use domain::token::Key;
use uuid::Uuid;

use super::cookies::{CookieKind, Cookies};
use super::signed;

/// Whose browser this is: the account that signed in last.
pub const DEVICE: CookieKind = CookieKind {
    plain_name: "device",
    secure_name: "__Host-device",
    path: "/",
    http_only: true,
    max_age: Duration::days(365),
};

/// By whose link this browser came: the last one.
pub const REFERRAL: CookieKind = CookieKind {
    plain_name: "referral",
    secure_name: "__Host-referral",
    path: "/",
    http_only: true,
    max_age: Duration::days(30),
};

/// Which registration this browser began last, with `REGISTRATION=verified`, so that it may correct the address.
pub const REGISTRATION: CookieKind = CookieKind {
    plain_name: "registration",
    secure_name: "__Host-registration",
    path: "/",
    http_only: true,
    max_age: Duration::days(2),
};

/// A browser in which somebody signed in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    user_id: Uuid,
    session_epoch: i32,
    nonce: Uuid,
}

impl Device {
    /// Whether it is known for this account, and nothing has happened since that ended all that was known.
    pub fn is_known_for(&self, credentials: &Credentials) -> bool {
        self.user_id == credentials.user_id && self.session_epoch == credentials.session_epoch
    }

    /// What attempts from it are counted by.
    pub fn subject(&self) -> String {
        format!("{}~{}", self.user_id.simple(), self.nonce.simple())
    }
}

/// Makes and reads them.
#[derive(Clone, Debug)]
pub struct Browser {
    cookies: Cookies,
    device_key: Key,
    referral_key: Key,
    registration_key: Key,
}

impl Browser {
    /// With keys of their own, derived from the key of referral codes.
    pub fn new(cookies: Cookies, referral_key: &Key) -> Self {
        Self {
            cookies,
            device_key: referral_key.derive("device cookie"),
            referral_key: referral_key.derive("referral cookie"),
            registration_key: referral_key.derive("registration cookie"),
        }
    }

    /// Remembers who proved just now to be the owner of an account, which is of this session epoch from here on.
    pub fn device_cookie(&self, user_id: Uuid, session_epoch: i32) -> Cookie<'static> {
        let nonce = Uuid::new_v4();
        let text = format!("{}~{session_epoch}~{}", user_id.simple(), nonce.simple());
        self.cookies.make(&DEVICE, signed::sign(&self.device_key, &text))
    }

    /// What is remembered of whoever signed in here last.
    pub fn device(&self, headers: &HeaderMap) -> Option<Device> {
        let signed = self.cookies.read(headers, &DEVICE)?;
        let mut parts = signed::verify(&self.device_key, signed)?.split('~');
        let (user_id, epoch, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Device {
            user_id: Uuid::try_parse(user_id).ok()?,
            session_epoch: epoch.parse().ok()?,
            nonce: Uuid::try_parse(nonce).ok()?,
        })
    }

    /// Who signed in here last.
    pub fn device_user(&self, headers: &HeaderMap) -> Option<Uuid> {
        self.device(headers).map(|device| device.user_id)
    }

    /// Remembers whose link was followed.
    pub fn referral_cookie(&self, code: &ReferralCode) -> Cookie<'static> {
        self.cookies.make(&REFERRAL, signed::sign(&self.referral_key, code.as_str()))
    }

    /// Remembers a registration that waits for its address.
    pub fn registration_cookie(&self, id: Uuid) -> Cookie<'static> {
        let text = id.simple().to_string();
        self.cookies.make(&REGISTRATION, signed::sign(&self.registration_key, &text))
    }

    /// Which registration was begun last.
    pub fn registration(&self, headers: &HeaderMap) -> Option<Uuid> {
        let signed = self.cookies.read(headers, &REGISTRATION)?;
        Uuid::try_parse(signed::verify(&self.registration_key, signed)?).ok()
    }

    /// Whose link was followed last.
    pub fn referral_code(&self, headers: &HeaderMap) -> Option<ReferralCode> {
        let signed = self.cookies.read(headers, &REFERRAL)?;
        ReferralCode::parse(signed::verify(&self.referral_key, signed)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{self, HeaderValue};
    use domain::config::AppEnv;

    use super::*;

    fn read(browser: &Browser, value: &str) -> Option<Device> {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_str(&format!("device={value}")).unwrap();
        headers.insert(header::COOKIE, line);
        browser.device(&headers)
    }

    #[test]
    fn a12_a_device_cookie_is_for_one_account_one_epoch_and_has_a_nonce() {
        let browser = Browser::new(Cookies::new(AppEnv::Development), &Key::new([1; 32]));
        let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let value = browser.device_cookie(ada, 3).value().to_owned();
        let device = read(&browser, &value).unwrap();
        let credentials = |user_id, session_epoch| Credentials {
            user_id,
            session_epoch,
            password_hash: None,
            is_blocked: false,
        };
        assert!(device.is_known_for(&credentials(ada, 3)));
        assert!(!device.is_known_for(&credentials(ada, 4)));
        assert!(!device.is_known_for(&credentials(bob, 3)));
        let another = read(&browser, browser.device_cookie(ada, 3).value()).unwrap();
        assert_ne!(device.subject(), another.subject());

        let other = Browser::new(Cookies::new(AppEnv::Development), &Key::new([2; 32]));
        assert_eq!(read(&other, &value), None);
        for bad in ["x", &value[1..], &value.replace("~3~", "~4~"), &format!("{value}A")] {
            assert_eq!(read(&browser, bad), None, "{bad}");
        }
    }
}
