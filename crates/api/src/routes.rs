//! The route table: every route in one list, with who may call it and how often.
//!
//! From a [`Row`] come the registration, the answer to wrong methods with `Allow`, the guard in front of the handler, and
//! what the tests iterate over. A handler never runs without its guard: origin and CSRF checks on every unsafe method, the
//! session on every route that wants a user.

pub mod health;

mod admin_accounts;
mod admin_pages;
mod admin_referrals;
mod admin_reports;
mod admin_users;
mod blocked_domains;
mod discounts;
mod docs;
mod forgot_password;
mod guard;
mod jwks;
mod leaderboard;
mod link_target;
mod link_thumbnail;
mod links;
mod links_export;
mod links_import;
mod links_order;
mod login;
mod login_factor;
mod logout;
mod managers;
mod me;
mod me_email;
mod me_export;
mod me_factors;
mod me_identities;
mod me_username;
mod oauth;
mod openapi;
mod page_pictures;
mod page_report;
mod profile;
mod profile_avatar;
mod proof;
mod public_page;
mod referral_codes;
mod referral_series;
mod referral_stats;
mod referral_stream;
mod referrals;
mod register;
mod register_confirm;
mod reset_password;
mod reward_rules;
mod rewards;
mod rewards_redeem;
mod security_events;
mod sessions;
mod stats;
mod token_refresh;
mod verify_email;
mod webhook_deliveries;
mod webhooks;

pub use link_target::Targets;
pub use openapi::document;

use std::future::ready;

use actix_web::dev::Handler;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::ServiceConfig;
use actix_web::{FromRequest, HttpResponse, Responder, Route, web};
use domain::cache::Kind;
use domain::config::AppEnv;

use crate::limits::policy::{self, Policy};
use crate::middleware::Fence;
use crate::pages;
use crate::problem::{Code, Problem};
use guard::Guard;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A signed-in user: the handler takes a [`Caller`](crate::auth::Caller).
    User,
    /// A signed-in programme manager, likewise a [`Caller`](crate::auth::Caller).
    Manager,
    /// The operator's shop, by its key, or a manager in its place.
    Shop,
    /// The holder of a token, which the handler looks at itself.
    Refresh,
}

impl Access {
    /// Whether the guard looks for a session (of a shop, only when it shows no key).
    pub fn is_signed_in(self) -> bool {
        matches!(self, Self::User | Self::Manager | Self::Shop)
    }
}

/// One route.
#[allow(clippy::struct_excessive_bools, reason = "each is a property of its own, set by name")]
pub struct Row {
    /// The method; GET rows answer HEAD too.
    pub method: Method,
    /// The path pattern, in its canonical slash form.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Whether it is part of the API, and so of the OpenAPI document.
    pub documented: bool,
    /// Whether pages of other sites may send it: its handler changes nothing by itself.
    pub from_other_sites: bool,
    /// Whether its answer goes on for minutes.
    pub endless: bool,
    /// Whether it exists in development only.
    pub development: bool,
    /// What its handler's [`Throttle`](crate::limits::Throttle) counts by.
    pub limits: &'static [Policy],
    prefetch: Option<Kind>,
    is_page: bool,
    route: Box<dyn Fn(Guard) -> Route>,
}

impl Row {
    fn new<F, Args>(method: Method, path: &'static str, access: Access, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = Box::new(move |guard| guard::route(guard, handler.clone()));
        Self {
            method,
            path,
            access,
            documented: true,
            from_other_sites: false,
            endless: false,
            development: false,
            limits: &[],
            prefetch: None,
            is_page: false,
            route,
        }
    }

    /// A row whose handler wants the caller's copy of `kind`: it comes in one round trip with the session.
    fn prefetching(mut self, kind: Kind) -> Self {
        self.prefetch = Some(kind);
        self
    }

    /// A row whose handler asks these limits.
    fn limited(mut self, limits: &'static [Policy]) -> Self {
        self.limits = limits;
        self
    }

    /// A row whose unsafe method other sites may use, so that neither origin nor token is checked.
    fn open_to_other_sites(mut self) -> Self {
        self.from_other_sites = true;
        self
    }

    /// A row whose answer stays open.
    fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    /// A page or a file, which the OpenAPI document leaves out.
    pub(crate) fn page<F, Args>(path: &'static str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self { documented: false, ..Self::new(Method::GET, path, Access::Public, handler) }
    }

    /// A page for people, which is shown under the host of `PUBLIC_URL` only.
    pub(crate) fn on_public_host(mut self) -> Self {
        self.is_page = true;
        self
    }

    /// Leaves it out of every installation but a developer's.
    pub(crate) fn in_development(mut self) -> Self {
        self.development = true;
        self
    }

    /// Whether it may change something, so that a forged request would do harm.
    pub fn is_unsafe(&self) -> bool {
        !self.method.is_safe()
    }

    fn guard(&self) -> Guard {
        Guard {
            method: self.method.clone(),
            path: self.path,
            access: self.access,
            limits: self.limits,
            from_other_sites: self.from_other_sites,
            prefetch: self.prefetch,
            is_page: self.is_page,
        }
    }
}

/// Every route. Static paths come before patterns: the first match is taken.
#[allow(clippy::too_many_lines, reason = "it is a table")]
pub fn table() -> Vec<Row> {
    use Access::{Manager, Public, Refresh, Shop, User};
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    let put = Method::PUT;
    let mut rows = pages::public_rows();
    // As those: a path is compared with one row after the other.
    rows.extend([Row::new(get.clone(), "/l/{link_id}", Public, link_target::get)]);
    rows.extend([
        Row::new(post.clone(), "/api/register/", Public, register::post).limited(policy::REGISTER),
        Row::new(post.clone(), "/api/register/confirm/", Public, register_confirm::post),
        Row::new(post.clone(), "/api/login/", Public, login::post).limited(policy::LOGIN),
        Row::new(post.clone(), "/api/login/factor/", Public, login_factor::post).limited(policy::FACTOR),
        Row::new(post.clone(), "/api/logout/", Refresh, logout::post),
        Row::new(post.clone(), "/api/token/refresh/", Refresh, token_refresh::post),
        Row::new(get.clone(), "/api/sessions/", User, sessions::get),
        Row::new(delete.clone(), "/api/sessions/", User, sessions::delete_others),
        Row::new(delete.clone(), "/api/sessions/{id}/", User, sessions::delete_one),
        Row::new(post.clone(), "/api/forgot-password/", Public, forgot_password::post)
            .limited(policy::FORGOT_PASSWORD),
        Row::new(post.clone(), "/api/reset-password/", Public, reset_password::post),
        Row::new(post.clone(), "/api/verify-email/", Public, verify_email::post),
        Row::new(post.clone(), "/api/verify-email/resend/", User, verify_email::resend),
        Row::new(get.clone(), "/api/me/", User, me::get),
        Row::new(patch.clone(), "/api/me/", User, me::patch).limited(policy::PASSWORD_CHECK),
        Row::new(get.clone(), "/api/me/username/", User, me_username::get),
        Row::new(delete.clone(), "/api/me/", User, me::delete).limited(policy::PASSWORD_CHECK),
        Row::new(post.clone(), "/api/me/password/", User, me::password).limited(policy::PASSWORD_CHECK),
        Row::new(post.clone(), "/api/me/email/", User, me_email::post).limited(policy::EMAIL_CHANGE),
        Row::new(get.clone(), "/api/me/export/", User, me_export::get).limited(policy::EXPORT),
        Row::new(post.clone(), "/api/me/export/", User, me_export::post).limited(policy::EXPORT),
        Row::new(get.clone(), "/api/me/factors/", User, me_factors::get),
        Row::new(post.clone(), "/api/me/factors/totp/", User, me_factors::enrol)
            .limited(policy::PASSWORD_CHECK),
        Row::new(delete.clone(), "/api/me/factors/totp/", User, me_factors::remove)
            .limited(policy::FACTOR_FROM_KNOWN),
        Row::new(post.clone(), "/api/me/factors/totp/confirm/", User, me_factors::confirm)
            .limited(policy::FACTOR),
        Row::new(post.clone(), "/api/me/factors/recovery-codes/", User, me_factors::renew_codes)
            .limited(policy::FACTOR_FROM_KNOWN),
        Row::new(get.clone(), "/api/me/identities/", User, me_identities::get),
        Row::new(post.clone(), "/api/me/identities/{identity}/", User, me_identities::post),
        Row::new(delete.clone(), "/api/me/identities/{identity}/", User, me_identities::delete),
        Row::new(get.clone(), "/api/oauth/providers/", Public, oauth::providers),
        Row::new(get.clone(), "/api/oauth/{provider}/start/", Public, oauth::start)
            .limited(policy::OAUTH_START),
        Row::new(get.clone(), "/api/oauth/{provider}/callback/", Public, oauth::callback)
            .limited(policy::OAUTH_CALLBACK),
        // Changes nothing: it leads to the GET above, which knows the browser by its cookie and checks the state.
        Row::new(post.clone(), "/api/oauth/{provider}/callback/", Public, oauth::callback_by_form)
            .open_to_other_sites(),
        Row::new(get.clone(), "/api/me/security-events/", User, security_events::own),
        Row::new(get.clone(), "/api/admin/audit/", Manager, security_events::all),
        Row::new(get.clone(), "/api/admin/referrals/", Manager, admin_referrals::get),
        Row::new(post.clone(), "/api/admin/referrals/{id}/approve/", Manager, admin_referrals::approve),
        Row::new(post.clone(), "/api/admin/referrals/{id}/reject/", Manager, admin_referrals::reject),
        Row::new(post.clone(), "/api/admin/referrals/{id}/reverse/", Manager, admin_referrals::reverse),
        Row::new(get.clone(), "/api/admin/users/", Manager, admin_users::get),
        Row::new(get.clone(), "/api/admin/users/{id}/", Manager, admin_accounts::get),
        Row::new(get.clone(), "/api/admin/users/{id}/export/", Manager, admin_accounts::export),
        Row::new(post.clone(), "/api/admin/users/{id}/demote/", Manager, admin_accounts::demote),
        Row::new(post.clone(), "/api/admin/users/{id}/end-sessions/", Manager, admin_accounts::end_sessions),
        Row::new(post.clone(), "/api/admin/users/{id}/delete/", Manager, admin_accounts::delete),
        Row::new(
            post.clone(),
            "/api/admin/users/{id}/confirm-email/",
            Manager,
            admin_accounts::confirm_email,
        ),
        Row::new(post.clone(), "/api/admin/users/{id}/email/", Manager, admin_accounts::email),
        Row::new(post.clone(), "/api/admin/users/{id}/block/", Manager, admin_users::block),
        Row::new(post.clone(), "/api/admin/users/{id}/unblock/", Manager, admin_users::unblock),
        Row::new(post.clone(), "/api/admin/users/{id}/adjust/", Manager, admin_users::adjust),
        Row::new(get.clone(), "/api/u/{username}/card.png", Public, page_pictures::card),
        Row::new(get.clone(), "/api/u/{username}/qr.svg", Public, page_pictures::qr_svg),
        Row::new(get.clone(), "/api/u/{username}/qr.png", Public, page_pictures::qr_png),
        Row::new(post.clone(), "/api/u/{username}/report/", Public, page_report::post)
            .limited(policy::PAGE_REPORT),
        Row::new(get.clone(), "/api/admin/reports/", Manager, admin_reports::get),
        Row::new(post.clone(), "/api/admin/reports/{id}/dismiss/", Manager, admin_reports::dismiss),
        Row::new(post.clone(), "/api/admin/pages/{username}/disable/", Manager, admin_pages::disable),
        Row::new(post.clone(), "/api/admin/pages/{username}/enable/", Manager, admin_pages::enable),
        Row::new(post.clone(), "/api/admin/links/{id}/disable/", Manager, admin_pages::disable_link),
        Row::new(post.clone(), "/api/admin/links/{id}/enable/", Manager, admin_pages::enable_link),
        Row::new(get.clone(), "/api/admin/blocked-domains/", Manager, blocked_domains::get),
        Row::new(post.clone(), "/api/admin/blocked-domains/", Manager, blocked_domains::post),
        Row::new(delete.clone(), "/api/admin/blocked-domains/{domain}/", Manager, blocked_domains::delete),
        Row::new(get.clone(), "/api/admin/webhooks/", Manager, webhooks::get),
        Row::new(post.clone(), "/api/admin/webhooks/", Manager, webhooks::post),
        Row::new(get.clone(), "/api/admin/webhooks/{id}/", Manager, webhooks::get_one),
        Row::new(patch.clone(), "/api/admin/webhooks/{id}/", Manager, webhooks::patch),
        Row::new(delete.clone(), "/api/admin/webhooks/{id}/", Manager, webhooks::delete),
        Row::new(post.clone(), "/api/admin/webhooks/{id}/rotate-secret/", Manager, webhooks::rotate_secret),
        Row::new(post.clone(), "/api/admin/webhooks/{id}/ping/", Manager, webhook_deliveries::ping),
        Row::new(get.clone(), "/api/admin/webhooks/{id}/deliveries/", Manager, webhook_deliveries::get),
        Row::new(
            post.clone(),
            "/api/admin/webhooks/{id}/deliveries/{delivery}/redeliver/",
            Manager,
            webhook_deliveries::redeliver,
        ),
        Row::new(get.clone(), "/api/referrals/", User, referrals::get),
        Row::new(get.clone(), "/api/referral-stats/", User, referral_stats::get)
            .prefetching(Kind::ReferralStats),
        Row::new(get.clone(), "/api/referral-stats/stream/", User, referral_stream::get).endless(),
        Row::new(get.clone(), "/api/referral-stats/series/", User, referral_series::get),
        Row::new(get.clone(), "/api/leaderboard/", Public, leaderboard::get),
        Row::new(get.clone(), "/api/me/leaderboard/", User, leaderboard::choice),
        Row::new(Method::PUT, "/api/me/leaderboard/", User, leaderboard::choose),
        Row::new(get.clone(), "/api/referral-codes/{code}/", Public, referral_codes::get)
            .limited(policy::REFERRAL_CODE),
        Row::new(get.clone(), "/api/rewards/", User, rewards::get),
        Row::new(get.clone(), "/api/rewards/catalog/", User, rewards_redeem::catalog),
        Row::new(post.clone(), "/api/rewards/redeem/", User, rewards_redeem::post),
        Row::new(get.clone(), "/api/profile/", User, profile::get),
        Row::new(patch.clone(), "/api/profile/", User, profile::patch),
        Row::new(put.clone(), "/api/profile/avatar/", User, profile_avatar::put).limited(policy::PICTURE),
        Row::new(delete.clone(), "/api/profile/avatar/", User, profile_avatar::delete),
        Row::new(get.clone(), "/api/links/", User, links::get),
        Row::new(post.clone(), "/api/links/", User, links::post),
        Row::new(put.clone(), "/api/links/order/", User, links_order::put),
        Row::new(get.clone(), "/api/links/export/", User, links_export::get),
        Row::new(post.clone(), "/api/links/import/", User, links_import::post).limited(policy::IMPORT),
        Row::new(get.clone(), "/api/links/{id}/", User, links::get_one),
        Row::new(patch, "/api/links/{id}/", User, links::patch),
        Row::new(delete.clone(), "/api/links/{id}/", User, links::delete),
        Row::new(put.clone(), "/api/links/{id}/thumbnail/", User, link_thumbnail::put)
            .limited(policy::PICTURE),
        Row::new(delete.clone(), "/api/links/{id}/thumbnail/", User, link_thumbnail::delete),
        Row::new(get.clone(), "/api/u/{username}/", Public, public_page::get),
        Row::new(post, "/api/discounts/{code}/redeem/", Shop, discounts::redeem),
        Row::new(get.clone(), "/api/admin/reward-rules/", Manager, reward_rules::get),
        Row::new(put, "/api/admin/reward-rules/", Manager, reward_rules::put),
        Row::new(get.clone(), "/api/links/{id}/stats/", User, stats::link),
        Row::new(get.clone(), "/api/profile/stats/", User, stats::page),
        Row::new(get.clone(), "/r/{code}", Public, referral_codes::follow),
        Row::new(get.clone(), jwks::PATH, Public, jwks::get),
        Row::new(get.clone(), "/health/live", Public, health::live),
        Row::new(get, "/health/ready", Public, health::ready),
        Row::page(openapi::PATH, openapi::get),
    ]);
    rows.extend(docs::rows());
    rows.extend(pages::rows());
    rows
}

/// Registers the table.
pub(crate) fn register(config: &mut ServiceConfig, env: AppEnv, fence: &Fence) {
    let mut by_path: Vec<(&'static str, Vec<Row>)> = Vec::new();
    for row in table().into_iter().filter(|row| env == AppEnv::Development || !row.development) {
        match by_path.iter_mut().find(|(path, _)| *path == row.path) {
            Some((_, rows)) => rows.push(row),
            None => by_path.push((row.path, vec![row])),
        }
    }
    for (path, rows) in by_path {
        let allow = allow(&rows);
        let mut resource = web::resource(path);
        for row in rows {
            resource = resource.route((row.route)(row.guard()));
        }
        let resource = resource.default_service(web::to(move || ready(wrong_method(&allow))));
        if is_fenced(path) {
            fence.register(config, resource);
        } else {
            config.service(resource);
        }
    }
    config.default_service(web::to(|| async { HttpResponse::from_error(Problem::new(Code::NotFound)) }));
}

/// Files cost nothing, a page asks for many of them at once, and whoever checks the health of a process must not be turned
/// away.
fn is_fenced(path: &str) -> bool {
    !["/health/", "/assets/", docs::PATH].iter().any(|open| path.starts_with(open))
}

fn allow(rows: &[Row]) -> HeaderValue {
    let mut methods: Vec<&str> = Vec::new();
    for row in rows {
        methods.push(row.method.as_str());
        if row.method == Method::GET {
            methods.push("HEAD");
        }
    }
    HeaderValue::from_str(&methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("GET"))
}

fn wrong_method(allow: &HeaderValue) -> HttpResponse {
    HttpResponse::from_error(Problem::new(Code::MethodNotAllowed).header(header::ALLOW, allow.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_of_each_path_is_one_row() {
        let mut seen = std::collections::HashSet::new();
        for row in table() {
            assert!(
                seen.insert((row.method.clone(), row.path)),
                "{} {} is there twice",
                row.method,
                row.path
            );
        }
    }

    /// What counts by itself stands in front of one route; what several routes share, in front of each of them.
    #[test]
    fn a11_every_limit_stands_in_front_of_its_routes() {
        let table = table();
        let limited = |policies: &[Policy]| table.iter().filter(|row| row.limits == policies).count();
        for policies in policy::OF_ONE_ROUTE {
            assert_eq!(limited(policies), 1, "{policies:?}");
        }
        for policies in policy::SHARED {
            assert!(limited(policies) > 1, "{policies:?}");
        }
        let known = [policy::OF_ONE_ROUTE, policy::SHARED].concat();
        assert!(table.iter().all(|row| row.limits.is_empty() || known.contains(&row.limits)));
    }

    #[test]
    fn a15_other_sites_may_send_one_form_only() {
        let open: Vec<_> = table().into_iter().filter(|row| row.from_other_sites).collect();
        let paths: Vec<_> = open.iter().map(|row| (row.path, row.access, row.method.clone())).collect();
        assert_eq!(paths, [("/api/oauth/{provider}/callback/", Access::Public, Method::POST)]);
    }

    #[test]
    fn h9_paths_have_one_slash_form() {
        for row in table() {
            if row.path == "/" {
                continue;
            }
            let named = row.path.rsplit('/').next().is_some_and(|name| name.contains('.'));
            let file = named || row.path.starts_with(docs::PATH);
            assert_eq!(
                row.path.ends_with('/'),
                row.path.starts_with("/api/") && !file || row.path == docs::PATH,
                "{}",
                row.path
            );
        }
    }
}
