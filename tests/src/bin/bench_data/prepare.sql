-- What the chunks are made by. User 0 came by itself; user n was brought by user (n - 1) / 10.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET statement_timeout = 0;

-- Ids in the order of their making, as UUIDs of version 7 are: a prefix for what it is, and a number.
CREATE FUNCTION pg_temp.id(prefix text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN (prefix || lpad(to_hex(n), 24, '0'))::uuid;
-- When user n's referral was settled: through most of a year.
CREATE FUNCTION pg_temp.at(n bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE
    RETURN timestamptz '2026-01-01 00:00:00Z' + (n % 300) * interval '1 day' + (n % 86400) * interval '1 second';

CREATE TEMPORARY TABLE plan AS
    SELECT {users}::bigint AS users,
           -- Children of user u: 10u + 1 to 10u + 10, those that there are.
           -- 2 entries a referral and a reversal, 1 a milestone, 2 a redemption; adjustments make up the rest.
           greatest({entries}::bigint - 2 * ({users}::bigint - 1)
                    - 2 * (SELECT count(*) FROM generate_series(7::bigint, {users}::bigint - 1, 100))
                    - greatest(({users}::bigint - 1 - 5) / 10 + 1, 0) - 3 * (({users}::bigint - 1) / 10), 0) AS adjustments;
