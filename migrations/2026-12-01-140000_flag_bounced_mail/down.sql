DROP TRIGGER users_clear_email_bounce ON users;
DROP FUNCTION clear_email_bounce();
ALTER TABLE users DROP COLUMN email_bounced_at;
