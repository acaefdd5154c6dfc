-- When mail to the account's address was last refused for good; a mail that arrives clears it.
ALTER TABLE users ADD COLUMN email_bounced_at timestamptz;

-- Another address, or proof that this one works, clears it in every statement, those of the previous release included.
CREATE FUNCTION clear_email_bounce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.email_bounced_at := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER users_clear_email_bounce BEFORE UPDATE OF email, email_verified_at ON users FOR EACH ROW
    WHEN (OLD.email_bounced_at IS NOT NULL
        AND (NEW.email <> OLD.email OR (OLD.email_verified_at IS NULL AND NEW.email_verified_at IS NOT NULL)))
    EXECUTE FUNCTION clear_email_bounce();
