-- What the holder of a blocked account reads at sign-in and in mails. NULL while the account is not blocked, and for blocks
-- of releases before this one.
ALTER TABLE users ADD COLUMN blocked_reason text;
