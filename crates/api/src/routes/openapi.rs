//! `/api/openapi.json`: the OpenAPI 3.1 document.
//!
//! Handlers document what is their own: fields, replies, the problems that only they have. What follows from the route
//! table is added here from the route table: who may call, which problems any such route can answer with, the limits'
//! headers, operation ids. So it cannot be forgotten, and cannot differ.

#![allow(clippy::indexing_slicing, reason = "indexing a JSON value makes what is missing")]

use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use domain::audit::Event;
use domain::webhooks::{Event as Told, PING};
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{
    Access, Row, admin_accounts, admin_pages, admin_referrals, admin_reports, admin_users, blocked_domains,
    discounts, forgot_password, health, jwks, leaderboard, link_target, link_thumbnail, links, links_export,
    links_import, links_order, login, login_factor, logout, me, me_email, me_export, me_factors,
    me_identities, me_username, oauth, page_pictures, page_report, profile, profile_avatar, public_page,
    referral_codes, referral_series, referral_stats, referral_stream, referrals, register, register_confirm,
    reset_password, reward_rules, rewards, rewards_redeem, security_events, sessions, stats, table,
    token_refresh, verify_email, webhook_deliveries, webhooks,
};
use crate::problem::{Code, MEDIA_TYPE, Schema};

/// Where it is.
pub(super) const PATH: &str = "/api/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trellis",
        description = "The HTTP API of a link-in-bio platform with a referral programme.\n\nErrors are problems (RFC 9457) \
                       with a `code` of a closed set. Paths are the same with and without their last slash. Browsers \
                       sign in with cookies and send `X-CSRF-Token`; other clients ask for the bearer transport.",
        license(name = "MIT", identifier = "MIT"),
    ),
    paths(
        register::post, register_confirm::post, login::post, login_factor::post, logout::post, token_refresh::post,
        sessions::get, sessions::delete_others, sessions::delete_one, jwks::get,
        forgot_password::post, reset_password::post, verify_email::post, verify_email::resend, me::get, me::patch,
        me::delete, me::password, me_username::get, me_email::post, me_export::get, me_export::post, me_factors::get, me_factors::enrol,
        me_factors::confirm, me_factors::renew_codes, me_factors::remove, me_identities::get,
        me_identities::post, me_identities::delete, oauth::providers, oauth::start, oauth::callback, oauth::callback_by_form, referrals::get,
        referral_stats::get, referral_series::get, referral_stream::get, leaderboard::get, leaderboard::choice, leaderboard::choose, referral_codes::get, referral_codes::follow, rewards::get, rewards_redeem::catalog, rewards_redeem::post, discounts::redeem, reward_rules::get, reward_rules::put, security_events::own, security_events::all, admin_referrals::get,
        admin_referrals::approve, admin_referrals::reject, admin_referrals::reverse, admin_users::get, admin_accounts::get, admin_accounts::export,
        admin_accounts::demote, admin_accounts::end_sessions, admin_accounts::delete, admin_accounts::confirm_email, admin_accounts::email, admin_users::block,
        admin_users::unblock, admin_users::adjust, page_pictures::card, page_pictures::qr_svg, page_pictures::qr_png, page_report::post, admin_reports::get, admin_reports::dismiss, admin_pages::disable,
        admin_pages::enable, admin_pages::disable_link, admin_pages::enable_link, blocked_domains::get, blocked_domains::post, blocked_domains::delete,
        profile::get, profile::patch, profile_avatar::put,
        profile_avatar::delete, links::get, links::post, links::get_one, links::patch, links::delete, links_order::put, links_export::get, links_import::post,
        link_thumbnail::put, link_thumbnail::delete, public_page::get, link_target::get, stats::link, stats::page, health::live, health::ready,
        webhooks::get, webhooks::post, webhooks::get_one, webhooks::patch, webhooks::delete, webhooks::rotate_secret,
        webhook_deliveries::ping, webhook_deliveries::get, webhook_deliveries::redeliver,
    ),
    components(schemas(Schema)),
    tags(
        (name = "accounts", description = "Signing up, in and out"),
        (name = "pages", description = "Pages of links, and what came of them"),
        (name = "referrals", description = "Inviting friends"),
        (name = "rewards", description = "What inviting friends gave"),
        (name = "managers", description = "For programme managers"),
        (name = "webhooks", description = "Telling other systems what happens; for programme managers"),
        (name = "operations", description = "For whoever runs it"),
    ),
)]
struct Documented;

/// Answers with the document.
pub(super) async fn get() -> HttpResponse {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| Bytes::from(document().to_string()));
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .body(document.clone())
}

/// The document.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Documented::openapi()).unwrap_or_default();
    let components = &mut document["components"];
    components["responses"]["Problem"] = json!({
        "description": "Why not. `code` says it to a program, `detail` to a person.",
        "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    components["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        "cookie": { "type": "apiKey", "in": "cookie", "name": "access_token",
                    "description": "Set by the login. `__Host-access_token` in production." },
        "csrf": { "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
                  "description": "`csrf_token` of the login's reply, also in the cookie of that name." },
        "shop": { "type": "apiKey", "in": "header", "name": "X-Shop-Key",
                  "description": "`SHOP_API_KEY` of the installation." },
    });
    for row in table().into_iter().filter(|row| row.documented) {
        let method = row.method.as_str().to_lowercase();
        complete(&mut document["paths"][row.path][&method], &row);
    }
    refuse_unknown_fields(&mut document);
    name_events(&mut document["paths"]["/api/admin/audit/"]["get"]["parameters"]);
    document["webhooks"] = Told::ALL
        .iter()
        .map(|event| (event.as_str().to_owned(), told(event.as_str(), event.meaning(), &members(*event))))
        .chain([(
            PING.to_owned(),
            told(PING, "A manager tries the endpoint.", &json!({ "endpoint_id": id() })),
        )])
        .collect();
    document
}

/// How an endpoint is told of an event (OpenAPI 3.1, 4.8.1.1).
fn told(event: &str, meaning: &str, members: &Value) -> Value {
    let body = json!({
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": { "const": event },
            "timestamp": { "type": "string", "format": "date-time", "description": "When it happened." },
            "data": { "type": "object", "properties": members,
                      "description": "Ids, words and amounts: no name and no address." },
        },
    });
    let header = |name: &str, meaning: &str| json!({ "name": name, "in": "header", "required": true, "description": meaning, "schema": { "type": "string" } });
    json!({ "post": {
        "operationId": format!("on_{}", event.replace('.', "_")),
        "tags": ["webhooks"],
        "summary": event,
        "description": meaning,
        "parameters": [
            header("webhook-id", "The event's: the same however often it is told."),
            header("webhook-timestamp", "When this was sent, in seconds since 1970: believe no message of more than five minutes ago."),
            header("webhook-signature", "`v1,` and the HMAC-SHA-256 of id, timestamp and body with dots between, in base64; several with blanks between."),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": body } } },
        "responses": {
            "2XX": { "description": "It was taken, within 15 seconds." },
            "410": { "description": "Tell me nothing any more." },
            "default": { "description": "Tell me again later." },
        },
    } })
}

fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// What the data of an event consists of.
fn members(event: Told) -> Value {
    let word = json!({ "type": "string" });
    let amount = json!({ "type": "string", "example": "10.00" });
    let rewards = |of_reversal: bool| {
        let mut reward = json!({ "reward_id": id(), "user_id": id(), "reward_type": word, "amount": amount });
        if of_reversal {
            reward["shortfall"] = amount.clone();
        }
        json!({ "type": "array", "items": { "type": "object", "properties": reward } })
    };
    let mut referral = json!({
        "referral_id": id(), "referrer_id": id(), "referred_user_id": id(), "status": word, "reason": word,
    });
    match event {
        Told::ReferralSuccessful => referral["rewards"] = rewards(false),
        Told::ReferralReversed => referral["rewards"] = rewards(true),
        Told::ReferralPending | Told::ReferralReview | Told::ReferralRejected | Told::ReferralExpired => {}
        Told::UserRegistered | Told::UserVerified | Told::UserRenamed | Told::UserDeleted => {
            return json!({ "user_id": id() });
        }
        Told::RewardRedeemed => {
            return json!({
                "redemption_id": id(), "user_id": id(), "option": word, "cost": amount, "reward_type": word,
                "amount": amount,
            });
        }
    }
    referral
}

/// Lists the events that the record can be asked for.
fn name_events(parameters: &mut Value) {
    let events: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
    for parameter in parameters.as_array_mut().into_iter().flatten() {
        if parameter["name"] == "event" {
            parameter["schema"]["enum"] = json!(events);
        }
    }
}

/// Adds to an operation what its row says.
fn complete(operation: &mut Value, row: &Row) {
    operation["operationId"] = operation_id(row).into();
    if row.access.is_signed_in() {
        operation["security"] = if row.is_unsafe() {
            json!([{ "bearer": [] }, { "cookie": [], "csrf": [] }])
        } else {
            json!([{ "bearer": [] }, { "cookie": [] }])
        };
        if let (Access::Shop, Some(ways)) = (row.access, operation["security"].as_array_mut()) {
            ways.push(json!({ "shop": [] }));
        }
    }
    for code in problems_of(operation, row) {
        let status = code.status().as_str().to_owned();
        let responses = &mut operation["responses"];
        if responses.get(&status).is_none() {
            responses[&status] = json!({ "$ref": "#/components/responses/Problem" });
        }
    }
}

/// The problems that come from what stands in front of a handler.
fn problems_of(operation: &Value, row: &Row) -> Vec<Code> {
    let mut codes = vec![Code::BadRequest, Code::RateLimited, Code::Internal, Code::Unavailable];
    if matches!(row.access, Access::Manager | Access::Shop) {
        codes.push(Code::Forbidden);
    }
    if row.access.is_signed_in() {
        codes.extend([Code::Unauthenticated, Code::AccountChanged]);
    }
    if row.is_unsafe() && !row.from_other_sites {
        codes.push(Code::CsrfFailed);
    }
    if row.path.contains('{') {
        codes.push(Code::NotFound);
    }
    if operation.get("requestBody").is_some() {
        codes.extend([
            Code::Validation,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::RequestTimeout,
        ]);
    }
    if operation.get("parameters").is_some() {
        codes.push(Code::Validation);
    }
    codes
}

/// Such as `post_me_password` for `POST /api/me/password/`.
fn operation_id(row: &Row) -> String {
    let path = row.path.strip_prefix("/api").unwrap_or(row.path);
    let words = path.split('/').filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}']).replace('-', "_"));
    std::iter::once(row.method.as_str().to_lowercase()).chain(words).collect::<Vec<_>>().join("_")
}

/// Says of every body what is true of all: unknown fields are refused.
fn refuse_unknown_fields(document: &mut Value) {
    let bodies: Vec<String> = document["paths"]
        .as_object()
        .into_iter()
        .flat_map(|paths| paths.values())
        .filter_map(Value::as_object)
        .flat_map(|item| item.values())
        .filter_map(|operation| {
            let schema = operation.pointer("/requestBody/content/application~1json/schema")?;
            let alternatives = schema.get("oneOf").and_then(Value::as_array);
            let mut references = alternatives.into_iter().flatten().chain([schema]);
            references.find_map(|schema| schema["$ref"].as_str()).map(str::to_owned)
        })
        .collect();
    for body in bodies {
        if let Some(schema) = body.strip_prefix('#').and_then(|pointer| document.pointer_mut(pointer)) {
            schema["additionalProperties"] = false.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::problem::FieldCode;

    fn operations(document: &Value) -> Vec<(String, String, Value)> {
        let paths = document["paths"].as_object().unwrap();
        let of = |(path, item): (&String, &Value)| {
            let (path, item) = (path.clone(), item.as_object().unwrap().clone());
            item.into_iter()
                .map(move |(method, operation)| (path.clone(), method, operation))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    #[test]
    fn h9_the_document_has_every_route_and_no_other() {
        let documented: BTreeSet<_> = operations(&document())
            .into_iter()
            .map(|(path, method, _)| format!("{} {path}", method.to_uppercase()))
            .collect();
        let routes: BTreeSet<_> = table()
            .iter()
            .filter(|row| row.documented)
            .map(|row| format!("{} {}", row.method, row.path))
            .collect();
        assert_eq!(documented, routes);
    }

    #[test]
    fn it_is_openapi_3_1_and_every_operation_has_an_id_a_tag_and_a_summary() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&document) {
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}");
            assert!(operation["tags"][0].is_string() && operation["summary"].is_string(), "{method} {path}");
        }
    }

    #[test]
    fn w7_every_event_is_described() {
        let document = document();
        let described: Vec<&str> =
            document["webhooks"].as_object().unwrap().keys().map(String::as_str).collect();
        let events: Vec<&str> = Told::ALL.iter().map(|event| event.as_str()).chain([PING]).collect();
        assert_eq!(described.into_iter().collect::<BTreeSet<_>>(), events.into_iter().collect());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_codes_are_closed_sets() {
        let schemas = &document()["components"]["schemas"];
        assert_eq!(schemas["ProblemCode"]["enum"].as_array().unwrap().len(), Code::ALL.len());
        assert_eq!(schemas["FieldErrorCode"]["enum"].as_array().unwrap().len(), FieldCode::ALL.len());
    }

    #[test]
    fn the_record_can_be_asked_for_every_event() {
        let document = document();
        let parameters = document["paths"]["/api/admin/audit/"]["get"]["parameters"].as_array().unwrap();
        let parameter = parameters.iter().find(|parameter| parameter["name"] == "event").unwrap();
        let listed: Vec<_> = parameter["schema"]["enum"].as_array().unwrap().iter().collect();
        assert_eq!(listed.len(), Event::ALL.len());
        assert!(Event::ALL.iter().all(|event| listed.contains(&&json!(event.as_str()))), "{listed:?}");
    }

    #[test]
    fn a14_every_body_refuses_unknown_fields() {
        let document = document();
        for (path, method, operation) in operations(&document) {
            let Some(body) = operation.get("requestBody") else { continue };
            if body.pointer("/content/application~1json").is_none() {
                continue; // a picture has no fields
            }
            let text = body.to_string();
            let name =
                text.split("#/components/schemas/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{method} {path}");
        }
    }
}
