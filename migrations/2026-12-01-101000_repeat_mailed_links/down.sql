ALTER TABLE email_verifications DROP COLUMN repeats_id;
ALTER TABLE password_resets DROP COLUMN repeats_id;
