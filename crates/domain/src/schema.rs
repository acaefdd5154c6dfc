//! The tables, as the queries see them. Written by hand beside `migrations/`; a test compares the two.

diesel::table! {
    users (id) {
        id -> Uuid,
        username -> Text,
        username_key -> Text,
        email -> Text,
        email_verified_at -> Nullable<Timestamptz>,
        password_hash -> Nullable<Text>,
        password_changed_at -> Nullable<Timestamptz>,
        role -> Text,
        session_epoch -> Integer,
        referral_code -> Text,
        referred_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        blocked_at -> Nullable<Timestamptz>,
        deleted_at -> Nullable<Timestamptz>,
        leaderboard -> Bool,
        email_bounced_at -> Nullable<Timestamptz>,
        blocked_reason -> Nullable<Text>,
    }
}

diesel::table! {
    deletion_notices (id) {
        id -> Uuid,
        sealed -> Binary,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    deleted_identities (email_hash) {
        email_hash -> Binary,
        deleted_at -> Timestamptz,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        user_id -> Uuid,
        epoch -> Integer,
        created_at -> Timestamptz,
        last_seen_at -> Timestamptz,
        expires_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        end_reason -> Nullable<Text>,
        user_agent -> Text,
        ip_prefix -> Text,
    }
}

diesel::table! {
    refresh_tokens (id) {
        id -> Uuid,
        session_id -> Uuid,
        parent_id -> Nullable<Uuid>,
        token_hash -> Binary,
        created_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    email_verifications (id) {
        id -> Uuid,
        user_id -> Uuid,
        email -> Text,
        token_hash -> Nullable<Binary>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        repeats_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    password_resets (id) {
        id -> Uuid,
        email -> Nullable<Text>,
        user_id -> Nullable<Uuid>,
        token_hash -> Nullable<Binary>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        closed_at -> Nullable<Timestamptz>,
        repeats_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    pending_registrations (id) {
        id -> Uuid,
        email -> Nullable<Text>,
        address_hash -> Binary,
        holder_id -> Nullable<Uuid>,
        username -> Text,
        username_key -> Text,
        reserves -> Bool,
        token_hash -> Nullable<Binary>,
        evidence -> Jsonb,
        ip_hash -> Nullable<Binary>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        mailed_at -> Nullable<Timestamptz>,
        closed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    registration_keys (key_hash) {
        key_hash -> Binary,
        request_hash -> Binary,
        user_id -> Uuid,
        referral_status -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    email_changes (id) {
        id -> Uuid,
        user_id -> Uuid,
        session_id -> Uuid,
        new_email -> Nullable<Text>,
        old_email -> Text,
        address_hash -> Binary,
        holder_id -> Nullable<Uuid>,
        token_hash -> Nullable<Binary>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        mailed_at -> Nullable<Timestamptz>,
        applied_at -> Nullable<Timestamptz>,
        closed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    former_identities (user_id, email_hash) {
        user_id -> Uuid,
        email_hash -> Binary,
        since -> Timestamptz,
    }
}

diesel::table! {
    referrals (id) {
        id -> Uuid,
        referrer_id -> Uuid,
        referred_user_id -> Uuid,
        date_referred -> Timestamptz,
        status -> Text,
        reason -> Text,
        qualifies_at -> Timestamptz,
        settled_at -> Nullable<Timestamptz>,
        network -> Nullable<Binary>,
        assessment -> Nullable<Jsonb>,
        cleared_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    referral_counters (user_id) {
        user_id -> Uuid,
        pending -> BigInt,
        review -> BigInt,
        successful -> BigInt,
        rejected -> BigInt,
        expired -> BigInt,
        reversed -> BigInt,
        version -> BigInt,
    }
}

diesel::table! {
    referral_days (user_id, day) {
        user_id -> Uuid,
        day -> Date,
        visits -> BigInt,
        registrations -> BigInt,
        successful -> BigInt,
    }
}

diesel::table! {
    reward_rules (id) {
        id -> Uuid,
        key -> Text,
        version -> Integer,
        milestone -> Nullable<Integer>,
        beneficiary -> Text,
        reward_type -> Text,
        amount -> Numeric,
        created_at -> Timestamptz,
        retired_at -> Nullable<Timestamptz>,
        campaign -> Nullable<Text>,
        max_per_month -> Nullable<Integer>,
        max_total -> Nullable<Integer>,
        starts_at -> Nullable<Timestamptz>,
        ends_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    reward_rule_sets (version) {
        version -> Integer,
        changed_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    reward_tallies (referrer_id, rule_key, month) {
        referrer_id -> Uuid,
        rule_key -> Text,
        month -> Date,
        granted -> BigInt,
    }
}

diesel::table! {
    reward_catalog (option) {
        option -> Text,
        title -> Text,
        cost -> Numeric,
        reward_type -> Text,
        amount -> Numeric,
        position -> Integer,
        available -> Bool,
    }
}

diesel::table! {
    redemptions (id) {
        id -> Uuid,
        user_id -> Uuid,
        idempotency_key -> Text,
        option -> Text,
        cost -> Numeric,
        reward_type -> Text,
        amount -> Numeric,
        credits_left -> Numeric,
        premium_until -> Nullable<Timestamptz>,
        code -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    rewards (id) {
        id -> Uuid,
        user_id -> Uuid,
        reward_type -> Text,
        amount -> Numeric,
        date_earned -> Timestamptz,
        referral_id -> Uuid,
        beneficiary -> Text,
        rule_id -> Uuid,
        milestone -> Nullable<Integer>,
        reversed_at -> Nullable<Timestamptz>,
        shortfall -> Nullable<Numeric>,
    }
}

diesel::table! {
    reward_decisions (id) {
        id -> Uuid,
        referral_id -> Uuid,
        beneficiary -> Text,
        user_id -> Uuid,
        rule_id -> Nullable<Uuid>,
        decision -> Text,
        reason -> Text,
        reward_id -> Nullable<Uuid>,
        decided_at -> Timestamptz,
    }
}

diesel::table! {
    ledger_entries (id) {
        id -> Uuid,
        user_id -> Uuid,
        kind -> Text,
        amount -> Numeric,
        balance_after -> Numeric,
        cause -> Text,
        reward_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        redemption_id -> Nullable<Uuid>,
        reverses_id -> Nullable<Uuid>,
        shortfall -> Nullable<Numeric>,
        reason -> Nullable<Text>,
        actor_id -> Nullable<Uuid>,
        idempotency_key -> Nullable<Text>,
    }
}

diesel::table! {
    balances (user_id, kind) {
        user_id -> Uuid,
        kind -> Text,
        amount -> Numeric,
    }
}

diesel::table! {
    premium_periods (id) {
        reward_id -> Nullable<Uuid>,
        user_id -> Uuid,
        starts_at -> Timestamptz,
        ends_at -> Timestamptz,
        id -> Uuid,
        redemption_id -> Nullable<Uuid>,
        reversed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    discounts (id) {
        reward_id -> Nullable<Uuid>,
        user_id -> Uuid,
        code -> Text,
        percent -> Numeric,
        created_at -> Timestamptz,
        redeemed_at -> Nullable<Timestamptz>,
        id -> Uuid,
        redemption_id -> Nullable<Uuid>,
        redeemed_order -> Nullable<Text>,
        voided_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    totp_factors (id) {
        id -> Uuid,
        user_id -> Uuid,
        sealed_secret -> Binary,
        created_at -> Timestamptz,
        confirmed_at -> Nullable<Timestamptz>,
        last_step -> Nullable<BigInt>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    recovery_codes (code_hash) {
        code_hash -> Binary,
        user_id -> Uuid,
        created_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    outbox (id) {
        id -> Uuid,
        queue -> Text,
        kind -> Text,
        version -> SmallInt,
        payload -> Jsonb,
        dedupe_key -> Nullable<Text>,
        request_id -> Nullable<Text>,
        created_at -> Timestamptz,
        due_at -> Timestamptz,
        generation -> Integer,
        leased_until -> Nullable<Timestamptz>,
        lease_token -> Nullable<Uuid>,
        attempts -> SmallInt,
        done_at -> Nullable<Timestamptz>,
        dead_at -> Nullable<Timestamptz>,
        last_error -> Nullable<Text>,
    }
}

diesel::table! {
    webhook_endpoints (id) {
        id -> Uuid,
        url -> Text,
        description -> Text,
        events -> Array<Text>,
        sealed_secret -> Binary,
        previous_secret -> Nullable<Binary>,
        previous_until -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        disabled_at -> Nullable<Timestamptz>,
        disabled_reason -> Nullable<Text>,
        failing_since -> Nullable<Timestamptz>,
        failures -> Integer,
        retry_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    webhook_deliveries (id) {
        id -> Uuid,
        endpoint_id -> Uuid,
        event_id -> Uuid,
        event -> Text,
        body -> Text,
        created_at -> Timestamptz,
        attempts -> Integer,
        last_attempt_at -> Nullable<Timestamptz>,
        last_status -> Nullable<SmallInt>,
        last_error -> Nullable<Text>,
        delivered_at -> Nullable<Timestamptz>,
        failed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    security_events (id) {
        id -> Uuid,
        user_id -> Nullable<Uuid>,
        actor -> Text,
        actor_id -> Nullable<Uuid>,
        event -> Text,
        subject_id -> Nullable<Uuid>,
        reason -> Nullable<Text>,
        ip_hash -> Nullable<Binary>,
        request_id -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    identities (id) {
        id -> Uuid,
        user_id -> Uuid,
        provider -> Text,
        issuer -> Text,
        subject -> Text,
        email -> Nullable<Text>,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    spent_states (state_hash) {
        state_hash -> Binary,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    profiles (user_id) {
        user_id -> Uuid,
        display_name -> Text,
        bio -> Text,
        theme -> Text,
        listed -> Bool,
        social -> Jsonb,
        avatar -> Nullable<Binary>,
        version -> BigInt,
        updated_at -> Timestamptz,
        disabled_at -> Nullable<Timestamptz>,
        disabled_reason -> Nullable<Text>,
    }
}

diesel::table! {
    avatars (user_id) {
        user_id -> Uuid,
        digest -> Binary,
        content_type -> Text,
        body -> Binary,
    }
}

diesel::table! {
    links (id) {
        id -> Uuid,
        user_id -> Uuid,
        kind -> Text,
        title -> Text,
        url -> Nullable<Text>,
        thumbnail -> Nullable<Binary>,
        enabled -> Bool,
        visible_from -> Nullable<Timestamptz>,
        visible_until -> Nullable<Timestamptz>,
        pinned -> Bool,
        highlighted -> Bool,
        position -> Integer,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        disabled_at -> Nullable<Timestamptz>,
        disabled_reason -> Nullable<Text>,
        request_key -> Nullable<Text>,
        request_hash -> Nullable<Binary>,
    }
}

diesel::table! {
    thumbnails (link_id) {
        link_id -> Uuid,
        digest -> Binary,
        content_type -> Text,
        body -> Binary,
    }
}

diesel::table! {
    click_hours (subject_id, dimension, hour, value) {
        subject_id -> Uuid,
        dimension -> SmallInt,
        hour -> Timestamptz,
        value -> Text,
        clicks -> Integer,
        unique_clicks -> Integer,
        robot_clicks -> Integer,
        own_clicks -> Integer,
        views -> Integer,
        unique_views -> Integer,
        robot_views -> Integer,
        own_views -> Integer,
    }
}

diesel::table! {
    click_visitors (day, visitor) {
        day -> Date,
        visitor -> Binary,
    }
}

diesel::table! {
    click_salts (day) {
        day -> Date,
        salt -> Binary,
    }
}

diesel::table! {
    click_batches (id) {
        id -> Uuid,
        counted_at -> Timestamptz,
    }
}

diesel::table! {
    click_rollup (single) {
        single -> Bool,
        batches -> BigInt,
        counted_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    page_reports (id) {
        id -> Uuid,
        user_id -> Uuid,
        reason -> Text,
        detail -> Nullable<Text>,
        network -> Nullable<Binary>,
        created_at -> Timestamptz,
        settled_at -> Nullable<Timestamptz>,
        outcome -> Nullable<Text>,
    }
}

diesel::table! {
    blocked_domains (domain) {
        domain -> Text,
        id -> Uuid,
        reason -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    usernames (username_key) {
        username_key -> Text,
        user_id -> Uuid,
    }
}

diesel::table! {
    username_changes (id) {
        id -> Uuid,
        user_id -> Uuid,
        old_username -> Text,
        new_username -> Text,
        changed_at -> Timestamptz,
    }
}

diesel::define_sql_function! {
    /// Whether an address leads to a blocked host, or to one below it.
    fn is_blocked_url(url: diesel::sql_types::Nullable<diesel::sql_types::Text>) -> diesel::sql_types::Bool;
}

diesel::joinable!(page_reports -> users (user_id));
diesel::joinable!(referral_counters -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(webhook_deliveries -> webhook_endpoints (endpoint_id));

diesel::allow_tables_to_appear_in_same_query!(
    users,
    deleted_identities,
    sessions,
    refresh_tokens,
    email_verifications,
    password_resets,
    pending_registrations,
    email_changes,
    former_identities,
    referrals,
    registration_keys,
    referral_counters,
    referral_days,
    reward_rules,
    reward_rule_sets,
    reward_tallies,
    reward_catalog,
    redemptions,
    rewards,
    reward_decisions,
    ledger_entries,
    balances,
    premium_periods,
    discounts,
    totp_factors,
    recovery_codes,
    outbox,
    webhook_endpoints,
    webhook_deliveries,
    security_events,
    identities,
    spent_states,
    profiles,
    avatars,
    links,
    thumbnails,
    click_hours,
    click_visitors,
    click_salts,
    click_batches,
    click_rollup,
    page_reports,
    blocked_domains,
    usernames,
    username_changes,
);
