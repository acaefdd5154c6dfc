CREATE TEMPORARY TABLE chunk AS
    SELECT u, plan.users, greatest(least(plan.users - 1 - 10 * u, 10), 0) AS children,
           plan.adjustments / plan.users + (u < plan.adjustments % plan.users)::int AS adjustments
    FROM plan, generate_series({from}::bigint, {to}::bigint - 1) AS u;

INSERT INTO users (id, username, username_key, email, email_verified_at, referral_code, referred_by, created_at)
    SELECT pg_temp.id('00000001', u), 'user' || u, 'user' || u, 'user' || u || '@example.org', pg_temp.at(u),
           lpad(u::text, 10, '0'), CASE WHEN u > 0 THEN pg_temp.id('00000001', (u - 1) / 10) END, pg_temp.at(u)
    FROM chunk;

-- Every hundredth referral was reversed, never one that made a milestone.
INSERT INTO referral_counters (user_id, successful, reversed)
    SELECT pg_temp.id('00000001', u), children - (u % 10 = 0 AND children >= 7)::int, (u % 10 = 0 AND children >= 7)::int
    FROM chunk;

INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at, settled_at)
    SELECT pg_temp.id('00000002', u), pg_temp.id('00000001', (u - 1) / 10), pg_temp.id('00000001', u), pg_temp.at(u),
           CASE WHEN u % 100 = 7 THEN 'reversed' ELSE 'successful' END, 'qualified', pg_temp.at(u), pg_temp.at(u)
    FROM chunk WHERE u > 0;

INSERT INTO referral_days (user_id, day, registrations, successful)
    SELECT pg_temp.id('00000001', (u - 1) / 10), (pg_temp.at(u) AT TIME ZONE 'UTC')::date, count(*), count(*) FILTER (WHERE u % 100 <> 7)
    FROM chunk WHERE u > 0 GROUP BY 1, 2
    ON CONFLICT (user_id, day) DO UPDATE SET registrations = referral_days.registrations + excluded.registrations,
                                             successful = referral_days.successful + excluded.successful;

-- The rewards of the referral of u: prefix 10 for the referrer, 11 for u, 12 and 13 for the referrer's milestones.
CREATE TEMPORARY TABLE grants AS
    SELECT side.prefix, u, side.beneficiary, side.reward_type, side.amount, side.milestone, rule.id AS rule_id,
           CASE side.beneficiary WHEN 'referrer' THEN (u - 1) / 10 ELSE u END AS owner,
           u % 100 = 7 AS reversed
    FROM chunk
    JOIN (VALUES ('00000010', 'referrer', 'credits', 10, NULL::int, NULL::bigint),
                 ('00000011', 'referred', 'credits', 5, NULL, NULL),
                 ('00000012', 'referrer', 'premium', 30, 5, 5),
                 ('00000013', 'referrer', 'discount', 20, 10, 0)) AS side (prefix, beneficiary, reward_type, amount, milestone, last)
      ON side.last IS NULL OR u % 10 = side.last
    JOIN reward_rules rule ON rule.beneficiary = side.beneficiary AND rule.reward_type = side.reward_type
        AND rule.milestone IS NOT DISTINCT FROM side.milestone
    WHERE u > 0;

INSERT INTO rewards (id, user_id, reward_type, amount, date_earned, referral_id, beneficiary, rule_id, milestone, reversed_at, shortfall)
    SELECT pg_temp.id(prefix, u), pg_temp.id('00000001', owner), reward_type, amount, pg_temp.at(u), pg_temp.id('00000002', u),
           beneficiary, rule_id, milestone, CASE WHEN reversed THEN pg_temp.at(u) END, CASE WHEN reversed THEN 0 END
    FROM grants;

INSERT INTO reward_decisions (id, referral_id, beneficiary, user_id, rule_id, decision, reason, reward_id, decided_at)
    SELECT pg_temp.id(prefix, u), pg_temp.id('00000002', u), beneficiary, pg_temp.id('00000001', owner), rule_id, 'granted',
           CASE WHEN milestone IS NULL THEN 'referral_successful' ELSE 'milestone_reached' END, pg_temp.id(prefix, u), pg_temp.at(u)
    FROM grants;

INSERT INTO redemptions (id, user_id, idempotency_key, option, cost, reward_type, amount, credits_left, premium_until, created_at)
    SELECT pg_temp.id('00000020', u), pg_temp.id('00000001', u), 'bench', 'premium_30_days', 50, 'premium', 30, 55,
           pg_temp.at(u) + interval '400 days', pg_temp.at(u)
    FROM chunk WHERE children = 10;

-- The entries of user u, in their order: what the own referral gave, what those of the friends gave, what was bought,
-- what was taken back, what managers gave.
CREATE TEMPORARY TABLE entries AS
    SELECT u, 0 AS turn, 'credits' AS kind, 5 AS amount, 'referral' AS cause, pg_temp.id('00000011', u) AS id,
           NULL::uuid AS reverses_id FROM chunk WHERE u > 0
    UNION ALL
    SELECT u, friend, 'credits', 10, 'referral', pg_temp.id('00000010', 10 * u + friend), NULL
    FROM chunk, generate_series(1, children) AS friend
    UNION ALL
    SELECT u, 5, 'premium', 30, 'referral', pg_temp.id('00000012', 10 * u + 5), NULL FROM chunk WHERE children >= 5
    UNION ALL
    SELECT u, 10, 'discount', 1, 'referral', pg_temp.id('00000013', 10 * u + 10), NULL FROM chunk WHERE children = 10
    UNION ALL
    SELECT u, 20, kind, amount, 'redemption', pg_temp.id(prefix, u), NULL
    FROM chunk, (VALUES ('00000021', 'credits', -50), ('00000022', 'premium', 30)) AS side (prefix, kind, amount)
    WHERE children = 10
    UNION ALL
    SELECT u, 30, 'credits', -5, 'reversal', pg_temp.id('00000031', u), pg_temp.id('00000011', u) FROM chunk WHERE u % 100 = 7
    UNION ALL
    SELECT u, 31, 'credits', -10, 'reversal', pg_temp.id('00000030', 10 * u + 7), pg_temp.id('00000010', 10 * u + 7)
    FROM chunk WHERE u % 10 = 0 AND children >= 7
    UNION ALL
    SELECT u, 40 + n, 'credits', 2, 'admin', pg_temp.id('0000004' || to_hex(n % 16), u + users * (n / 16)), NULL
    FROM chunk, generate_series(1, adjustments::int) AS n;

INSERT INTO ledger_entries (id, user_id, kind, amount, balance_after, cause, reward_id, created_at, redemption_id, reverses_id,
                            shortfall, reason, idempotency_key)
    SELECT id, pg_temp.id('00000001', u), kind, amount, sum(amount) OVER (PARTITION BY u, kind ORDER BY turn), cause,
           CASE cause WHEN 'referral' THEN id END, pg_temp.at(u) + turn * interval '1 second',
           CASE cause WHEN 'redemption' THEN pg_temp.id('00000020', u) END, reverses_id,
           CASE cause WHEN 'reversal' THEN 0 END, CASE WHEN cause IN ('reversal', 'admin') THEN 'made by the benchmark' END,
           CASE cause WHEN 'admin' THEN turn::text END
    FROM entries;

INSERT INTO balances (user_id, kind, amount)
    SELECT pg_temp.id('00000001', u), kind, sum(amount) FROM entries GROUP BY u, kind;

INSERT INTO premium_periods (id, reward_id, redemption_id, user_id, starts_at, ends_at)
    SELECT pg_temp.id('00000012', u), pg_temp.id('00000012', u), NULL, pg_temp.id('00000001', owner), pg_temp.at(u),
           pg_temp.at(u) + interval '30 days'
    FROM grants WHERE reward_type = 'premium'
    UNION ALL
    SELECT pg_temp.id('00000020', u), NULL, pg_temp.id('00000020', u), pg_temp.id('00000001', u),
           pg_temp.at(u) + interval '370 days', pg_temp.at(u) + interval '400 days'
    FROM chunk WHERE children = 10;

INSERT INTO discounts (id, reward_id, user_id, code, percent, created_at)
    SELECT pg_temp.id('00000013', u), pg_temp.id('00000013', u), pg_temp.id('00000001', owner), 'BENCH-' || u, 20, pg_temp.at(u)
    FROM grants WHERE reward_type = 'discount';

INSERT INTO reward_tallies (referrer_id, rule_key, month, granted)
    SELECT pg_temp.id('00000001', (u - 1) / 10), rule.key, date_trunc('month', pg_temp.at(u) AT TIME ZONE 'UTC')::date, count(*)
    FROM grants JOIN reward_rules rule ON rule.id = rule_id GROUP BY (u - 1) / 10, 2, 3
    ON CONFLICT (referrer_id, rule_key, month) DO UPDATE SET granted = reward_tallies.granted + excluded.granted;

DROP TABLE chunk, grants, entries;
