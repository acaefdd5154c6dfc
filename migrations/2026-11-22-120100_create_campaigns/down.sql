DROP TABLE reward_tallies;
DROP TABLE reward_rule_sets;
DROP INDEX reward_rules_milestones;
ALTER TABLE reward_rules
    DROP COLUMN campaign,
    DROP COLUMN max_per_month,
    DROP COLUMN max_total,
    DROP COLUMN starts_at,
    DROP COLUMN ends_at,
    DROP CONSTRAINT reward_rules_whole_days,
    ADD CONSTRAINT reward_rules_check1 CHECK (milestone IS NULL OR beneficiary = 'referrer');
