-- Lets a settlement go as far as a chosen statement and no further, and writes down which statements it consists of.
-- Triggers do it, so that the programs under test are those that are shipped. A settlement begins where it makes a
-- referral successful; a statement that halts waits for the advisory lock 4711.
CREATE SCHEMA halt;
CREATE TABLE halt.point (after int);
INSERT INTO halt.point VALUES (NULL);
CREATE TABLE halt.trace (step int PRIMARY KEY, statement text NOT NULL);

CREATE FUNCTION halt.settlement_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('halt.step', '0', true);
    RETURN NULL;
END $$;
CREATE TRIGGER halt_begins AFTER UPDATE ON referrals FOR EACH ROW WHEN (NEW.status = 'successful')
    EXECUTE FUNCTION halt.settlement_begins();

CREATE FUNCTION halt.statement_ends() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    step int := nullif(current_setting('halt.step', true), '')::int + 1;
BEGIN
    IF step IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('halt.step', step::text, true);
    INSERT INTO halt.trace VALUES (step, lower(TG_OP) || ' ' || TG_TABLE_NAME) ON CONFLICT DO NOTHING;
    IF step = (SELECT after FROM halt.point) THEN
        PERFORM pg_advisory_xact_lock(4711);
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format(
            'CREATE TRIGGER halt_ends AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT
             EXECUTE FUNCTION halt.statement_ends()', name);
    END LOOP;
END $$;
