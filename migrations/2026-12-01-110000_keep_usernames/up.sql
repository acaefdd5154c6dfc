-- Every name that an account has or had, by the form that names which read alike share: a name leads to its owner or nowhere.
CREATE TABLE usernames (
    username_key text PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id)
);
CREATE INDEX usernames_user ON usernames (user_id);

-- Changes of usernames: what `/@old` leads to, and how many there were lately. Deleted with the account, whose names stay
-- in `usernames`.
CREATE TABLE username_changes (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    old_username text NOT NULL,
    new_username text NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX username_changes_user ON username_changes (user_id, changed_at);
CREATE INDEX username_changes_old ON username_changes (old_username);

-- A trigger, so that the release before this one reserves names too. The constraint that it names is the one that this
-- release and the one before know for a taken name.
CREATE FUNCTION claim_username() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Waits for a transaction that claims the same name.
    INSERT INTO usernames (username_key, user_id) VALUES (NEW.username_key, NEW.id) ON CONFLICT (username_key) DO NOTHING;
    IF NOT EXISTS (SELECT FROM usernames WHERE username_key = NEW.username_key AND user_id = NEW.id) THEN
        RAISE EXCEPTION 'the username is taken' USING ERRCODE = 'unique_violation', CONSTRAINT = 'users_username_key_key';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER users_claim_username AFTER INSERT OR UPDATE OF username_key ON users
    FOR EACH ROW EXECUTE FUNCTION claim_username();

-- The trigger's lock on `users` lasts until the end of this transaction: no name slips through in between.
INSERT INTO usernames (username_key, user_id) SELECT username_key, id FROM users;
