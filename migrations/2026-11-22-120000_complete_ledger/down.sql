-- Refused by the constraints once there are redemptions, reversals or adjustments: they cannot be told in the old books.
ALTER TABLE discounts
    DROP CONSTRAINT discounts_pkey,
    DROP COLUMN id,
    DROP COLUMN redemption_id,
    DROP COLUMN redeemed_order,
    DROP COLUMN voided_at,
    DROP CONSTRAINT discounts_reward_id_key,
    ADD PRIMARY KEY (reward_id);
ALTER TABLE premium_periods
    DROP CONSTRAINT premium_periods_pkey,
    DROP CONSTRAINT premium_periods_check,
    DROP COLUMN id,
    DROP COLUMN redemption_id,
    DROP COLUMN reversed_at,
    DROP CONSTRAINT premium_periods_reward_id_key,
    ADD CONSTRAINT premium_periods_check CHECK (starts_at < ends_at),
    ADD PRIMARY KEY (reward_id);
ALTER TABLE ledger_entries
    DROP COLUMN redemption_id,
    DROP COLUMN reverses_id,
    DROP COLUMN shortfall,
    DROP COLUMN reason,
    DROP COLUMN actor_id,
    DROP COLUMN idempotency_key,
    DROP CONSTRAINT ledger_entries_cause_check,
    DROP CONSTRAINT ledger_entries_amount_check,
    ADD CONSTRAINT ledger_entries_cause_check CHECK (cause IN ('referral', 'forfeit')),
    ADD CONSTRAINT ledger_entries_amount_check CHECK (amount <> 0);
DROP INDEX rewards_milestone;
ALTER TABLE rewards DROP COLUMN reversed_at, DROP COLUMN shortfall;
CREATE UNIQUE INDEX rewards_milestone ON rewards (user_id, milestone, reward_type) WHERE milestone IS NOT NULL;
DROP TABLE redemptions;
DROP TABLE reward_catalog;
