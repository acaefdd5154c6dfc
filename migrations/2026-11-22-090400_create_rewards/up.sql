-- What a successful referral earns. A change is a new row with the next version; a grant refers to the row it was made by.
CREATE TABLE reward_rules (
    id uuid PRIMARY KEY,
    key text NOT NULL,
    version integer NOT NULL,
    -- NULL: for every successful referral. n: once, when the n-th succeeds.
    milestone integer CHECK (milestone > 0),
    beneficiary text NOT NULL CHECK (beneficiary IN ('referrer', 'referred')),
    reward_type text NOT NULL CHECK (reward_type IN ('credits', 'premium', 'discount')),
    -- Credits; days of premium; percent of discount.
    amount numeric(18, 2) NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    UNIQUE (key, version),
    CHECK (reward_type <> 'discount' OR amount <= 100),
    CHECK (milestone IS NULL OR beneficiary = 'referrer')
);
CREATE UNIQUE INDEX reward_rules_active ON reward_rules (key) WHERE retired_at IS NULL;

INSERT INTO reward_rules (id, key, version, milestone, beneficiary, reward_type, amount) VALUES
    ('019a0000-0000-7000-8000-000000000001', 'per_referral.referrer.credits', 1, NULL, 'referrer', 'credits', 10.00),
    ('019a0000-0000-7000-8000-000000000002', 'per_referral.referred.credits', 1, NULL, 'referred', 'credits', 5.00),
    ('019a0000-0000-7000-8000-000000000003', 'milestone_5.referrer.premium', 1, 5, 'referrer', 'premium', 30.00),
    ('019a0000-0000-7000-8000-000000000004', 'milestone_10.referrer.discount', 1, 10, 'referrer', 'discount', 20.00);

-- What was granted.
CREATE TABLE rewards (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    reward_type text NOT NULL CHECK (reward_type IN ('credits', 'premium', 'discount')),
    amount numeric(18, 2) NOT NULL CHECK (amount > 0),
    date_earned timestamptz NOT NULL,
    referral_id uuid NOT NULL REFERENCES referrals (id),
    beneficiary text NOT NULL CHECK (beneficiary IN ('referrer', 'referred')),
    rule_id uuid NOT NULL REFERENCES reward_rules (id),
    milestone integer,
    UNIQUE (referral_id, beneficiary, rule_id, reward_type)
);
CREATE INDEX rewards_user ON rewards (user_id, date_earned DESC, id DESC);
-- A milestone is reached once, whichever version of its rule was in force.
CREATE UNIQUE INDEX rewards_milestone ON rewards (user_id, milestone, reward_type) WHERE milestone IS NOT NULL;

-- What was decided for each side of a successful referral, granted or not.
CREATE TABLE reward_decisions (
    id uuid PRIMARY KEY,
    referral_id uuid NOT NULL REFERENCES referrals (id),
    beneficiary text NOT NULL CHECK (beneficiary IN ('referrer', 'referred')),
    user_id uuid NOT NULL REFERENCES users (id),
    -- NULL: no rule was in force for this side.
    rule_id uuid REFERENCES reward_rules (id),
    decision text NOT NULL CHECK (decision IN ('granted', 'capped', 'ineligible')),
    reason text NOT NULL,
    reward_id uuid UNIQUE REFERENCES rewards (id),
    decided_at timestamptz NOT NULL,
    UNIQUE (referral_id, beneficiary, rule_id),
    CHECK ((decision = 'granted') = (reward_id IS NOT NULL)),
    CHECK (decision <> 'granted' OR rule_id IS NOT NULL)
);
CREATE UNIQUE INDEX reward_decisions_no_rule ON reward_decisions (referral_id, beneficiary) WHERE rule_id IS NULL;
CREATE INDEX reward_decisions_user ON reward_decisions (user_id, decided_at DESC, id DESC);

-- The books: credits, days of premium, and coupons, each entry with its cause. Append-only.
CREATE TABLE ledger_entries (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    kind text NOT NULL CHECK (kind IN ('credits', 'premium', 'discount')),
    amount numeric(18, 2) NOT NULL CHECK (amount <> 0),
    balance_after numeric(18, 2) NOT NULL CHECK (balance_after >= 0),
    cause text NOT NULL CHECK (cause IN ('referral', 'forfeit')),
    reward_id uuid UNIQUE REFERENCES rewards (id),
    created_at timestamptz NOT NULL,
    CHECK ((cause = 'referral') = (reward_id IS NOT NULL)),
    CHECK (cause <> 'referral' OR amount > 0),
    CHECK (cause <> 'forfeit' OR amount < 0)
);
CREATE INDEX ledger_entries_user ON ledger_entries (user_id, kind, created_at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The sum of a user's entries of a kind; its row lock orders them.
CREATE TABLE balances (
    user_id uuid NOT NULL REFERENCES users (id),
    kind text NOT NULL CHECK (kind IN ('credits', 'premium', 'discount')),
    amount numeric(18, 2) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (user_id, kind)
);

-- Premium time, back to back.
CREATE TABLE premium_periods (
    reward_id uuid PRIMARY KEY REFERENCES rewards (id),
    user_id uuid NOT NULL REFERENCES users (id),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    CHECK (starts_at < ends_at)
);
CREATE INDEX premium_periods_user ON premium_periods (user_id, ends_at);

-- Coupons.
CREATE TABLE discounts (
    reward_id uuid PRIMARY KEY REFERENCES rewards (id),
    user_id uuid NOT NULL REFERENCES users (id),
    code text NOT NULL UNIQUE,
    percent numeric(5, 2) NOT NULL CHECK (percent > 0 AND percent <= 100),
    created_at timestamptz NOT NULL,
    redeemed_at timestamptz
);
CREATE INDEX discounts_user ON discounts (user_id);
