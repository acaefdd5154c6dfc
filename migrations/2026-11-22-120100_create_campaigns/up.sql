-- Rules with caps, and rules that are in force for a time.
ALTER TABLE reward_rules
    DROP CONSTRAINT reward_rules_check1,
    -- Tells a rule from the standing one of the same trigger, side and kind.
    ADD COLUMN campaign text CHECK (campaign ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    -- Grants by this rule for the referrals of one referrer, in a calendar month (UTC) and in all. NULL: no cap.
    ADD COLUMN max_per_month integer CHECK (max_per_month > 0),
    ADD COLUMN max_total integer CHECK (max_total > 0),
    ADD COLUMN starts_at timestamptz,
    ADD COLUMN ends_at timestamptz,
    ADD CONSTRAINT reward_rules_dates CHECK (starts_at < ends_at),
    ADD CONSTRAINT reward_rules_milestone_cap
        CHECK (milestone IS NULL OR (max_per_month IS NULL AND max_total IS NULL)),
    ADD CONSTRAINT reward_rules_whole_days CHECK (reward_type <> 'premium' OR amount = trunc(amount));
-- A milestone gives one reward of a kind to a side, whatever the campaign.
CREATE UNIQUE INDEX reward_rules_milestones ON reward_rules (milestone, beneficiary, reward_type)
    WHERE retired_at IS NULL AND milestone IS NOT NULL;

-- Each replacement of the rules. Its key decides between two managers who edit at once.
CREATE TABLE reward_rule_sets (
    version integer PRIMARY KEY CHECK (version > 0),
    -- NULL: shipped, or made at the command line.
    changed_by uuid REFERENCES users (id),
    created_at timestamptz NOT NULL
);
INSERT INTO reward_rule_sets (version, created_at) VALUES (1, now());

-- How often a rule (by its key, whatever the version) was granted for a referrer's referrals. The lock on the referrer's
-- counters orders the changes.
CREATE TABLE reward_tallies (
    referrer_id uuid NOT NULL REFERENCES users (id),
    rule_key text NOT NULL,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    granted bigint NOT NULL CHECK (granted >= 0),
    PRIMARY KEY (referrer_id, rule_key, month)
);
INSERT INTO reward_tallies (referrer_id, rule_key, month, granted)
    SELECT f.referrer_id, k.key, date_trunc('month', r.date_earned AT TIME ZONE 'UTC')::date, count(*)
    FROM rewards r JOIN referrals f ON f.id = r.referral_id JOIN reward_rules k ON k.id = r.rule_id
    GROUP BY 1, 2, 3;
