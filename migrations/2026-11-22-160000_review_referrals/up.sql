-- What speaks against a referral, and who decided about it.
ALTER TABLE referrals
    -- Keyed hash of the network of the registration; NULL when it tells nothing (unknown, or private), and after 90 days.
    ADD COLUMN network bytea,
    -- Facts, signals, score, limits and decision: what the referral was last judged by. Numbers and words of ours only.
    ADD COLUMN assessment jsonb,
    -- A manager let it pass: it is not judged again.
    ADD COLUMN cleared_at timestamptz;
-- Registrations of a network in the last hour; networks that are to be forgotten.
CREATE INDEX referrals_network ON referrals (network, date_referred) WHERE network IS NOT NULL;
-- What managers list.
CREATE INDEX referrals_time ON referrals (date_referred DESC, id DESC);
CREATE INDEX referrals_status_time ON referrals (status, date_referred DESC, id DESC);
CREATE INDEX users_time ON users (created_at DESC, id DESC);
-- Search by the beginning of a name.
CREATE INDEX users_username_prefix ON users (username text_pattern_ops);
-- The history of one referral.
CREATE INDEX security_events_subject ON security_events (subject_id, created_at, id) WHERE subject_id IS NOT NULL;
