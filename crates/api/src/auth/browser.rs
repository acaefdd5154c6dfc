//! What we remember in a browser beyond a session: who signed in there, and by whose referral link it came.
//!
//! Both cookies are signed and never name anybody to a script: they are `HttpOnly`.

use actix_web::cookie::Cookie;
use actix_web::cookie::time::Duration;
use actix_web::http::header::HeaderMap;
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

/// Makes and reads both.
#[derive(Clone, Debug)]
pub struct Browser {
    cookies: Cookies,
    device_key: Key,
    referral_key: Key,
}

impl Browser {
    /// With keys of their own, derived from the key of referral codes.
    pub fn new(cookies: Cookies, referral_key: &Key) -> Self {
        Self {
            cookies,
            device_key: referral_key.derive("device cookie"),
            referral_key: referral_key.derive("referral cookie"),
        }
    }

    /// Remembers who signed in.
    pub fn device_cookie(&self, user_id: Uuid) -> Cookie<'static> {
        self.cookies.make(&DEVICE, signed::sign(&self.device_key, &user_id.simple().to_string()))
    }

    /// Who signed in here last.
    pub fn device_user(&self, headers: &HeaderMap) -> Option<Uuid> {
        let signed = self.cookies.read(headers, &DEVICE)?;
        Uuid::try_parse(signed::verify(&self.device_key, signed)?).ok()
    }

    /// Remembers whose link was followed.
    pub fn referral_cookie(&self, code: &ReferralCode) -> Cookie<'static> {
        self.cookies.make(&REFERRAL, signed::sign(&self.referral_key, code.as_str()))
    }

    /// Whose link was followed last.
    pub fn referral_code(&self, headers: &HeaderMap) -> Option<ReferralCode> {
        let signed = self.cookies.read(headers, &REFERRAL)?;
        ReferralCode::parse(signed::verify(&self.referral_key, signed)?).ok()
    }
}
