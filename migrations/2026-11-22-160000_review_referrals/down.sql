DROP INDEX security_events_subject, users_username_prefix, users_time, referrals_status_time, referrals_time, referrals_network;
ALTER TABLE referrals DROP COLUMN cleared_at, DROP COLUMN assessment, DROP COLUMN network;
