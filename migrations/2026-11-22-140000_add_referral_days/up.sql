-- A referrer's figures of each day (UTC), kept by the transactions that change them: a series costs the same at any
-- number of referrals.
ALTER TABLE referral_visits RENAME TO referral_days;
ALTER TABLE referral_days
    ALTER COLUMN visits SET DEFAULT 0,
    ADD COLUMN registrations bigint NOT NULL DEFAULT 0,
    ADD COLUMN successful bigint NOT NULL DEFAULT 0;

INSERT INTO referral_days (user_id, day, registrations)
SELECT referrer_id, (date_referred AT TIME ZONE 'UTC')::date, count(*) FROM referrals GROUP BY 1, 2
ON CONFLICT (user_id, day) DO UPDATE SET registrations = excluded.registrations;
INSERT INTO referral_days (user_id, day, successful)
SELECT referrer_id, (settled_at AT TIME ZONE 'UTC')::date, count(*) FROM referrals WHERE status = 'successful' GROUP BY 1, 2
ON CONFLICT (user_id, day) DO UPDATE SET successful = excluded.successful;

-- Only who asked for it is named in public.
ALTER TABLE users ADD COLUMN leaderboard boolean NOT NULL DEFAULT false;
CREATE INDEX referral_counters_successful ON referral_counters (successful DESC, user_id) WHERE successful > 0;
CREATE INDEX referral_days_successful ON referral_days (day, user_id) WHERE successful > 0;
