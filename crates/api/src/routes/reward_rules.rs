//! `GET, PUT /api/admin/reward-rules/`: what a successful referral earns, for managers.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::audit::Actor;
use domain::rewards::{self, Amount, Beneficiary, Replacement, RewardKind, RuleSet, RuleSpec};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::{Complaint, Fields};
use crate::problem::{FieldCode, Problem};

/// How many rules a body may hold. The domain takes fewer, and says so.
const MOST_READ: usize = 200;

/// A rule.
#[derive(Serialize, ToSchema)]
#[schema(as = RewardRule)]
pub(super) struct Rule {
    /// `per_referral`: for every successful one. `milestone`: once, with the n-th.
    #[schema(pattern = "^(per_referral|milestone)$")]
    trigger: String,
    /// n; `null` unless the trigger is a milestone.
    #[schema(minimum = 1)]
    milestone: Option<i32>,
    /// Who gets it: `referrer` or `referred`. For both, two rules.
    #[schema(pattern = "^(referrer|referred)$")]
    beneficiary: String,
    /// `credits`, `premium` or `discount`.
    #[schema(pattern = "^(credits|premium|discount)$")]
    reward_type: String,
    /// Credits, whole days of premium, or percent.
    #[schema(example = "10.00", pattern = "^[0-9]{1,7}([.][0-9]{1,2})?$")]
    amount: String,
    /// A name that tells it from the standing rule of the same trigger, side and kind.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,39}$")]
    campaign: Option<String>,
    /// Grants for the referrals of one referrer in a calendar month (UTC); `null`: no cap. Not for milestones.
    #[schema(minimum = 1)]
    max_per_month: Option<i32>,
    /// The same in all.
    #[schema(minimum = 1)]
    max_total: Option<i32>,
    /// It is in force from then: what counts is when the referral becomes successful.
    starts_at: Option<DateTime<Utc>>,
    /// Until just before then.
    ends_at: Option<DateTime<Utc>>,
}

/// The rules, which `PUT` takes back with the changes.
#[derive(Serialize, ToSchema)]
#[schema(as = RewardRules)]
pub(super) struct Reply {
    /// Rises with each change.
    version: i32,
    /// When this version was made.
    changed_at: DateTime<Utc>,
    rules: Vec<Rule>,
}

/// The whole set.
#[derive(ToSchema)]
#[schema(as = RewardRulesBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// The version that the change was made from.
    #[schema(minimum = 1)]
    version: i32,
    /// All rules; those that are left out end.
    #[schema(max_items = 50)]
    rules: Vec<Rule>,
}

impl From<RuleSpec> for Rule {
    fn from(spec: RuleSpec) -> Self {
        let trigger = if spec.milestone.is_some() { "milestone" } else { "per_referral" };
        Self {
            trigger: trigger.to_owned(),
            milestone: spec.milestone,
            beneficiary: spec.beneficiary.as_str().to_owned(),
            reward_type: spec.kind.as_str().to_owned(),
            amount: spec.amount.to_string(),
            campaign: spec.campaign,
            max_per_month: spec.max_per_month,
            max_total: spec.max_total,
            starts_at: spec.starts_at,
            ends_at: spec.ends_at,
        }
    }
}

impl From<RuleSet> for Reply {
    fn from(set: RuleSet) -> Self {
        let rules = set.rules.into_iter().map(Rule::from).collect();
        Self { version: set.version, changed_at: set.changed_at, rules }
    }
}

/// The reward rules
///
/// Those that stand: campaigns to come and campaigns gone included.
#[utoipa::path(
    get, path = "/api/admin/reward-rules/", tag = "managers",
    responses((status = 200, description = "The rules", body = Reply)),
)]
pub(super) async fn get(state: Shared) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Reply::from(rewards::rules(&state.pool).await?)))
}

/// Replace the reward rules
///
/// All at once, for what succeeds from now on: what was granted stays as it was. `version` is the one that was read; if
/// somebody else changed the rules since, nothing happens; nor does it where these rules stand already.
#[utoipa::path(
    put, path = "/api/admin/reward-rules/", tag = "managers", request_body = Body,
    responses((status = 200, description = "The rules as they are now", body = Reply),
              (status = 409, description = "`version_conflict`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn put(
    state: Shared,
    caller: Caller,
    Traced(trace): Traced,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let version = fields.integer("version", 1..=i32::MAX);
    let drafts = fields.objects("rules", MOST_READ, |item| Some(read(item)));
    let places: Vec<&str> = drafts.iter().flatten().map(|draft| draft.at.as_str()).collect();
    for (index, error) in rewards::check_set(drafts.iter().flatten().map(|draft| draft.key.clone())) {
        if let Some(at) = places.get(index) {
            fields.error_at((*at).to_owned(), error);
        }
    }
    let (version, drafts) = fields.finish((version, drafts))?;

    let rules = drafts.into_iter().map(|draft| draft.rule).collect();
    let replacement = Replacement { version, rules, actor: Actor::Manager(caller.user_id) };
    let set = rewards::replace_rules(&state.pool, state.clock.now(), replacement, &trace).await?;
    Ok(HttpResponse::Ok().json(Reply::from(set)))
}

/// A rule of the body. What could not be read of it is reported, and stands here as something that nothing is wrong with:
/// so the rest of it is checked in the same answer.
struct Draft {
    /// Where it is.
    at: String,
    rule: RuleSpec,
    /// Its name, if all that makes it could be read.
    key: Option<String>,
}

fn read(fields: &mut Fields) -> Draft {
    let triggers = [("per_referral", false), ("milestone", true)];
    let of_milestone = fields.parse("trigger", |text| crate::body::pick(&triggers, text));
    let milestone = match of_milestone {
        Some(true) => fields.integer("milestone", 1..=i32::MAX).map(Some),
        _ => fields.optional_integer("milestone", 1..=i32::MAX),
    };
    if of_milestone == Some(false) && milestone.flatten().is_some() {
        let detail = "Only a rule with the trigger `milestone` has one.";
        fields.error("milestone", Complaint::new(FieldCode::InvalidValue, detail));
    }
    let sides = [Beneficiary::Referrer, Beneficiary::Referred].map(|side| (side.as_str(), side));
    let beneficiary = fields.parse("beneficiary", |text| crate::body::pick(&sides, text));
    let kinds = [RewardKind::Credits, RewardKind::Premium, RewardKind::Discount];
    let kinds = kinds.map(|kind| (kind.as_str(), kind));
    let kind = fields.parse("reward_type", |text| crate::body::pick(&kinds, text));
    let amount = fields.parse("amount", str::parse::<Amount>);
    let campaign = fields.parse_optional("campaign", |text| Ok::<_, Complaint>(text.to_owned()));
    let max_per_month = fields.optional_integer("max_per_month", 1..=i32::MAX);
    let max_total = fields.optional_integer("max_total", 1..=i32::MAX);
    let starts_at = fields.parse_optional("starts_at", instant);
    let ends_at = fields.parse_optional("ends_at", instant);
    let is_named = of_milestone.is_some()
        && milestone.is_some()
        && beneficiary.is_some()
        && kind.is_some()
        && campaign.is_some();
    let rule = RuleSpec {
        milestone: (of_milestone == Some(true)).then(|| milestone.flatten().unwrap_or(1)),
        beneficiary: beneficiary.unwrap_or(Beneficiary::Referrer),
        kind: kind.unwrap_or(RewardKind::Credits),
        amount: amount.unwrap_or(Amount::from_whole(1)),
        campaign: campaign.flatten(),
        max_per_month: max_per_month.flatten(),
        max_total: max_total.flatten(),
        starts_at: starts_at.flatten(),
        ends_at: ends_at.flatten(),
    };
    for (name, error) in rule.errors() {
        fields.error(name, error);
    }
    Draft { at: fields.at().to_owned(), key: is_named.then(|| rule.key()), rule }
}

/// To the microsecond, as the database keeps it.
fn instant(text: &str) -> Result<DateTime<Utc>, Complaint> {
    let malformed =
        || Complaint::new(FieldCode::InvalidValue, "This must be a time such as 2026-12-01T00:00:00Z.");
    let instant = DateTime::parse_from_rfc3339(text).map_err(|_| malformed())?.to_utc();
    let within = (0..=253_402_300_799).contains(&instant.timestamp());
    let whole = DateTime::from_timestamp_micros(instant.timestamp_micros()).filter(|_| within);
    whole.ok_or_else(malformed)
}
