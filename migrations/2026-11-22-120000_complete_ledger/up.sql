-- What credits buy. A redemption copies the figures, so a change here touches nothing that was bought.
CREATE TABLE reward_catalog (
    option text PRIMARY KEY CHECK (option ~ '^[a-z0-9_]{1,40}$'),
    title text NOT NULL,
    -- Credits.
    cost numeric(18, 2) NOT NULL CHECK (cost > 0),
    reward_type text NOT NULL CHECK (reward_type IN ('premium', 'discount')),
    -- Days of premium; percent of discount.
    amount numeric(18, 2) NOT NULL CHECK (amount > 0),
    position integer NOT NULL,
    available boolean NOT NULL DEFAULT true,
    CHECK (reward_type <> 'discount' OR amount <= 100),
    CHECK (reward_type <> 'premium' OR amount = trunc(amount))
);
INSERT INTO reward_catalog (option, title, cost, reward_type, amount, position) VALUES
    ('premium_7_days', '7 days of premium', 15.00, 'premium', 7.00, 1),
    ('premium_30_days', '30 days of premium', 50.00, 'premium', 30.00, 2),
    ('discount_10', '10 % discount', 30.00, 'discount', 10.00, 3),
    ('discount_25', '25 % discount', 70.00, 'discount', 25.00, 4);

-- What was bought: one for each user and key, however often it is asked for.
CREATE TABLE redemptions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    idempotency_key text NOT NULL,
    option text NOT NULL,
    cost numeric(18, 2) NOT NULL CHECK (cost > 0),
    reward_type text NOT NULL CHECK (reward_type IN ('premium', 'discount')),
    amount numeric(18, 2) NOT NULL CHECK (amount > 0),
    -- As the first answer had them, for whoever asks again.
    credits_left numeric(18, 2) NOT NULL CHECK (credits_left >= 0),
    premium_until timestamptz,
    code text,
    created_at timestamptz NOT NULL,
    UNIQUE (user_id, idempotency_key)
);

-- A grant whose referral was reversed. What could not be taken back is the shortfall: 0 when all of it was.
ALTER TABLE rewards
    ADD COLUMN reversed_at timestamptz,
    ADD COLUMN shortfall numeric(18, 2) CHECK (shortfall >= 0),
    ADD CONSTRAINT rewards_reversed CHECK ((reversed_at IS NULL) = (shortfall IS NULL));
-- A milestone whose grant was taken back in full may be reached again.
DROP INDEX rewards_milestone;
CREATE UNIQUE INDEX rewards_milestone ON rewards (user_id, milestone, reward_type, beneficiary)
    WHERE milestone IS NOT NULL AND shortfall IS DISTINCT FROM 0;

ALTER TABLE ledger_entries
    DROP CONSTRAINT ledger_entries_cause_check,
    DROP CONSTRAINT ledger_entries_amount_check,
    ADD COLUMN redemption_id uuid REFERENCES redemptions (id),
    -- The entry of the grant that this one takes back.
    ADD COLUMN reverses_id uuid UNIQUE REFERENCES ledger_entries (id),
    -- What was spent of that grant, and could not be taken back.
    ADD COLUMN shortfall numeric(18, 2) CHECK (shortfall >= 0),
    -- Why, in a manager's words.
    ADD COLUMN reason text,
    -- The manager; NULL for whoever holds the command line.
    ADD COLUMN actor_id uuid REFERENCES users (id),
    ADD COLUMN idempotency_key text,
    ADD CONSTRAINT ledger_entries_cause_check
        CHECK (cause IN ('referral', 'redemption', 'reversal', 'admin', 'forfeit')),
    -- A reversal of what was all spent takes nothing, and says so.
    ADD CONSTRAINT ledger_entries_amount_check CHECK (amount <> 0 OR cause = 'reversal'),
    ADD CONSTRAINT ledger_entries_redemption
        CHECK ((cause = 'redemption') = (redemption_id IS NOT NULL)
               AND (cause <> 'redemption' OR (kind = 'credits') = (amount < 0))),
    ADD CONSTRAINT ledger_entries_reversal
        CHECK ((cause = 'reversal') = (reverses_id IS NOT NULL) AND (cause = 'reversal') = (shortfall IS NOT NULL)
               AND (cause <> 'reversal' OR amount <= 0)),
    ADD CONSTRAINT ledger_entries_reason CHECK ((cause IN ('reversal', 'admin')) = (reason IS NOT NULL)),
    ADD CONSTRAINT ledger_entries_admin CHECK ((cause = 'admin') = (idempotency_key IS NOT NULL)
               AND (cause = 'admin' OR actor_id IS NULL) AND (cause <> 'admin' OR kind = 'credits'));
CREATE UNIQUE INDEX ledger_entries_redemption_kind ON ledger_entries (redemption_id, kind) WHERE redemption_id IS NOT NULL;
CREATE UNIQUE INDEX ledger_entries_key ON ledger_entries (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Premium time comes from grants and from redemptions. A reversed period keeps the part that ran, which may be none.
ALTER TABLE premium_periods
    DROP CONSTRAINT premium_periods_pkey,
    DROP CONSTRAINT premium_periods_check,
    ALTER COLUMN reward_id DROP NOT NULL,
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    ADD COLUMN redemption_id uuid UNIQUE REFERENCES redemptions (id),
    ADD COLUMN reversed_at timestamptz,
    ADD CONSTRAINT premium_periods_reward_id_key UNIQUE (reward_id),
    ADD CONSTRAINT premium_periods_source CHECK (num_nonnulls(reward_id, redemption_id) = 1),
    ADD CONSTRAINT premium_periods_check
        CHECK (starts_at < ends_at OR (reversed_at IS NOT NULL AND starts_at = ends_at));

-- So do coupons.
ALTER TABLE discounts
    DROP CONSTRAINT discounts_pkey,
    ALTER COLUMN reward_id DROP NOT NULL,
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    ADD COLUMN redemption_id uuid UNIQUE REFERENCES redemptions (id),
    -- The shop's name for the order that it was used on.
    ADD COLUMN redeemed_order text,
    ADD COLUMN voided_at timestamptz,
    ADD CONSTRAINT discounts_reward_id_key UNIQUE (reward_id),
    ADD CONSTRAINT discounts_source CHECK (num_nonnulls(reward_id, redemption_id) = 1),
    ADD CONSTRAINT discounts_used_or_void CHECK (redeemed_at IS NULL OR voided_at IS NULL),
    ADD CONSTRAINT discounts_order CHECK (redeemed_order IS NULL OR redeemed_at IS NOT NULL);
