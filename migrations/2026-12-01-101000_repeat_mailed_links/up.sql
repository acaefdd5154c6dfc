-- A request that comes while an earlier link is good is mailed that link again: it names the row whose token it carries and
-- has none of its own. A job that is delivered twice finds the same row again.
ALTER TABLE password_resets ADD COLUMN repeats_id uuid REFERENCES password_resets (id) ON DELETE CASCADE;
CREATE INDEX password_resets_repeats ON password_resets (repeats_id) WHERE repeats_id IS NOT NULL;
ALTER TABLE email_verifications ADD COLUMN repeats_id uuid REFERENCES email_verifications (id) ON DELETE CASCADE;
CREATE INDEX email_verifications_repeats ON email_verifications (repeats_id) WHERE repeats_id IS NOT NULL;
