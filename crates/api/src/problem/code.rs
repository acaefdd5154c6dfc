//! The closed set of problem codes, and of field codes: one table each.
//!
//! Rendering, the OpenAPI document and the pages under `/problems/` all read these tables. A code is for ever: add, never
//! rename.

use actix_web::http::StatusCode;

macro_rules! problem_codes {
    ($($name:ident = $slug:literal, $status:ident, $title:literal, $help:literal;)*) => {
        /// What went wrong with a request, as a client's program reads it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in `code` and at the end of `type`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// A sentence that is the same each time (RFC 9457, 3.1.3).
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The HTTP status it is sent with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What to do about it, for the page that `type` leads to.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

problem_codes! {
    BadRequest = "bad_request", BAD_REQUEST, "The request cannot be understood",
        "Some part of the request other than its JSON body is broken: `detail` says which. Sending it again will not help.";
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON",
        "Send one JSON object, in UTF-8, as RFC 8259 has it. `detail` names the line and column where reading stopped.";
    InvalidToken = "invalid_token", BAD_REQUEST, "This link is not valid any more",
        "The token is unknown, used, expired or malformed; which of these is not told. Ask for a new mail.";
    InvalidState = "invalid_state", BAD_REQUEST, "This sign-in was not begun in this browser, or is over",
        "A sign-in with an identity provider has to come back to the browser that began it, once, and within ten minutes. Begin again.";
    InvalidCursor = "invalid_cursor", BAD_REQUEST, "The cursor is not valid",
        "A cursor is opaque: send `next_cursor` of the page before exactly as it was, with the same filters, or none for the first page.";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Signing in is needed",
        "The access token is missing, expired or of an ended session. Refresh it at `/api/token/refresh/`, or log in again.";
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "The name or the password is wrong",
        "Whether the account exists is not told. Check both, or ask for a new password at `/api/forgot-password/`.";
    SecondFactorRequired = "second_factor_required", UNAUTHORIZED, "A code of the second factor is needed",
        "This account has a second factor. Send `challenge` of this answer to `/api/login/factor/` within five minutes, with a code of the app or a recovery code.";
    InvalidCode = "invalid_code", UNAUTHORIZED, "The code is not right",
        "A code of the app is good once, while the app shows it and half a minute more; a recovery code is good once. Wait for the next code of the app, and see that the clock of its device is right.";
    InvalidChallenge = "invalid_challenge", UNAUTHORIZED, "The sign-in has to start over",
        "The challenge is older than five minutes, or the account changed meanwhile. Start again at `/api/login/`.";
    ProviderRefused = "provider_refused", UNAUTHORIZED, "The identity provider did not say who you are",
        "The sign-in was given up there, or what came back from there cannot be believed. Try again, or sign in another way.";
    RecentSignInNeeded = "recent_sign_in_needed", FORBIDDEN, "Sign in again to do this",
        "This account has no password to ask for, or none was sent: what you ask for wants a sign-in of the last ten minutes.";
    CsrfFailed = "csrf_failed", FORBIDDEN, "The request does not prove that it comes from our own pages",
        "A request that changes something and carries cookies needs an `X-CSRF-Token` header with the value of the CSRF cookie (or of `csrf_token` in the reply of the login), and may only come from an allowed origin. Clients outside a browser use the bearer transport, which needs no such token.";
    Forbidden = "forbidden", FORBIDDEN, "This is not allowed",
        "You are signed in, but this needs a right that your account does not have.";
    AccountBlocked = "account_blocked", FORBIDDEN, "This account is blocked",
        "The password, and the code where one is needed, are right, but a manager blocked the account. `reason` says why and `contact` whom to ask, also for a copy or the deletion of your data; either may be null.";
    NotFound = "not_found", NOT_FOUND, "There is nothing here",
        "The path is unknown, or the thing it names does not exist or is not yours.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This path does not take this method",
        "The `Allow` header lists the methods that it takes.";
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The body took too long to arrive",
        "The whole body must arrive within ten seconds. The connection is closed; send the request again on a new one.";
    EmailTaken = "email_taken", CONFLICT, "There is an account with this e-mail address",
        "Log in instead, or ask for a new password. An identity provider is linked to an account after signing in to it: by its address only when both sides have confirmed that.";
    UsernameTaken = "username_taken", CONFLICT, "This username is taken",
        "Choose another one. Names that look alike count as the same.";
    EmailUndeliverable = "email_undeliverable", CONFLICT, "Mail to this address bounces",
        "The mail server of the address refuses it for good, so nothing was sent. Change the address at `/api/me/email/`. A mail that arrives there clears this.";
    FactorExists = "factor_exists", CONFLICT, "There is a second factor already",
        "An account has one authenticator app at most: remove it first.";
    IdentityTaken = "identity_taken", CONFLICT, "This account at the provider belongs to somebody else here",
        "It signs in to another account. Unlink it there first, or use another one.";
    LastWayIn = "last_way_in", CONFLICT, "Nobody could sign in to this account any more",
        "Set a password, or link another identity provider, and try again.";
    ConflictingState = "conflicting_state", CONFLICT, "Its state does not allow this",
        "Somebody decided otherwise meanwhile, or it is not so far. `detail` says how it stands; look again before trying another way.";
    LinkLimit = "link_limit", CONFLICT, "The page has as many links as it may have",
        "Delete one that is not needed any more. With premium a page may have more of them; `limit` tells how many this one may have.";
    AccountChanged = "account_changed", CONFLICT, "Another account is signed in now",
        "The request names in `X-Trellis-User` whose data its page shows, and the session is of another account: the browser signed in anew, in another tab perhaps. Load the page again before sending anything.";
    InsufficientCredits = "insufficient_credits", CONFLICT, "There are not enough credits",
        "No balance goes below zero. `detail` says how many there are; `/api/rewards/catalog/` what they buy.";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "This idempotency key was used for something else",
        "A key names one request. Send the same request again to see its answer, or another request with a key of its own.";
    VersionConflict = "version_conflict", CONFLICT, "Somebody else changed this meanwhile",
        "Read it again, make the change to what it is now, and send it with its `version`.";
    DiscountUnavailable = "discount_unavailable", CONFLICT, "This coupon cannot be used",
        "It was used for another order, or taken back.";
    PayloadTooLarge = "payload_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "A body has 64 KiB at most, a picture 5 MiB, a list of links to import 1 MiB.";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of another media type than this takes",
        "Send `Content-Type: application/json`, in UTF-8 and without `Content-Encoding`; a picture as `image/png`, `image/jpeg`, `image/webp` or `image/gif`.";
    Validation = "validation", UNPROCESSABLE_ENTITY, "Some fields are not valid",
        "`errors` lists every field that is not valid: `pointer` names it (JSON Pointer into the body, or `?name` for a query parameter), `code` says why.";
    EmailMissing = "email_missing", UNPROCESSABLE_ENTITY, "The identity provider told no e-mail address",
        "An account needs an e-mail address. Allow the provider to tell it, confirm it there, or register with a password.";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests",
        "Wait as many seconds as `Retry-After` says. `RateLimit-Policy` and `RateLimit` tell the limits and what is left of them.";
    HeaderFieldsTooLarge = "header_fields_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many headers, or too large ones",
        "Send fewer or smaller headers and cookies.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side",
        "It has been logged under `request_id`. Trying again may help.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The service cannot do this at the moment",
        "Something that it needs does not answer. Try again after as many seconds as `Retry-After` says.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is busy",
        "More requests came than it can work on. Try again after as many seconds as `Retry-After` says.";
}

impl Code {
    /// The code of an answer that knows only its status: for what the HTTP library answers by itself.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::Validation,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeaderFieldsTooLarge,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

macro_rules! field_codes {
    ($($name:ident = $slug:literal, $detail:literal;)*) => {
        /// What is wrong with one field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FieldCode {
            $(#[doc = $detail] $name,)*
        }

        impl FieldCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in `errors[].code`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// The words for people, when nothing says more.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)* }
            }
        }
    };
}

field_codes! {
    Required = "required", "This field is required.";
    WrongType = "wrong_type", "This field has the wrong type.";
    Empty = "empty", "This field must not be empty.";
    TooLong = "too_long", "This is too long.";
    TooShort = "too_short", "This is too short.";
    InvalidCharacter = "invalid_character", "This holds a character that is not allowed.";
    InvalidEmail = "invalid_email", "This is not an e-mail address.";
    InvalidUsername = "invalid_username", "This is not a valid username.";
    UsernameReserved = "username_reserved", "This username is reserved.";
    WeakPassword = "weak_password", "This password is too easy to guess.";
    UnknownField = "unknown_field", "There is no such field.";
    DuplicateField = "duplicate_field", "This field is given twice.";
    InvalidReferralCode = "invalid_referral_code", "There is no such referral code.";
    InvalidUrl = "invalid_url", "This is not an address that a link may have.";
    BlockedDomain = "blocked_domain", "Links to this domain are not allowed here.";
    PremiumNeeded = "premium_needed", "This needs premium.";
    InvalidValue = "invalid_value", "This value is not one of those allowed.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slugs_are_unique_words_that_fit_a_url() {
        let plain = |slug: &str| slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let codes: HashSet<_> = Code::ALL.iter().map(|code| code.slug()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        assert!(codes.into_iter().all(plain));
        let fields: HashSet<_> = FieldCode::ALL.iter().map(|code| code.slug()).collect();
        assert_eq!(fields.len(), FieldCode::ALL.len());
        assert!(fields.into_iter().all(plain));
    }

    #[test]
    fn every_status_has_a_code_of_that_status_or_a_plainer_one() {
        for status in (400..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            let code = Code::of_status(status);
            assert_eq!(code.status().is_client_error(), status.is_client_error(), "{status}");
        }
    }
}
