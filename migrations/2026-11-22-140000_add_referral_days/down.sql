DROP INDEX referral_days_successful, referral_counters_successful;
ALTER TABLE users DROP COLUMN leaderboard;
ALTER TABLE referral_days DROP COLUMN successful, DROP COLUMN registrations, ALTER COLUMN visits DROP DEFAULT;
DELETE FROM referral_days WHERE visits = 0;
ALTER TABLE referral_days RENAME TO referral_visits;
