//! The invariants of the books, each a query that finds what breaks it. All are read from one snapshot.

mod store;

use crate::db::{DbError, Pool, Tx};

/// A property of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// Its number, such as `L1`.
    pub id: &'static str,
    /// What holds.
    pub rule: &'static str,
    /// Finds the rows that break it, each as a text that names it.
    query: &'static str,
}

/// What breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations {
    /// The invariant.
    pub invariant: Invariant,
    /// How many rows break it.
    pub count: i64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// The invariants, in their order. Reversals (L6) and caps (L7) have no rows to break them yet.
pub const INVARIANTS: [Invariant; 7] = [
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
        rule: "one grant for a referral, side, rule and kind; one for a milestone",
        query: "SELECT format('referral %s %s rule %s %s: %s grants', referral_id, beneficiary, rule_id, reward_type, count(*))
                FROM rewards GROUP BY referral_id, beneficiary, rule_id, reward_type HAVING count(*) > 1
                UNION ALL
                SELECT format('user %s milestone %s %s: %s grants', user_id, milestone, reward_type, count(*))
                FROM rewards WHERE milestone IS NOT NULL GROUP BY user_id, milestone, reward_type HAVING count(*) > 1",
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
        rule: "every entry names its cause, and is of the cause's user and kind",
        query: "SELECT format('entry %s', e.id) FROM ledger_entries e LEFT JOIN rewards r ON r.id = e.reward_id
                WHERE (e.cause = 'referral' AND (r.id IS NULL OR r.user_id <> e.user_id OR r.reward_type <> e.kind))
                   OR (e.cause = 'forfeit' AND NOT EXISTS
                       (SELECT FROM users u WHERE u.id = e.user_id AND u.deleted_at IS NOT NULL))",
    },
    Invariant {
        id: "L8",
        rule: "the counters equal the counts",
        query: "SELECT format('referrer %s: counted %s, rows %s', user_id, c.counted, coalesce(r.rows, '[0, 0, 0, 0, 0, 0]'))
                FROM (SELECT user_id, to_jsonb(ARRAY[pending, review, successful, rejected, expired, reversed]) AS counted
                      FROM referral_counters) c
                FULL JOIN (SELECT referrer_id AS user_id, to_jsonb(ARRAY[
                        count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'review'),
                        count(*) FILTER (WHERE status = 'successful'), count(*) FILTER (WHERE status = 'rejected'),
                        count(*) FILTER (WHERE status = 'expired'), count(*) FILTER (WHERE status = 'reversed')]) AS rows
                      FROM referrals GROUP BY 1) r USING (user_id)
                WHERE c.counted IS DISTINCT FROM coalesce(r.rows, '[0, 0, 0, 0, 0, 0]')",
    },
    Invariant {
        id: "L9",
        rule: "a successful referral has a decision for both sides, a grant has one entry, and nothing else was granted",
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
                WHERE f.status NOT IN ('successful', 'reversed')",
    },
];

/// Checks every invariant and returns those that are broken. `checked` hears of each as it is done.
pub async fn check_ledger(
    pool: &Pool,
    mut checked: impl FnMut(&Invariant, Option<&Violations>),
) -> Result<Vec<Violations>, DbError> {
    let mut broken = Vec::new();
    let mut tx = Tx::snapshot(pool).await?;
    store::take_time(&mut tx).await?;
    for invariant in &INVARIANTS {
        let (count, examples) = store::find(&mut tx, invariant.query).await?;
        let violations = (count > 0).then_some(Violations { invariant: *invariant, count, examples });
        checked(invariant, violations.as_ref());
        broken.extend(violations);
    }
    tx.commit().await?;
    Ok(broken)
}
