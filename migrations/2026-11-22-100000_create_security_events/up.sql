-- What happened to an account's security, and who did it. Append-only; what it tells of a network is forgotten in time.
CREATE TABLE security_events (
    id uuid PRIMARY KEY,
    -- Whose account; NULL when a sign-in named nobody.
    user_id uuid REFERENCES users (id),
    actor text NOT NULL CHECK (actor IN ('account', 'manager', 'operator', 'system', 'unknown')),
    -- The account or manager who did it.
    actor_id uuid REFERENCES users (id),
    event text NOT NULL,
    -- The session, factor, identity or referral that it is about.
    subject_id uuid,
    -- Why, in a manager's words.
    reason text,
    -- Keyed hash of the address's prefix: it can be compared and not read back.
    ip_hash bytea,
    request_id text,
    created_at timestamptz NOT NULL,
    CHECK ((actor_id IS NOT NULL) = (actor IN ('account', 'manager')))
);
CREATE INDEX security_events_user ON security_events (user_id, created_at, id);
CREATE INDEX security_events_time ON security_events (created_at, id);

-- The only changes: the network is forgotten, and a row goes once it is a year old.
CREATE FUNCTION keep_security_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.created_at < now() - interval '365 days' THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.ip_hash IS NULL
        AND (to_jsonb(NEW) - 'ip_hash') = (to_jsonb(OLD) - 'ip_hash') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'security_events is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER security_events_append_only BEFORE UPDATE OR DELETE ON security_events
    FOR EACH ROW EXECUTE FUNCTION keep_security_events();
CREATE TRIGGER security_events_no_truncate BEFORE TRUNCATE ON security_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
