//! The invariants themselves: each a rule, and the query for what breaks it.
//!
//! A query reads each table a few times from end to end and joins by hashes: at millions of entries that is faster than
//! asking an index for each.

use super::Invariant;

/// The invariants, in their order.
pub const INVARIANTS: [Invariant; 9] = [
    Invariant {
        id: "L1",
        rule: "a balance is the sum of its entries",
        query: "SELECT format('user %s %s: balance %s, entries %s', user_id, kind, coalesce(b.amount, 0), coalesce(e.amount, 0))
                FROM balances b
                FULL JOIN (SELECT user_id, kind, sum(amount) AS amount FROM ledger_entries GROUP BY 1, 2) e
                    USING (user_id, kind)
                WHERE coalesce(b.amount, 0) <> coalesce(e.amount, 0)",
    },
    Invariant {
        id: "L2",
        rule: "entries are append-only",
        query: "SELECT format('trigger %s on ledger_entries is missing or off', name)
                FROM unnest(ARRAY['ledger_entries_append_only', 'ledger_entries_no_truncate']) AS wanted (name)
                WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = name AND tgenabled IN ('O', 'A')
                                  AND tgrelid = 'ledger_entries'::regclass)",
    },
    Invariant {
        id: "L3",
        rule: "one grant for a referral, side, rule and kind; one that stands for a milestone; one spend for a user and key",
        query: "SELECT format('referral %s %s rule %s %s: %s grants', referral_id, beneficiary, rule_id, reward_type, count(*))
                FROM rewards GROUP BY referral_id, beneficiary, rule_id, reward_type HAVING count(*) > 1
                UNION ALL
                SELECT format('user %s %s milestone %s %s: %s grants', user_id, beneficiary, milestone, reward_type, count(*))
                FROM rewards WHERE milestone IS NOT NULL AND shortfall IS DISTINCT FROM 0
                GROUP BY user_id, beneficiary, milestone, reward_type HAVING count(*) > 1
                UNION ALL
                SELECT format('user %s: %s redemptions by one key', user_id, count(*))
                FROM redemptions GROUP BY user_id, idempotency_key HAVING count(*) > 1
                UNION ALL
                SELECT format('user %s: %s adjustments by one key', user_id, count(*))
                FROM ledger_entries WHERE idempotency_key IS NOT NULL GROUP BY user_id, idempotency_key HAVING count(*) > 1",
    },
    Invariant {
        id: "L4",
        rule: "no balance is below zero",
        query: "SELECT format('user %s %s: %s', user_id, kind, amount) FROM balances WHERE amount < 0
                UNION ALL
                SELECT format('entry %s leaves %s', id, balance_after) FROM ledger_entries WHERE balance_after < 0",
    },
    Invariant {
        id: "L5",
        rule: "every entry names its cause, and is of the cause's user, kind and amount",
        query: "SELECT format('entry %s is of no such grant', e.id)
                FROM ledger_entries e LEFT JOIN rewards r ON r.id = e.reward_id
                WHERE e.cause = 'referral' AND (r.id IS NULL OR r.user_id <> e.user_id OR r.reward_type <> e.kind
                    OR e.amount <> CASE r.reward_type WHEN 'discount' THEN 1 ELSE r.amount END)
                UNION ALL
                SELECT format('entry %s is of no such redemption', e.id)
                FROM ledger_entries e LEFT JOIN redemptions r ON r.id = e.redemption_id
                WHERE e.cause = 'redemption' AND (r.id IS NULL OR r.user_id <> e.user_id
                    OR e.kind NOT IN ('credits', r.reward_type)
                    OR e.amount <> CASE e.kind WHEN 'credits' THEN -r.cost WHEN 'discount' THEN 1 ELSE r.amount END)
                UNION ALL
                SELECT format('entry %s reverses no such grant', e.id)
                FROM ledger_entries e LEFT JOIN ledger_entries g ON g.id = e.reverses_id
                WHERE e.cause = 'reversal' AND (g.id IS NULL OR g.cause <> 'referral' OR g.user_id <> e.user_id OR g.kind <> e.kind)
                UNION ALL
                SELECT format('entry %s has no reason', id)
                FROM ledger_entries WHERE cause = 'admin' AND (coalesce(reason, '') = '' OR idempotency_key IS NULL)
                UNION ALL
                SELECT format('entry %s is a forfeit of nobody who left', e.id)
                FROM ledger_entries e JOIN users u ON u.id = e.user_id WHERE e.cause = 'forfeit' AND u.deleted_at IS NULL
                UNION ALL
                SELECT format('entry %s has the unknown cause %s', id, cause) FROM ledger_entries
                WHERE cause NOT IN ('referral', 'redemption', 'reversal', 'admin', 'forfeit')",
    },
    Invariant {
        id: "L6",
        rule: "a grant is taken back once, never by more than it was, and when its referral was reversed",
        query: "SELECT format('grant %s of %s: %s taken back %s times, %s short', g.reward_id, g.amount, r.taken, r.times, r.short)
                FROM ledger_entries g
                JOIN (SELECT reverses_id, -sum(amount) AS taken, sum(shortfall) AS short, count(*) AS times
                      FROM ledger_entries WHERE cause = 'reversal' GROUP BY 1) r ON r.reverses_id = g.id
                WHERE r.times > 1 OR r.taken > g.amount OR r.taken + r.short <> g.amount
                UNION ALL
                SELECT format('grant %s of referral %s, which is %s, %s', r.id, f.id, f.status,
                    CASE WHEN r.reversed_at IS NULL THEN 'stands' ELSE 'was taken back' END)
                FROM rewards r JOIN referrals f ON f.id = r.referral_id
                WHERE (r.reversed_at IS NOT NULL) <> (f.status = 'reversed')
                UNION ALL
                SELECT format('grant %s was taken back with no such entry', r.id) FROM rewards r
                WHERE r.reversed_at IS NOT NULL AND NOT EXISTS
                    (SELECT FROM ledger_entries g JOIN ledger_entries e ON e.reverses_id = g.id
                     WHERE g.reward_id = r.id AND e.shortfall = r.shortfall)",
    },
    // Grants are numbered in the order of the rule's versions: of one referrer, none is made by an older version after
    // one by a newer.
    Invariant {
        id: "L7",
        rule: "grants for a referrer never exceed the caps of their rule, by month and in all, and are tallied",
        query: "SELECT format('referrer %s rule %s: grant %s is number %s of %s and %s of %s in the month', referrer_id, key,
                    id, number, coalesce(max_total::text, 'any'), number_in_month, coalesce(max_per_month::text, 'any'))
                FROM (SELECT f.referrer_id, k.key, r.id, k.max_total, k.max_per_month,
                             row_number() OVER (PARTITION BY f.referrer_id, k.key ORDER BY k.version, r.id) AS number,
                             row_number() OVER (PARTITION BY f.referrer_id, k.key, date_trunc('month', r.date_earned AT TIME ZONE 'UTC')
                                                ORDER BY k.version, r.id) AS number_in_month
                      FROM reward_rules k JOIN rewards r ON r.rule_id = k.id JOIN referrals f ON f.id = r.referral_id
                      WHERE k.key IN (SELECT key FROM reward_rules WHERE max_total IS NOT NULL OR max_per_month IS NOT NULL)) g
                WHERE number > max_total OR number_in_month > max_per_month
                UNION ALL
                SELECT format('referrer %s rule %s month %s: tallied %s, granted %s', referrer_id, rule_key, month,
                    coalesce(t.granted, 0), coalesce(g.granted, 0))
                FROM reward_tallies t
                FULL JOIN (SELECT referrer_id, key AS rule_key, month, sum(granted) AS granted
                           FROM (SELECT f.referrer_id, r.rule_id, date_trunc('month', r.date_earned AT TIME ZONE 'UTC')::date AS month,
                                        count(*) AS granted
                                 FROM rewards r JOIN referrals f ON f.id = r.referral_id GROUP BY 1, 2, 3) of_version
                           JOIN reward_rules k ON k.id = of_version.rule_id GROUP BY 1, 2, 3) g
                    USING (referrer_id, rule_key, month)
                WHERE coalesce(t.granted, 0) <> coalesce(g.granted, 0)",
    },
    Invariant {
        id: "L8",
        rule: "the counters equal the counts",
        query: "SELECT format('referrer %s: counted %s, rows %s', user_id, to_json(c), coalesce(to_json(r), '{}'))
                FROM referral_counters c
                FULL JOIN (SELECT referrer_id AS user_id,
                        count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'review') AS review,
                        count(*) FILTER (WHERE status = 'successful') AS successful, count(*) FILTER (WHERE status = 'rejected') AS rejected,
                        count(*) FILTER (WHERE status = 'expired') AS expired, count(*) FILTER (WHERE status = 'reversed') AS reversed
                      FROM referrals GROUP BY 1) r USING (user_id)
                WHERE c.pending IS NULL OR c.pending <> coalesce(r.pending, 0) OR c.review <> coalesce(r.review, 0)
                   OR c.successful <> coalesce(r.successful, 0) OR c.rejected <> coalesce(r.rejected, 0)
                   OR c.expired <> coalesce(r.expired, 0) OR c.reversed <> coalesce(r.reversed, 0)
                UNION ALL
                SELECT format('referrer %s on %s: counted %s registrations and %s that count, rows %s and %s', user_id, day,
                        coalesce(d.registrations, 0), coalesce(d.successful, 0), coalesce(r.registrations, 0), coalesce(r.successful, 0))
                FROM referral_days d
                FULL JOIN (SELECT user_id, day, sum(registrations) AS registrations, sum(successful) AS successful
                      FROM (SELECT referrer_id AS user_id, (date_referred AT TIME ZONE 'UTC')::date AS day,
                                1 AS registrations, 0 AS successful FROM referrals
                            UNION ALL
                            SELECT referrer_id, (settled_at AT TIME ZONE 'UTC')::date, 0, 1
                            FROM referrals WHERE status = 'successful') AS moves
                      GROUP BY 1, 2) r USING (user_id, day)
                WHERE coalesce(d.registrations, 0) <> coalesce(r.registrations, 0)
                   OR coalesce(d.successful, 0) <> coalesce(r.successful, 0)",
    },
    Invariant {
        id: "L9",
        rule: "a successful referral has a decision for both sides; a grant and a redemption have their entries; nothing else was granted",
        query: "SELECT format('referral %s has no decision for the %s', f.id, side)
                FROM referrals f CROSS JOIN (VALUES ('referrer'), ('referred')) AS sides (side)
                WHERE f.status = 'successful' AND NOT EXISTS
                    (SELECT FROM reward_decisions d WHERE d.referral_id = f.id AND d.beneficiary = side)
                UNION ALL
                SELECT format('grant %s has no entry', d.reward_id) FROM reward_decisions d
                WHERE d.decision = 'granted' AND NOT EXISTS
                    (SELECT FROM ledger_entries e WHERE e.reward_id = d.reward_id)
                UNION ALL
                SELECT format('grant %s has %s entries', reward_id, count(*)) FROM ledger_entries
                WHERE reward_id IS NOT NULL GROUP BY reward_id HAVING count(*) > 1
                UNION ALL
                SELECT format('reward %s has no decision', r.id) FROM rewards r
                WHERE NOT EXISTS (SELECT FROM reward_decisions d WHERE d.reward_id = r.id)
                UNION ALL
                SELECT format('decision %s is of a referral that never succeeded', d.id)
                FROM reward_decisions d JOIN referrals f ON f.id = d.referral_id
                WHERE f.status NOT IN ('successful', 'reversed')
                UNION ALL
                SELECT format('redemption %s has %s entries', r.id, coalesce(e.entries, 0)) FROM redemptions r
                LEFT JOIN (SELECT redemption_id, count(*) AS entries FROM ledger_entries
                           WHERE redemption_id IS NOT NULL GROUP BY 1) e ON e.redemption_id = r.id
                WHERE coalesce(e.entries, 0) <> 2
                UNION ALL
                SELECT format('%s %s has no period', source, id)
                FROM (SELECT 'grant' AS source, id FROM rewards WHERE reward_type = 'premium'
                      UNION ALL SELECT 'redemption', id FROM redemptions WHERE reward_type = 'premium') bought
                WHERE NOT EXISTS (SELECT FROM premium_periods p WHERE coalesce(p.reward_id, p.redemption_id) = bought.id)
                UNION ALL
                SELECT format('%s %s has no coupon', source, id)
                FROM (SELECT 'grant' AS source, id FROM rewards WHERE reward_type = 'discount'
                      UNION ALL SELECT 'redemption', id FROM redemptions WHERE reward_type = 'discount') bought
                WHERE NOT EXISTS (SELECT FROM discounts c WHERE coalesce(c.reward_id, c.redemption_id) = bought.id)",
    },
];
