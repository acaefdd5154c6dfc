//! The SQL of an export: one query a section, with every column that is shown by name, so that a new column is shown only
//! when somebody decided so.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Jsonb, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::db::Tx;

/// Sections with their queries. `$1` is the user. Amounts are texts, as everywhere in the API.
pub(super) const SECTIONS: [(&str, &str); 34] = [
    (
        "account",
        "SELECT id, username, email, email_verified_at, password_hash IS NOT NULL AS has_password, password_changed_at,
                role, referral_code, referred_by IS NOT NULL AS was_referred, leaderboard, created_at, blocked_at,
                blocked_reason, email_bounced_at
         FROM users WHERE id = $1",
    ),
    (
        "sessions",
        "SELECT id, created_at, last_seen_at, expires_at, ended_at, end_reason, user_agent, ip_prefix
         FROM sessions WHERE user_id = $1 ORDER BY created_at",
    ),
    (
        "refresh_tokens",
        "SELECT t.session_id, t.created_at, t.used_at FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
         WHERE s.user_id = $1 ORDER BY t.created_at",
    ),
    (
        "registration_attempts",
        "SELECT created_at, referral_status, 'keyed hash' AS kept_as FROM registration_keys WHERE user_id = $1",
    ),
    (
        "email_confirmations",
        "SELECT email, created_at, expires_at, used_at FROM email_verifications WHERE user_id = $1 ORDER BY created_at",
    ),
    (
        "email_changes",
        "SELECT new_email, old_email, created_at, expires_at, mailed_at, applied_at, closed_at
         FROM email_changes WHERE user_id = $1 ORDER BY created_at",
    ),
    (
        "uses_of_the_address_by_others",
        "SELECT created_at, mailed_at, 'registration' AS what FROM pending_registrations WHERE holder_id = $1
         UNION ALL SELECT created_at, mailed_at, 'email_change' FROM email_changes WHERE holder_id = $1 ORDER BY 1",
    ),
    (
        "former_addresses",
        "SELECT since, 'keyed hash' AS kept_as FROM former_identities WHERE user_id = $1 ORDER BY since",
    ),
    (
        "former_usernames",
        "SELECT old_username, new_username, changed_at FROM username_changes WHERE user_id = $1 ORDER BY changed_at",
    ),
    ("reserved_usernames", "SELECT username_key AS reads_like FROM usernames WHERE user_id = $1 ORDER BY username_key"),
    (
        "password_resets",
        "SELECT created_at, expires_at, closed_at FROM password_resets
         WHERE user_id = $1 OR email = (SELECT email FROM users WHERE id = $1) ORDER BY created_at",
    ),
    (
        "security_events",
        "SELECT id, event, actor, subject_id, reason, request_id, left(encode(ip_hash, 'hex'), 12) AS network, created_at
         FROM security_events WHERE user_id = $1 ORDER BY created_at, id",
    ),
    (
        "security_events_caused",
        "SELECT id, event, created_at FROM security_events
         WHERE actor_id = $1 AND user_id IS DISTINCT FROM $1 ORDER BY created_at, id",
    ),
    (
        "identities",
        "SELECT id, provider, issuer, subject, email, created_at, last_used_at FROM identities
         WHERE user_id = $1 ORDER BY created_at, id",
    ),
    (
        "authenticator_apps",
        "SELECT id, created_at, confirmed_at, last_used_at FROM totp_factors WHERE user_id = $1 ORDER BY created_at",
    ),
    ("recovery_codes", "SELECT created_at, used_at FROM recovery_codes WHERE user_id = $1 ORDER BY created_at, used_at"),
    (
        "referrals_made",
        "SELECT id, status, reason, date_referred, qualifies_at, settled_at
         FROM referrals WHERE referrer_id = $1 ORDER BY date_referred",
    ),
    (
        "referral_of_this_account",
        "SELECT id, status, reason, date_referred, qualifies_at, settled_at FROM referrals WHERE referred_user_id = $1",
    ),
    (
        "referral_figures",
        "SELECT pending, review, successful, rejected, expired, reversed FROM referral_counters WHERE user_id = $1",
    ),
    (
        "referral_days",
        "SELECT day, visits, registrations, successful FROM referral_days WHERE user_id = $1 ORDER BY day",
    ),
    (
        "rewards",
        "SELECT id, reward_type, amount::text, date_earned, referral_id, beneficiary, milestone
         FROM rewards WHERE user_id = $1 ORDER BY date_earned",
    ),
    (
        "reward_decisions",
        "SELECT id, referral_id, beneficiary, decision, reason, reward_id, decided_at
         FROM reward_decisions WHERE user_id = $1 ORDER BY decided_at",
    ),
    (
        "ledger",
        "SELECT id, kind, amount::text, balance_after::text, cause, reward_id, created_at
         FROM ledger_entries WHERE user_id = $1 ORDER BY created_at, id",
    ),
    (
        "redemptions",
        "SELECT id, option, cost::text, reward_type, amount::text, premium_until, code, created_at
         FROM redemptions WHERE user_id = $1 ORDER BY created_at",
    ),
    (
        "reward_tallies",
        "SELECT rule_key, month, granted FROM reward_tallies WHERE referrer_id = $1 ORDER BY month, rule_key",
    ),
    (
        "rules_changed_by_this_account",
        "SELECT version, created_at FROM reward_rule_sets WHERE changed_by = $1 ORDER BY version",
    ),
    ("balances", "SELECT kind, amount::text FROM balances WHERE user_id = $1 ORDER BY kind"),
    (
        "benefits",
        "SELECT 'premium' AS what, starts_at, ends_at, NULL AS code, NULL AS percent FROM premium_periods WHERE user_id = $1
         UNION ALL SELECT 'discount', created_at, redeemed_at, code, percent::text FROM discounts WHERE user_id = $1
         ORDER BY 2",
    ),
    (
        "page",
        "SELECT display_name, bio, theme, listed, social, version, updated_at, disabled_at, disabled_reason
         FROM profiles WHERE user_id = $1",
    ),
    (
        "page_links",
        "SELECT id, kind, title, url, enabled, visible_from, visible_until, pinned, highlighted, position, request_key,
                created_at, updated_at, disabled_at, disabled_reason
         FROM links WHERE user_id = $1 ORDER BY position",
    ),
    (
        "pictures",
        "SELECT '/avatars/' || encode(digest, 'hex') AS address, content_type, octet_length(body) AS bytes, NULL AS link_id
         FROM avatars WHERE user_id = $1
         UNION ALL SELECT '/thumbnails/' || encode(t.digest, 'hex'), t.content_type, octet_length(t.body), l.id
         FROM thumbnails t JOIN links l ON l.id = t.link_id WHERE l.user_id = $1 ORDER BY 4 NULLS FIRST",
    ),
    // Not what others wrote in them, nor from where.
    (
        "page_reports",
        "SELECT reason, created_at, settled_at, outcome FROM page_reports WHERE user_id = $1 ORDER BY created_at",
    ),
    (
        "page_figures",
        "SELECT subject_id, hour, clicks, unique_clicks, robot_clicks, own_clicks, views, unique_views, robot_views, own_views
         FROM click_hours WHERE dimension = 0 AND (subject_id = $1 OR subject_id IN (SELECT id FROM links WHERE user_id = $1))
         ORDER BY hour, subject_id",
    ),
    (
        "mails",
        "SELECT id, kind, created_at, done_at, dead_at, attempts FROM outbox
         WHERE queue = 'mail' AND (payload ->> 'user_id' = $1::text
            OR payload ->> 'verification_id' IN (SELECT id::text FROM email_verifications WHERE user_id = $1)
            OR payload ->> 'registration_id' IN (SELECT id::text FROM pending_registrations WHERE holder_id = $1)
            OR payload ->> 'change_id' IN (SELECT id::text FROM email_changes WHERE user_id = $1)
            OR payload ->> 'rename_id' IN (SELECT id::text FROM username_changes WHERE user_id = $1)
            OR payload ->> 'reset_id' IN (SELECT id::text FROM password_resets WHERE user_id = $1)
            OR payload ->> 'identity_id' IN (SELECT id::text FROM identities WHERE user_id = $1)
            OR payload ->> 'session_id' IN (SELECT id::text FROM sessions WHERE user_id = $1))
         ORDER BY created_at",
    ),
];

#[derive(QueryableByName)]
struct Section {
    #[diesel(sql_type = Jsonb)]
    rows: Value,
}

/// The rows of a section, as an array of objects.
pub(super) async fn read(tx: &mut Tx, sql: &str, user_id: Uuid) -> QueryResult<Value> {
    let wrapped = format!("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') AS rows FROM ({sql}) t");
    let section: Section = sql_query(wrapped).bind::<SqlUuid, _>(user_id).get_result(&mut **tx).await?;
    Ok(section.rows)
}
